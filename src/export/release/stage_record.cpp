#include "src/export/release/stage_record.h"

#include <algorithm>

#include "shori/train/run_folder.h"
#include "shori/train/run_identity.h"
#include "shori/util/file.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::size_t kMaxStages = 100;  // a chain that is longer leads in a circle

// 3.75e-05, and 1.0e-05: without a point, YAML 1.1 reads a text.
std::string real_text(double number) {
  std::string text = format_double(number);
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) text.insert(exponent, ".0");
  return text;
}

std::string yaml_text(const JsonValue& value) {
  switch (value.kind) {
    case JsonValue::Kind::kNull:
      return "";
    case JsonValue::Kind::kBool:
      return value.boolean ? "true" : "false";
    case JsonValue::Kind::kNumber:
      return value.text;
    case JsonValue::Kind::kString:
      if (const auto number = double_from_bits_hex(value.text)) return real_text(*number);
      return value.text;
    case JsonValue::Kind::kArray: {
      std::string items;
      for (const JsonValue& item : value.items) items += (items.empty() ? "" : ", ") + yaml_text(item);
      return "[" + items + "]";
    }
    case JsonValue::Kind::kObject:
      return "";
  }
  return "";
}

// The peak of the last line of timing.jsonl, which may have been deleted.
std::int64_t memory_peak(const RunFolder& run) {
  const std::string path = run.file("timing.jsonl");
  if (!path_exists(path)) return 0;
  const std::string text = read_whole_file(InputFile::open(path, "E0506"), 1u << 30, "E0506");
  const std::size_t end = text.find_last_of('\n');
  if (end == std::string::npos) return 0;
  const std::size_t begin = end == 0 ? 0 : text.find_last_of('\n', end - 1);
  JsonProblem problem;
  const auto line = parse_json(text.substr(begin == std::string::npos ? 0 : begin, end), {}, problem);
  const JsonValue* peak = line ? line->find("memory_peak_bytes") : nullptr;
  return peak ? peak->as_integer().value_or(0) : 0;
}

std::optional<StageRecord> read_stage(const std::string& folder) {
  const RunFolder run(folder);
  const auto record = is_directory(folder) ? run.read_run() : std::nullopt;
  const JsonValue* config = record ? record->find("config") : nullptr;
  if (config == nullptr) return std::nullopt;
  StageRecord stage;
  stage.name = text_member(*record, "stage");
  stage.folder = folder;
  stage.parent = text_member(*record, "parent");
  stage.config_hash = text_member(*record, "config_hash");
  stage.data_fingerprint = text_member(*record, "data_fingerprint");
  stage.program = text_member(*record, "build");
  stage.device = text_member(*record, "device");
  stage.tokenizer_sha256 = text_member(*record, "tokenizer_sha256");
  stage.config = *config;
  if (const JsonValue* files = record->find("data"))
    for (const JsonValue& file : files->items) stage.files.push_back(text_member(file, "sha256"));
  if (const auto done = run.read_done()) {
    if (const JsonValue* step = done->find("step")) stage.steps = step->as_unsigned().value_or(0);
    if (const JsonValue* adapter = done->find("adapter"))
      stage.adapter_sha256 = text_member(*adapter, "adapter_model.safetensors");
  }
  stage.memory_peak = memory_peak(run);
  return stage;
}

std::optional<StageRecord> find_parent(const StageRecord& stage) {
  std::vector<std::string> folders;
  const std::string beside = parent_path(stage.folder);
  for (const std::string& name : list_directory(beside)) folders.push_back(join_path(beside, name));
  if (const JsonValue* from = stage.config.find("init_from"); from != nullptr && !from->text.empty()) {
    folders.push_back(from->text);
    folders.push_back(parent_path(from->text));  // its adapter/
  }
  for (const std::string& folder : folders) {
    if (!path_exists(join_path(folder, "run.json"))) continue;
    auto found = read_stage(folder);
    if (found && found->adapter_sha256 == stage.parent) return found;
  }
  return std::nullopt;
}

}  // namespace

std::string StageRecord::value(const char* key) const {
  const JsonValue* found = config.find(key);
  return found ? yaml_text(*found) : "";
}

std::vector<StageRecord> read_stage_chain(const std::string& run_folder) {
  std::vector<StageRecord> chain;
  if (run_folder.empty()) return chain;
  if (auto stage = read_stage(run_folder)) chain.push_back(std::move(*stage));
  while (!chain.empty() && !chain.back().parent.empty() && chain.size() < kMaxStages) {
    auto parent = find_parent(chain.back());
    if (!parent) break;
    chain.push_back(std::move(*parent));
  }
  std::ranges::reverse(chain);
  return chain;
}

}  // namespace shori
