#include "src/data/sources/yaml_characters.h"

#include <array>
#include <string_view>
#include <utility>

#include "shori/data/blockml.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::array<std::string_view, 2> kCharacterKeys = {"name", "description"};

bool is_speaker(const std::string& name) {
  const std::string body = name + ": x";
  const auto speaker = find_speaker(body);
  return speaker && speaker->name == name;
}

}  // namespace

void YamlCharacters::read(const YamlNode* characters) {
  if (characters == nullptr || characters->kind == YamlNode::Kind::kNull) return;
  if (characters->kind != YamlNode::Kind::kMapping) {
    checks_.problem("E0312", *characters, "`characters` is not a mapping").help("characters: {reimu: {name: Reimu}}");
    return;
  }
  for (const auto& [id, value] : characters->members) read_one(id, value);
}

void YamlCharacters::read_one(const YamlNode& id, const YamlNode& value) {
  const YamlNode* own_name = value.find("name");
  if (value.kind != YamlNode::Kind::kMapping || own_name == nullptr) {
    checks_.problem("E0312", id, "character `" + escape_for_log(id.text) + "` has no `name`")
        .help(id.text + ": {name: Reimu, description: ...}");
    return;
  }
  checks_.check_keys(value, kCharacterKeys, "a character");
  YamlCharacter character{checks_.name(*own_name, "name"), value.find("description")};
  if (character.description != nullptr && character.description->kind == YamlNode::Kind::kNull)
    character.description = nullptr;
  if (!character.name.empty() && !is_speaker(character.name))
    checks_.problem("E0312", *own_name, "`" + escape_for_log(character.name) + "` cannot be the name of a speaker")
        .note("1 to 64 characters on one line, without \" or :, and not beginning with _ * > ` ( [");
  ids_.push_back(id.text);
  characters_[id.text] = std::move(character);
}

const YamlCharacter* YamlCharacters::known(const std::string& id) const {
  const auto found = characters_.find(id);
  return found == characters_.end() ? nullptr : &found->second;
}

YamlCharacter* YamlCharacters::find_or_report(const YamlNode& id) {
  const auto found = characters_.find(id.text);
  if (id.kind == YamlNode::Kind::kScalar && found != characters_.end()) return &found->second;
  Diagnostic& unknown = checks_.problem("E0312", id, "no character has the id `" + escape_for_log(id.text) + "`");
  const std::string similar = find_similar_name(id.text, ids_);
  if (!similar.empty()) unknown.help("an id with a similar name exists: `" + similar + "`");
  return nullptr;
}

void YamlCharacters::find_introduced(const YamlNode& messages) {
  for (const YamlNode& item : messages.items) {
    const YamlNode* id = item.find("introduce");
    if (id == nullptr) continue;
    YamlCharacter* character = find_or_report(*id);
    if (character == nullptr) continue;
    if (character->description == nullptr)
      checks_.problem("E0312", *id, "character `" + escape_for_log(id->text) + "` has no description to introduce");
    if (std::exchange(character->introduced, true))
      checks_.problem("E0312", *id, "character `" + escape_for_log(id->text) + "` is introduced twice");
  }
}

std::string YamlCharacters::with_names(const YamlNode& node) {
  std::string text;
  std::size_t done = 0;
  for (std::size_t open = node.text.find("<<"); open != std::string::npos; open = node.text.find("<<", open + 1)) {
    if (open < done) continue;
    const std::size_t close = node.text.find(">>", open);
    if (close == std::string::npos) break;
    const std::string id = node.text.substr(open + 2, close - open - 2);
    if (const YamlCharacter* character = known(id)) {
      text.append(node.text, done, open - done).append(character->name);
      done = close + 2;
    } else if (const std::string similar = id.size() <= 64 ? find_similar_name(id, ids_) : ""; !similar.empty()) {
      checks_.problem("E0312", node, "no character has the id of `<<" + escape_for_log(id) + ">>`")
          .help("an id with a similar name exists: `" + similar + "`");
    }
  }
  return text.append(node.text, done);
}

}  // namespace shori
