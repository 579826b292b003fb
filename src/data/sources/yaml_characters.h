// The characters of a YAML conversation: `characters`, whom items of `messages` introduce, and `<<id>>` in texts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "shori/util/yaml.h"
#include "src/data/sources/yaml_checks.h"

namespace shori {

struct YamlCharacter {
  std::string name;
  const YamlNode* description = nullptr;
  bool introduced = false;  // by an item of `messages`, so that it has no block in the header
};

class YamlCharacters {
 public:
  explicit YamlCharacters(YamlChecks& checks) : checks_(checks) {}

  // The value of `characters`; null: there is none.
  void read(const YamlNode* characters);
  void find_introduced(const YamlNode& messages);

  // The character whose id the node is; null after a problem.
  const YamlCharacter* find(const YamlNode& id) { return find_or_report(id); }
  // Null if there is none.
  const YamlCharacter* known(const std::string& id) const;
  // The text with each `<<id>>` replaced by the character's name.
  std::string with_names(const YamlNode& node);

  const std::vector<std::string>& ids() const { return ids_; }  // in their order

 private:
  void read_one(const YamlNode& id, const YamlNode& value);
  YamlCharacter* find_or_report(const YamlNode& id);

  YamlChecks& checks_;
  std::vector<std::string> ids_;
  std::map<std::string, YamlCharacter> characters_;
};

}  // namespace shori
