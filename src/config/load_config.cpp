#include "shori/config/load_config.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/check_stage.h"
#include "src/config/expand_stages.h"
#include "src/config/foreign_keys.h"
#include "src/config/settings.h"

namespace shori {
namespace {

constexpr std::uint64_t kConfigBytes = 1u << 20;

std::optional<std::string> read_config_file(const std::string& path, Diagnostics& diagnostics) {
  if (!path_exists(path)) {
    Diagnostic missing("E0108", "config file does not exist: " + escape_for_log(path, 400));
    const std::string folder = parent_path(path);
    if (is_directory(folder.empty() ? "." : folder)) {
      const auto names = list_directory(folder.empty() ? "." : folder);
      const std::string similar = find_similar_name(file_name(path), names);
      if (!similar.empty())
        missing.help(concat("a file with a similar name exists: `", join_path(folder, similar), "`"));
    }
    diagnostics.add(std::move(missing));
    return std::nullopt;
  }
  try {
    return read_whole_file(InputFile::open(path, "E0108"), kConfigBytes, "E0111");
  } catch (const Error& error) {
    diagnostics.add(error);
    return std::nullopt;
  }
}

Diagnostic malformed_override(const std::string& text, const std::string& reason) {
  Diagnostic diagnostic("E0113", concat("`--set ", escape_for_log(text), "`: ", reason));
  const std::size_t colon = text.find(':');
  if (text.find('=') == std::string::npos && colon != std::string::npos) {
    diagnostic.help(concat("`--set ", escape_for_log(concat(text.substr(0, colon), "=", text.substr(colon + 1))), "`"));
  } else if (find_config_key(text) != nullptr) {
    diagnostic.help(
        concat("write its value: `--set ", text, "=VALUE`; `shori-train --help-keys` lists what each key takes"));
  } else if (text.find('=') == std::string::npos) {
    diagnostic.help("write a key, `=` and a value: `--set lora_r=32`");
  }
  return diagnostic;
}

// Why `text` is not an override, or an empty text.
std::string override_problem(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return "expected key=value";
  const std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- ";
  if (text.find_first_not_of(letters) != equals) return "expected key=value";
  if (text.find('\n') != std::string::npos) return "the value must be one line";
  const bool quoted = equals + 1 < text.size() && (text[equals + 1] == '"' || text[equals + 1] == '\'');
  if (!quoted && text.find(" #", equals) != std::string::npos)
    return "the part after ` #` would be a comment; quote the value";
  return "";
}

// Names that the file gives its stages. With rates `a -> b` they are categories, and any name may be one.
std::vector<std::string> stage_names(const RecipeSource& source) {
  std::vector<std::string> names;
  for (const StageItem& item : source.items) {
    if (const Setting* name = find_setting(item.settings, "name")) names.push_back(name->value.text);
  }
  if (source.items.empty()) names.assign(kCategories.begin(), kCategories.end());
  return names;
}

// `high.learning_rate` as stage and key; no stage for a key that all stages share. Names of stages may have dots.
std::pair<std::string, std::string> split_stage_key(const std::string& written,
                                                    const std::vector<std::string>& stages) {
  if (find_config_key(written) != nullptr) return {"", written};
  for (std::size_t dot = written.find('.'); dot != std::string::npos; dot = written.find('.', dot + 1)) {
    std::string stage = written.substr(0, dot), key = written.substr(dot + 1);
    const bool is_stage = std::find(stages.begin(), stages.end(), stage) != stages.end();
    const bool is_key = stage != "blockml" && !stage.empty() && find_config_key(key) != nullptr;
    if (is_stage || is_key) return {std::move(stage), std::move(key)};
  }
  return {"", written};
}

class Loader {
 public:
  Loader(const std::string& path, Diagnostics& diagnostics) : path_(path), diagnostics_(diagnostics) {
    loaded_.file = path;
    loaded_.folder = parent_path(path);
  }

  LoadedConfig load(const std::vector<std::string>& overrides) {
    loaded_.overrides = overrides;
    const auto text = read_config_file(path_, diagnostics_);
    const YamlDocument* document = text ? parse(path_, *text) : nullptr;
    if (document == nullptr) return std::move(loaded_);
    RecipeSource source{document, collect(*document, document->root, ValueOrigin::Kind::kFile), {}, {}, {}, {}};
    read_stage_items(source);
    for (const std::string& override : overrides) add_override(override, source);
    expand_recipe(source, loaded_, diagnostics_);
    for (const std::string& note : accepted_keys_notes(without_effect_)) {
      loaded_.notes.push_back(note);
      for (StageConfig& stage : loaded_.stages) stage.accepted.push_back(note);
    }
    return std::move(loaded_);
  }

