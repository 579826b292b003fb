#include "src/train/plan/run_length.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

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
    check_roles();
    check_length();
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
  Diagnostic about(std::string_view code, const std::string& key, const std::string& message) const {
    Diagnostic diagnostic(code, message);
    diagnostic.at(stage_.origin(key).location);
    return diagnostic.note(
        concat("stage `", stage_.name, "` has ", counted(steps_, "step"), " in ", counted(epochs_, "epoch")));
  }

  void check_warmup() {
    const std::int64_t warmup = config_.warmup_steps;
    if (config_.lr_scheduler == LrScheduler::kConstant || warmup == 0 || warmup < steps_) return;
    // The key of the file, which may be `warmup_ratio`.
    const ValueOrigin& origin = stage_.origin("warmup_steps");
    const bool share = origin.kind == ValueOrigin::Kind::kDerived && origin.written.starts_with("warmup_ratio");
    const std::string help = share              ? "write `warmup_ratio: 0.1` or less"
                             : steps_ / 10 == 0 ? "write `warmup_steps: 0`"
                                                : concat("write `warmup_steps: ", steps_ / 10, "` or less");
    // The first step of a warm-up has rate 0.
    const std::string length = share ? concat("`", origin.written, "` is ", counted(warmup, "step"), ", which")
                                     : concat("`warmup_steps` ", warmup);
    const std::string message = concat(length, " is not shorter than the run of ", counted(steps_, "step"));
    if (steps_ == 1) {
      diagnostics_.add(about("E0119", "warmup_steps", message + ": the rate is 0 in every step").help(help));
    } else {
      diagnostics_.add(about("W0101", "warmup_steps", message)
                           .note(concat("the highest rate is ", steps_ - 1, "/", warmup, " of `learning_rate`"))
                           .help(help));
    }
  }

  // A role that no block has, and a length that the model was never trained on.
  void check_roles() {
    if (!stage_.is_set("roles_to_train") || config_.train_on_inputs) return;
    std::set<std::string_view> found;
    for (const Sample& sample : stage_.data.train)
      for (const std::uint8_t role : sample.roles) found.insert(token_role_name(static_cast<TokenRole>(role)));
    if (found.empty()) return;  // no block at all: the labels are those of the data
    const auto is_missing = [&](const std::string& role) { return !found.contains(role); };
    const auto& roles = config_.roles_to_train;
    if (std::ranges::all_of(roles, is_missing)) {
      diagnostics_.add(
          about("E0306", "roles_to_train", concat("no block of `roles_to_train` is in the data: ", join_words(roles)))
              .help("name roles that the data have: `shori-data stats` lists them"));
      return;
    }
    for (const std::string& role : roles)
      if (is_missing(role))
        diagnostics_.add(about("W0101", "roles_to_train",
                               concat("`roles_to_train` names `", role, "`, and no block of the data has that role"))
                             .help("delete the role, or add data that have it"));
  }

  void check_length() {
    const std::int64_t limit = stage_.base->model->config().max_position_embeddings;
    if (limit <= 0 || config_.sequence_len <= limit) return;
    diagnostics_.add(about("W0101", "sequence_len",
                           concat("`sequence_len` ", config_.sequence_len, " is more than the ", limit,
                                  " positions of the model (`max_position_embeddings`)"))
                         .help(concat("write `sequence_len: ", limit, "` or less")));
  }

  void check_max_steps() {
    if (!config_.max_steps) return;
    if (steps_ < *config_.max_steps) {
      diagnostics_.add(
          about("W0101", "max_steps",
                concat("`max_steps` ", *config_.max_steps, " is not reached: ", counted(epochs_, "epoch"),
                       epochs_ == 1 ? " has " : " have ", counted(steps_, "step")))
              .help("delete `num_epochs`: epochs are then repeated until `max_steps`; or delete `max_steps`"));
    } else if (stage_.is_set("num_epochs") && epochs_ < config_.num_epochs) {
      log_info(concat("stage ", stage_.name, ": `max_steps` ", *config_.max_steps, " ends the run in epoch ", epochs_,
                      " of `num_epochs` ", config_.num_epochs));
    }
  }

  void check_interval(const std::string& key, double value, const std::string& effect) {
    if (!stage_.is_set(key) || value <= static_cast<double>(steps_)) return;
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
    if (stage_.is_set("micro_batch_size") && stage_.plan.options.rows_per_micro_batch() > packs) {
      diagnostics_.add(about("W0101", "micro_batch_size",
                             concat("`micro_batch_size` ", config_.micro_batch_size, " is never filled: an epoch has ",
                                    counted(packs, "pack")))
                           .help(concat("write `micro_batch_size: ", packs, "` or less")));
    } else if (stage_.is_set("gradient_accumulation_steps") && config_.gradient_accumulation_steps > batches) {
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
