#include "src/export/model_extras.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "shori/data/tokenizer_model.h"
#include "shori/export/chat_template.h"
#include "shori/infer/sampler_presets.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "src/export/tokenizer_json.h"

namespace shori {
namespace {

constexpr std::uint64_t kFileBytes = 256u << 20;
constexpr std::string_view kTemplateKey = "chat_template";
// Copied byte for byte if present.
constexpr const char* kCopiedFiles[] = {"tokenizer.model", "tokenizer.json", "special_tokens_map.json",
                                        "added_tokens.json"};
// Folders of further templates, one `.jinja` file each: transformers' own, and its older name.
constexpr const char* kTemplateFolders[] = {"additional_chat_templates", "chat_templates"};

// For a base that has a tokenizer.model alone.
constexpr std::string_view kPlainTokenizerConfig = R"({
  "add_bos_token": true,
  "add_eos_token": false,
  "bos_token": "<s>",
  "clean_up_tokenization_spaces": false,
  "eos_token": "</s>",
  "legacy": true,
  "tokenizer_class": "LlamaTokenizer",
  "unk_token": "<unk>"
}
)";

std::string read(const std::string& folder, const std::string& name) {
  return read_whole_file(InputFile::open_in(folder, name, "E0203"), kFileBytes, "E0804");
}

std::string read_if_present(const std::string& folder, const std::string& name) {
  return path_exists(join_path(folder, name)) ? read(folder, name) : "";
}

// `name` may be in a folder below.
void write(const std::string& folder, const std::string& name, std::string_view content) {
  const std::string target = join_path(folder, name);
  make_directories(parent_path(target));
  write_file_atomically(parent_path(target), file_name(target), content);
}

std::optional<JsonValue> parse_object(std::string_view text) {
  JsonProblem problem;
  auto root = parse_json(text, {kFileBytes, 32, 20'000'000}, problem);
  return root && root->is_object() ? std::move(root) : std::nullopt;
}

// One past the value of a text that was parsed before.
std::size_t end_of_value(std::string_view text, std::size_t at) {
  int depth = 0;
  bool in_string = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
      if (c == '"' && depth == 0) return at + 1;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    const bool closes = c == '}' || c == ']';
    if (depth == 0 && (closes || c == ',' || is_space(c))) return at;  // after a number or word
    if (closes && --depth == 0) return at + 1;
  }
  return at;
}

std::string_view source_of(std::string_view text, const JsonValue& value) {
  return text.substr(value.offset, end_of_value(text, value.offset) - value.offset);
}

const JsonValue* template_of_list(const JsonValue& list) {
  for (const JsonValue& item : list.items) {
    const JsonValue *name = item.find("name"), *text = item.find("template");
    if (name != nullptr && name->text == "default" && text != nullptr) return text;
  }
  return nullptr;
}

std::vector<std::int64_t> end_ids(const JsonValue* value) {
  std::vector<std::int64_t> ids;
  if (value == nullptr) return ids;
  if (const auto id = value->as_integer()) ids.push_back(*id);
  for (const JsonValue& item : value->items)
    if (const auto id = item.as_integer()) ids.push_back(*id);
  return ids;
}

std::vector<std::string> template_files(const std::string& base) {
  std::vector<std::string> names;
  for (const char* name : {"chat_template.jinja", "chat_template.json"})
    if (path_exists(join_path(base, name))) names.emplace_back(name);
  for (const std::string folder : kTemplateFolders) {
    if (!is_directory(join_path(base, folder))) continue;
    for (const std::string& name : list_directory(join_path(base, folder)))
      if (name.ends_with(".jinja")) names.push_back(join_path(folder, name));
  }
  return names;
}

// Replaces the default template, in whatever form it is; those with other names stay.
void write_templates(const std::string& base, const std::string& folder, bool is_blockml) {
  for (const std::string& name : template_files(base)) {
    const bool is_default = is_blockml && (name == "chat_template.jinja" || name.ends_with("/default.jinja"));
    write(folder, name, is_default ? std::string(kChatTemplate) : read(base, name));
  }
  if (is_blockml && path_exists(join_path(base, "chat_template.json")))
    write(folder, "chat_template.json", json_text({{"chat_template", kChatTemplate}}, 2) + "\n");
}

void check_normalizer(const std::string& base) {
  if (prepends_after_special(read(base, "tokenizer.json"))) return;
  log_warning(Diagnostic("W0801", "the base's tokenizer.json has another normalizer than `Prepend`")
                  .at(join_path(base, "tokenizer.json"))
                  .note("the text after `<s>` may get other ids than in training")
                  .help("for a tokenizer.json made from tokenizer.model, export from a copy of the base without it"));
}