 private:
  const YamlDocument* parse(const std::string& name, const std::string& text) {
    auto document = parse_yaml(name, text, YamlLimits{}, diagnostics_);
    return document ? &documents_.emplace_back(std::move(*document)) : nullptr;
  }

  Settings collect(const YamlDocument& document, const YamlNode& mapping, ValueOrigin::Kind kind) {
    return collect_settings(document, mapping, kind, loaded_.folder, without_effect_, diagnostics_);
  }

  void read_stage_items(RecipeSource& source) {
    const YamlDocument& document = *source.document;
    for (const auto& [key, value] : document.root.members) {
      if (key.text == kStagesKey && value.kind != YamlNode::Kind::kNull) source.stages_key = key;
      if (key.text != kStagesKey || value.kind == YamlNode::Kind::kNull) continue;
      if (value.kind != YamlNode::Kind::kSequence || value.items.empty()) {
        refuse_stages(document, key, value);
        continue;
      }
      for (const YamlNode& item : value.items) add_stage_item(item, source);
    }
  }

  void refuse_stages(const YamlDocument& document, const YamlNode& key, const YamlNode& value) {
    const std::string found =
        value.kind == YamlNode::Kind::kSequence ? "an empty list" : concat("`", value_text(value), "`");
    diagnostics_.add(Diagnostic("E0104", "`stages` must be a list of stages, found " + found)
                         .at(document.location(key))
                         .help("write `stages: [{name: low, ...}, ...]`, or delete the line"));
  }

  void add_stage_item(const YamlNode& item, RecipeSource& source) {
    const YamlDocument& document = *source.document;
    if (item.kind != YamlNode::Kind::kMapping) {
      diagnostics_.add(Diagnostic("E0104", concat("a stage must be a mapping, found `", value_text(item), "`"))
                           .at(document.location(item))
                           .help("write `- name: low` and the other keys of the stage under it"));
      return;
    }
    for (const auto& member : item.members) {
      if (member.first.text != kStagesKey) continue;
      diagnostics_.add(Diagnostic("E0107", "`stages` does not go inside a stage").at(document.location(member.first)));
    }
    source.items.push_back({document.location(item), collect(document, item, ValueOrigin::Kind::kStage)});
  }

  void add_override(const std::string& text, RecipeSource& source) {
    const std::string problem = override_problem(text);
    if (!problem.empty()) return diagnostics_.add(malformed_override(text, problem));
    const std::size_t equals = text.find('=');
    const auto [stage, key] = split_stage_key(text.substr(0, equals), stage_names(source));
    if (key.find(' ') != std::string::npos) return diagnostics_.add(malformed_override(text, "expected key=value"));
    const YamlDocument* document = parse("--set", concat(key, ": ", text.substr(equals + 1)));
    if (document == nullptr) return;
    if (document->root.members.size() != 1 || key == kStagesKey) {
      return diagnostics_.add(malformed_override(text, "expected the value of a single key"));
    }
    for (Setting& setting : collect(*document, document->root, ValueOrigin::Kind::kSet)) {
      override_setting(stage, std::move(setting), source);
    }
  }

  void override_setting(const std::string& stage, Setting setting, RecipeSource& source) {
    if (const Setting* earlier = find_override(stage, setting.key, source)) {
      const std::string values = concat(value_text(earlier->value), "` and `", value_text(setting.value));
      diagnostics_.add(
          Diagnostic("E0102", concat("`--set ", stage, stage.empty() ? "" : ".", setting.key, "` is given twice"))
              .note(concat("with `", values, "`")));
    }
    if (stage.empty()) {
      source.overrides.push_back(std::move(setting));
    } else {
      source.stage_overrides.push_back({stage, std::move(setting)});
    }
  }

  static const Setting* find_override(const std::string& stage, const std::string& key, const RecipeSource& source) {
    if (stage.empty()) return find_setting(source.overrides, key);
    for (const StageOverride& each : source.stage_overrides) {
      if (each.stage == stage && each.setting.key == key) return &each.setting;
    }
    return nullptr;
  }

  std::string path_;
  Diagnostics& diagnostics_;
  LoadedConfig loaded_;
  std::deque<YamlDocument> documents_;
  std::vector<Setting> without_effect_;
};

}  // namespace

ValueOrigin StageConfig::origin(const std::string& key) const {
  const auto found = origins.find(key);
  return found == origins.end() ? ValueOrigin{} : found->second;
}

bool StageConfig::is_set(const std::string& key) const {
  const ValueOrigin::Kind kind = origin(key).kind;
  return kind != ValueOrigin::Kind::kDefault && kind != ValueOrigin::Kind::kLeftEmpty;
}

LoadedConfig load_config(const std::string& path, const std::vector<std::string>& set_overrides,
                         Diagnostics& diagnostics) {
  return Loader(path, diagnostics).load(set_overrides);
}

}  // namespace shori
