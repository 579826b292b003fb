// Known, foreign and unknown keys of a mapping.
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/axolotl_values.h"
#include "src/config/foreign_keys.h"
#include "src/config/run_shares.h"
#include "src/config/settings.h"

namespace shori {
namespace {

constexpr std::string_view kNested = "blockml.";
constexpr std::string_view kCardKey = "card";

// Names that are allowed at this level: under `blockml:` without the prefix, else those without a dot.
std::vector<std::string_view> names_at_level(bool nested) {
  std::vector<std::string_view> names;
  for (const KeyInfo& key : config_keys()) {
    const bool key_nested = key.name.starts_with(kNested);
    if (nested && key_nested) names.push_back(key.name.substr(kNested.size()));
    if (!nested && !key_nested) names.push_back(key.name);
  }
  if (!nested) names.insert(names.end(), {"blockml", kStagesKey, kCardKey});
  return names;
}

class Collector {
 public:
  Collector(const YamlDocument& document, ValueOrigin::Kind kind, const std::string& folder,
            std::vector<Setting>& without_effect, Diagnostics& diagnostics)
      : document_(document), kind_(kind), folder_(folder), without_effect_(without_effect), diagnostics_(diagnostics) {}

  Settings collect(const YamlNode& mapping, bool nested) {
    for (const auto& [key, value] : mapping.members) add(key, value, nested);
    return std::move(settings_);
  }

 private:
  void add(const YamlNode& key, const YamlNode& value, bool nested) {
    Setting setting{nested ? std::string(kNested) + key.text : key.text, key, value, &document_, kind_};
    const bool dotted = !nested && kind_ != ValueOrigin::Kind::kSet && key.text.find('.') != std::string::npos;
    if (!nested && key.text == kStagesKey) return;  // the loader reads it
    if (!nested && key.text == kCardKey && kind_ == ValueOrigin::Kind::kFile)
      return;  // `shori-export release` reads it
    if (!nested && key.text == "blockml") {
      add_blockml(setting);
    } else if (const KeyInfo* known = dotted ? nullptr : find_config_key(setting.key)) {
      if (known->decided) without_effect_.push_back(setting);
      read_axolotl_value(*known, setting);
      expand_paths(*known, setting, folder_, diagnostics_);
      settings_.push_back(std::move(setting));
    } else if (is_run_share(setting.key)) {
      if (is_empty_value(setting.value)) without_effect_.push_back(setting);
      settings_.push_back(std::move(setting));
    } else if (const ForeignKey* row = dotted ? nullptr : find_foreign_key(setting.key)) {
      const std::string what = concat("`", escape_for_log(setting.key), "`");
      if (check_foreign_value(*row, setting, what, diagnostics_)) without_effect_.push_back(std::move(setting));
    } else {
      add_unknown(setting, nested);
    }
  }

  void add_blockml(const Setting& setting) {
    if (setting.value.kind == YamlNode::Kind::kMapping) {
      for (const auto& [key, value] : setting.value.members) add(key, value, true);
    } else if (setting.value.kind != YamlNode::Kind::kNull) {
      diagnostics_.add(
          Diagnostic("E0104", concat("`blockml` must be a mapping, found `", value_text(setting.value), "`"))
              .at(setting.value_location())
              .help("write `blockml: {eos: end}`"));
    }
  }

  void add_unknown(const Setting& setting, bool nested) {
    const std::string& name = setting.key_node.text;
    Diagnostic diagnostic("E0101", concat("unknown key `", escape_for_log(name), "`"));
    diagnostic.at(setting.key_location());
    const std::string full = nested ? name : std::string(kNested) + name;
    if (explain_no_break_space(diagnostic, name)) {
      // A similar name would look the same.
    } else if (!nested && (find_config_key(name) != nullptr || find_config_key(full) != nullptr)) {
      const std::string last = name.substr(name.find('.') + 1);
      diagnostic.help(concat("it belongs under `blockml`: `blockml: {", last, ": ...}`"));
    } else if (nested && find_config_key(name) != nullptr) {
      diagnostic.help(concat("`", name, "` belongs at the top level, not under `blockml`"));
    } else if (const std::string_view meant = nested ? "" : key_by_meaning(name); !meant.empty()) {
      diagnostic.help(concat("the key with this meaning is `", meant, "`"));
    } else {
      propose_similar(diagnostic, "key", name, names_at_level(nested));
    }
    diagnostics_.add(std::move(diagnostic));
  }

  const YamlDocument& document_;
  ValueOrigin::Kind kind_;
  const std::string& folder_;
  std::vector<Setting>& without_effect_;
  Diagnostics& diagnostics_;
  Settings settings_;
};

}  // namespace

Settings collect_settings(const YamlDocument& document, const YamlNode& mapping, ValueOrigin::Kind kind,
                          const std::string& folder, std::vector<Setting>& without_effect, Diagnostics& diagnostics) {
  return Collector(document, kind, folder, without_effect, diagnostics).collect(mapping, false);
}

}  // namespace shori