// The tokenizer of the base; nullopt, with a warning, if it has none that BlockML can be written with.
std::optional<TokenizerModel> read_tokenizer(const std::string& base) {
  const std::string path = join_path(base, "tokenizer.model");
  if (!path_exists(path)) return std::nullopt;
  try {
    return parse_tokenizer_model(
        read_whole_file(InputFile::open_in(base, "tokenizer.model", "E0203"), kTokenizerFileBytes, "E0211"), path);
  } catch (const Error& error) {
    // A model that was trained on data of type `tokenized` may have any tokenizer.
    const Diagnostic& cause = error.diagnostics().front();
    log_warning(Diagnostic("W0801", "tokenizer.model cannot be used for BlockML: " + cause.message)
                    .at(path)
                    .note("chat template and generation_config.json stay the base's"));
    return std::nullopt;
  }
}

}  // namespace

std::string with_json_member(std::string_view text, std::string_view key, std::string_view value,
                             const std::string& name) {
  const auto root = parse_object(text);
  if (!root) throw Error(Diagnostic("E0804", name + " is not a JSON object").help("correct or delete it"));
  if (const JsonValue* old = root->find(key))
    return concat(text.substr(0, old->offset), value, text.substr(end_of_value(text, old->offset)));
  std::string_view head = text.substr(0, text.find_last_of('}'));
  while (!head.empty() && is_space(head.back())) head.remove_suffix(1);
  return concat(head, root->members.empty() ? "" : ",", "\n  ", json_quote(key), ": ", value, "\n}\n");
}

std::string with_chat_template(std::string_view tokenizer_config, const std::string& name) {
  const std::string value = json_quote(kChatTemplate);
  const auto root = parse_object(tokenizer_config);
  const JsonValue* old = root ? root->find(kTemplateKey) : nullptr;
  const JsonValue* named = old != nullptr && old->is_array() ? template_of_list(*old) : nullptr;
  if (named == nullptr) return with_json_member(tokenizer_config, kTemplateKey, value, name);
  return concat(tokenizer_config.substr(0, named->offset), value,
                tokenizer_config.substr(end_of_value(tokenizer_config, named->offset)));
}

std::string generation_config(std::string_view base, std::string_view config, std::int32_t end_id,
                              SamplingDefaults sampling) {
  const auto given = parse_object(base), model = parse_object(config);
  std::map<std::string, Json> members;
  for (const char* key : {"bos_token_id", "eos_token_id", "transformers_version"})
    if (const JsonValue* value = model ? model->find(key) : nullptr) members[key] = raw_json(source_of(config, *value));
  if (given)
    for (const auto& [key, value] : given->members) members[key] = raw_json(source_of(base, value));
  members.erase("_from_model_config");  // transformers 4 would take the end ids from config.json again

  std::vector<std::int64_t> ends = end_ids(given ? given->find("eos_token_id") : nullptr);
  if (ends.empty()) ends = end_ids(model ? model->find("eos_token_id") : nullptr);
  if (ends.empty()) ends.push_back(2);
  if (std::ranges::find(ends, end_id) == ends.end()) ends.push_back(end_id);
  members["eos_token_id"] = ends;
  if (!members.contains("bos_token_id")) members["bos_token_id"] = 1;
  if (sampling == SamplingDefaults::kMain) {
    members["do_sample"] = true;
    const SamplerSettings preset = preset_settings(SamplerPreset::kMain);
    members["min_p"] = decimal_of(preset.min_p);
    members["temperature"] = decimal_of(preset.temperature);
  }
  Json sorted = Json::object();
  for (auto& [key, value] : members) sorted[key] = std::move(value);
  return json_text(sorted, 2) + "\n";
}

void write_model_extras(const std::string& base, const std::string& folder, SamplingDefaults sampling) {
  for (const char* name : kCopiedFiles)
    if (path_exists(join_path(base, name))) write(folder, name, read(base, name));
  const std::optional<TokenizerModel> model = read_tokenizer(base);
  write_templates(base, folder, model.has_value());
  if (!model) {
    for (const char* name : {"tokenizer_config.json", "generation_config.json"})
      if (path_exists(join_path(base, name))) write(folder, name, read(base, name));
    return;
  }
  std::string config = read_if_present(base, "tokenizer_config.json");
  if (config.find("\"chat_template\"") != std::string::npos || path_exists(join_path(base, "chat_template.jinja")))
    log_info("chat template: that of BlockML, in place of the base's own");
  if (config.empty()) config = kPlainTokenizerConfig;
  write(folder, "tokenizer_config.json", with_chat_template(config, join_path(base, "tokenizer_config.json")));
  if (path_exists(join_path(base, "tokenizer.json")))
    check_normalizer(base);
  else
    write(folder, "tokenizer.json", tokenizer_json(*model));
  write(folder, "generation_config.json",
        generation_config(read_if_present(base, "generation_config.json"), read(base, "config.json"), model->close_id,
                          sampling));
}

}  // namespace shori
