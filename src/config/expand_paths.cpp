// Home folders and variables in the paths of a config.
#include <algorithm>

#include "shori/util/text.h"
#include "shori/util/user_path.h"
#include "shori/util/utf8.h"
#include "src/config/settings.h"

namespace shori {
namespace {

class PathExpander {
 public:
  PathExpander(const Setting& setting, const std::string& folder, Diagnostics& diagnostics)
      : setting_(setting), folder_(folder), diagnostics_(diagnostics) {}

  // Returns whether something was replaced.
  bool expand(YamlNode& node, const std::string& what) {
    if (node.kind != YamlNode::Kind::kScalar) return false;
    const UserPath path = expand_user_path(node.text, folder_);
    if (!path.problem.empty()) {
      Diagnostic diagnostic("E0118", concat(what, ": ", path.problem));
      diagnostic.at(setting_.document->location(node)).note("the path so far: " + escape_for_log(path.path, 400));
      diagnostics_.add(diagnostic.help("write the path out, or set the variable before the program starts"));
    }
    node.text = path.path;
    return path.changed;
  }

  // The member `name` of a mapping, if it has one.
  void expand_member(YamlNode& mapping, std::string_view name, const std::string& what) {
    for (auto& [key, value] : mapping.members) {
      if (key.text == name) expand(value, what);
    }
  }

 private:
  const Setting& setting_;
  const std::string& folder_;
  Diagnostics& diagnostics_;
};

}  // namespace

void expand_paths(const KeyInfo& key, Setting& setting, const std::string& folder, Diagnostics& diagnostics) {
  TrainConfig scratch;
  const ConfigField field = key.field(scratch);
  PathExpander expander(setting, folder, diagnostics);
  YamlNode value = setting.value;
  const std::string name = concat("`", key.name, "`");
  if (std::holds_alternative<DatasetList*>(field)) {
    for (YamlNode& entry : value.items) expander.expand_member(entry, "path", concat("`path` of ", name));
  } else if (std::holds_alternative<LintConfig*>(field)) {
    expander.expand_member(value, "usernames", concat("`usernames` of ", name));
  } else if (key.rule.path && value.kind == YamlNode::Kind::kSequence) {
    for (YamlNode& item : value.items) {
      if (item.text.starts_with('~') || item.text.starts_with('$')) expander.expand(item, name);
    }
  } else if (key.rule.path && expander.expand(value, name)) {
    setting.written = concat(setting.key, ": ", value_text(setting.value));
  }
  setting.value = std::move(value);
}

}  // namespace shori
