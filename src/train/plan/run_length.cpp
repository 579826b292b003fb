#include "src/train/plan/run_length.h"

#include <cmath>

#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {
namespace {

std::string counted(std::int64_t count, std::string_view one) { return concat(count, " ", one, count == 1 ? "" : "s"); }

class RunLengthCheck {
 public:
  RunLengthCheck(const PreparedStage& stage, Diagnostics& diagnostics)
      : stage_(stage),
        config_(stage.config),
        steps_(static_cast<std::int64_t>(stage.total_steps())),
        epochs_(std::ssize(stage.plan.epochs)),
        diagnostics_(diagnostics) {}

  void check() {
    check_warmup();
    check_max_steps();
    check_interval("save_steps", static_cast<double>(config_.save_steps),
                   "there are checkpoints at epoch ends and after the last step only");
    if (config_.eval_steps && *config_.eval_steps >= 1 && !stage_.data.held_out.empty())
      check_interval("eval_steps", *config_.eval_steps, "only the start and the last step are evaluated");
    check_interval("logging_steps", static_cast<double>(config_.logging_steps), "only the last step is logged");
    if (config_.loss_watchdog_threshold)
      check_interval("loss_watchdog_patience", static_cast<double>(config_.loss_watchdog_patience),
                     "the watchdog can never stop the run");
    check_batches();
    check_held_out();
  }

 private:
  bool is_set(const std::string& key) const {
    const ValueOrigin::Kind kind = stage_.origin(key).kind;
    return kind != ValueOrigin::Kind::kDefault && kind != ValueOrigin::Kind::kLeftEmpty;
  }

  Diagnostic about(std::string_view code, const std::string& key, const std::string& message) const {
    Diagnostic diagnostic(code, message);
    diagnostic.at(stage_.origin(key).location);
    return diagnostic.note(
        concat("stage `", stage_.name, "` has ", counted(steps_, "step"), " in ", counted(epochs_, "epoch")));
  }

  void check_warmup() {
    const std::int64_t warmup = config_.warmup_steps;
    if (config_.lr_scheduler == LrScheduler::kConstant || warmup == 0 || warmup < steps_) return;
    const std::string help =
        steps_ < 4 ? "write `warmup_steps: 0`" : concat("write `warmup_steps: ", steps_ / 10, "` or less");
    // The first step of a warm-up has rate 0.
    const std::string message =
        concat("`warmup_steps` ", warmup, " is not shorter than the run of ", counted(steps_, "step"));
    if (steps_ == 1) {
      diagnostics_.add(about("E0119", "warmup_steps", message + ": the rate is 0 in every step").help(help));
    } else {
      diagnostics_.add(about("W0101", "warmup_steps", message)
                           .note(concat("the highest rate is ", steps_ - 1, "/", warmup, " of `learning_rate`"))
                           .help(help));
    }
  }

  void check_max_steps() {
    if (!config_.max_steps) return;
    if (steps_ < *config_.max_steps) {
      diagnostics_.add(
          about("W0101", "max_steps",
                concat("`max_steps` ", *config_.max_steps, " is not reached: ", counted(epochs_, "epoch"),
                       epochs_ == 1 ? " has " : " have ", counted(steps_, "step")))
              .help("delete `num_epochs`: epochs are then repeated until `max_steps`; or delete `max_steps`"));
    } else if (is_set("num_epochs") && epochs_ < config_.num_epochs) {
      log_info(concat("stage ", stage_.name, ": `max_steps` ", *config_.max_steps, " ends the run in epoch ", epochs_,
                      " of `num_epochs` ", config_.num_epochs));
    }
  }

  void check_interval(const std::string& key, double value, const std::string& effect) {
    if (!is_set(key) || value <= static_cast<double>(steps_)) return;
    diagnostics_.add(
        about("W0101", key,
              concat("`", key, "` ", static_cast<std::int64_t>(value), " is not reached in ", counted(steps_, "step")))
            .note(effect)
            .help(concat("write a number of at most ", steps_, ", or delete the line")));
  }

  void check_batches() {
    if (stage_.plan.epochs.empty()) return;
    const PlanEpoch& epoch = stage_.plan.epochs.front();
    const auto packs = static_cast<std::int64_t>(epoch.row_count);
    const auto batches = static_cast<std::int64_t>(epoch.micro_batch_count);
    if (is_set("micro_batch_size") && stage_.plan.options.rows_per_micro_batch() > packs) {
      diagnostics_.add(about("W0101", "micro_batch_size",
                             concat("`micro_batch_size` ", config_.micro_batch_size, " is never filled: an epoch has ",
                                    counted(packs, "pack")))
                           .help(concat("write `micro_batch_size: ", packs, "` or less")));
    } else if (is_set("gradient_accumulation_steps") && config_.gradient_accumulation_steps > batches) {
      diagnostics_.add(about("W0101", "gradient_accumulation_steps",
                             concat("`gradient_accumulation_steps` ", config_.gradient_accumulation_steps,
                                    " is never reached: an epoch has ", batches,
                                    batches == 1 ? " micro-batch" : " micro-batches", ", which make one step"))
                           .help(concat("write `gradient_accumulation_steps: ", batches, "` or less")));
    }
  }

  void check_held_out() {
    if (config_.val_set_size == 0 || !stage_.data.held_out.empty()) return;
    const auto conversations = std::ssize(stage_.data.conversations);
    diagnostics_.add(about("W0101", "val_set_size",
                           concat("`val_set_size` holds out none of ", counted(conversations, "conversation")))
                         .help("write a larger share, or a number of conversations: `val_set_size: 1`"));
  }

  const PreparedStage& stage_;
  const TrainConfig& config_;
  std::int64_t steps_, epochs_;
  Diagnostics& diagnostics_;
};

}  // namespace

void check_run_length(const PreparedStage& stage, Diagnostics& diagnostics) {
  if (stage.total_steps() > 0) RunLengthCheck(stage, diagnostics).check();
}

}  // namespace shori
