#include "src/train/stage/start_run.h"

#include <cstdio>

#include "shori/train/checkpoint.h"
#include "shori/util/build_info.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/train/stage/train_loop.h"

namespace shori {
namespace {

void check_same_base(const JsonValue& run, const std::string& fingerprint) {
  const JsonValue* base = run.find("base");
  if (base == nullptr || text_member(*base, "fingerprint") == fingerprint) return;
  throw Error(Diagnostic("E0508", "the base model changed since the run began")
                  .note(concat("fingerprint ", text_member(*base, "fingerprint").substr(0, 8), " -> ",
                               fingerprint.substr(0, 8)))
                  .help("restore it, or begin a new stage"));
}

// Another build or instruction set may round differently.
void check_same_build(const JsonValue& run, Device device, OtherBuild policy) {
  const std::string build = text_member(run, "build"), run_device = text_member(run, "device");
  // Another algorithm of a product may round differently as well.
  const bool knows_products = device == Device::kCpu || run.find("products") != nullptr;
  if (build == build_id() && run_device == device_name(device) && knows_products) return;
  if (policy == OtherBuild::kError)
    throw Error(Diagnostic("E0509", knows_products ? "build or device is not the one that the run began with"
                                                   : "run.json, which has the algorithms of the run, cannot be read")
                    .note(concat("then ", build, ", ", run_device))
                    .note(concat("now ", build_id(), ", ", device_name(device)))
                    .help("use that build, or `resume_on_other_build: warn`"));
  log_info(concat("resuming with another build or device: results may differ in the last bits from here on (", build,
                  " -> ", build_id(), ")"));
}

void check_pack_plan(const PreparedStage& stage) {
  if (sha256_of_file(InputFile::open_in(stage.folder.path(), "pack_plan.bin", "E0508")) == stage.plan_sha256) return;
  throw Error(Diagnostic("E0508", "pack_plan.bin is not the plan of this run").help("begin a new stage"));
}

}  // namespace

void prepare_run(StageSession& session, RunFiles& files, const std::string& init_from) {
  files.plan(session.start(init_from));
}

void begin_run(StageSession& session, RunFiles& files, const std::string& init_from) {
  const PreparedStage& stage = session.stage();
  const std::optional<std::string>& parent = files.parent();
  const bool carried = stage.config.optimizer_state == OptimizerStart::kCarry;
  log_info(concat(
      "stage ", stage.name, " begins ",
      parent ? concat("from ", init_from, ", adapter sha256 ", parent->substr(0, 8)) : "with a fresh adapter",
      "; optimizer: ", carried ? "carried" : "fresh", "; learning rate ", format_double(stage.config.learning_rate)));
  files.create();
  if (!evaluate_if_due(session, files)) throw Stopped();
  save(session, files);
}

void resume_run(StageSession& session, RunFiles& files, const std::string& init_from) {
  const PreparedStage& stage = session.stage();
  if (const auto run = record_to_resume(stage.folder)) {
    check_same_base(*run, session.base_identity().fingerprint);
    check_same_build(*run, session.ops().device, stage.config.resume_on_other_build);
  }
  check_pack_plan(stage);
  session.restore(files.load(), init_from);
}

void log_resumed(const StageSession& session) {
  char epoch[32];
  std::snprintf(epoch, sizeof epoch, "%.2f", session.epoch());
  log_info(concat("resumed at step ", session.state().step, " of ", session.stage().total_steps(), " (epoch ",
                  static_cast<const char*>(epoch), ")"));
}

}  // namespace shori
