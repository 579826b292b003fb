// The state of each stage's run folder, found without a lock and without writing.
#include "shori/train/adapter_file.h"
#include "shori/train/checkpoint.h"
#include "shori/train/prepared_stage.h"
#include "shori/train/run_identity.h"
#include "shori/util/text.h"

namespace shori {
namespace {

Diagnostic state_changed(const char* code, const std::string& message, const std::string& note) {
  Diagnostic diagnostic(code, message);
  if (!note.empty()) diagnostic.note(note);
  return diagnostic;
}

std::string short_sha256(const std::string& sha256) { return sha256.empty() ? "none" : sha256.substr(0, 8); }

// SHA-256 of the adapter this stage begins from; empty for a fresh one or a source that is no longer there.
std::string parent_sha256(const PreparedStage& stage, const std::vector<PreparedStage>& stages) {
  if (stage.previous_stage >= 0)
    return stages[static_cast<std::size_t>(stage.previous_stage)].adapter_sha256.value_or("");
  const std::string& from = stage.config.init_from;
  return from.empty() || !path_exists(from) ? "" : adapter_source_sha256(find_adapter_source(from));
}

void check_parent(const JsonValue& record, PreparedStage& stage, const std::vector<PreparedStage>& stages) {
  const int previous = stage.previous_stage;
  const PreparedStage* before_it = previous >= 0 ? &stages[static_cast<std::size_t>(previous)] : nullptr;
  if (before_it && before_it->state != StageState::kDone) {
    const bool is_changed = before_it->state == StageState::kChanged;
    stage.changes.push_back(
        state_changed("E0516",
                      concat("stage ", stage.name, " begins from stage ", before_it->name,
                             is_changed ? ", which changed since it was trained" : ", which is not done"),
                      ""));
    return;
  }
  const std::string now = parent_sha256(stage, stages), before = text_member(record, "parent");
  const bool source_gone = previous < 0 && !stage.config.init_from.empty() && now.empty();
  if (now != before && !source_gone)
    stage.changes.push_back(state_changed("E0516", concat("the adapter that stage ", stage.name, " began from changed"),
                                          concat("sha256 ", short_sha256(before), " -> ", short_sha256(now))));
}

void check_adapter_files(const JsonValue& done, PreparedStage& stage) {
  stage.changes = adapter_changes(stage.folder, done);
  const JsonValue* files = done.find("adapter");
  const std::string sha256 = files ? text_member(*files, "adapter_model.safetensors") : "";
  if (stage.changes.empty() && !sha256.empty()) stage.adapter_sha256 = sha256;
}

void find_state(PreparedStage& stage, const std::vector<PreparedStage>& stages) {
  const RunFolder& folder = stage.folder;
  const auto done = is_directory(folder.path()) ? folder.read_done() : std::nullopt;
  const auto newest = folder.newest_checkpoint();
  if (done) {
    const JsonValue* step = done->find("step");
    stage.step = step ? step->as_unsigned().value_or(0) : 0;
    if (const JsonValue* base = done->find("base")) stage.trained_base = text_member(*base, "fingerprint");
    stage.changes = identity_changes(*done, stage, "it was trained");
    if (stage.changes.empty()) check_adapter_files(*done, stage);
    if (stage.changes.empty()) check_parent(*done, stage, stages);
    stage.state = stage.changes.empty() ? StageState::kDone : StageState::kChanged;
  } else if (newest) {
    stage.step = *newest;
    const auto run = record_to_resume(folder);
    SHORI_CHECK(run, "a checkpoint without a record");
    stage.changes = identity_changes(*run, stage, concat("step ", *newest));
    if (stage.changes.empty()) check_parent(*run, stage, stages);
    stage.state = stage.changes.empty() ? StageState::kInterrupted : StageState::kChanged;
  }
}

}  // namespace

void find_stage_states(std::vector<PreparedStage>& stages) {
  for (PreparedStage& stage : stages) find_state(stage, stages);
}

}  // namespace shori
