#include "src/export/release/card_texts.h"

#include <array>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"

namespace shori {
namespace {

constexpr std::uint64_t kFileBytes = 1u << 20;
constexpr std::array kLicenseFiles = {"LICENSE", "LICENSE.txt", "LICENSE.md"};

bool is_text(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar; }

void read_member(const YamlDocument& document, const YamlNode& key, const YamlNode& value, CardTexts& texts,
                 Diagnostics& diagnostics) {
  std::string* const text = key.text == "title" ? &texts.title : key.text == "summary" ? &texts.summary : nullptr;
  const std::string name = concat("`card.", escape_for_log(key.text), "`");
  if (text == nullptr)
    diagnostics.add(Diagnostic("E0101", concat("unknown key ", name))
                        .at(document.location(key))
                        .help("`card` has the keys `title` and `summary`"));
  else if (value.kind == YamlNode::Kind::kSequence || value.kind == YamlNode::Kind::kMapping)
    diagnostics.add(Diagnostic("E0104", concat(name, " must be a text")).at(document.location(key)));
  else
    *text = std::string(trim(value.text));
}

// The YAML between the first two lines `---` of a model card; empty: none.
std::string front_matter_of(std::string text) {
  std::erase(text, '\r');
  if (!text.starts_with("---\n")) return "";
  const std::size_t end = text.find("\n---", 3);
  return end == std::string::npos ? "" : text.substr(4, end + 1 - 4);
}

std::string text_of(const YamlNode& mapping, std::string_view key) {
  const YamlNode* value = mapping.find(key);
  if (value != nullptr && value->kind == YamlNode::Kind::kSequence && !value->items.empty()) value = &value->items[0];
  return value != nullptr && is_text(*value) ? value->text : "";
}

std::string read(const std::string& folder, const std::string& name) {
  return read_whole_file(InputFile::open_in(folder, name, "E0203"), kFileBytes, "E0804");
}

}  // namespace

CardTexts read_card_texts(const std::string& path) {
  Diagnostics diagnostics;
  CardTexts texts;
  const auto document =
      parse_yaml(path, read_whole_file(InputFile::open(path, "E0108"), kFileBytes, "E0111"), {}, diagnostics);
  const YamlNode* card = document ? document->root.find("card") : nullptr;
  const std::string form = "write `card: {title: \"My model\", summary: \"What it is for.\"}`";
  if (document && card == nullptr)
    diagnostics.add(Diagnostic("E0116", "no key `card` in " + quoted_path(path)).at(path).help(form));
  else if (card != nullptr && card->kind != YamlNode::Kind::kMapping)
    diagnostics.add(Diagnostic("E0104", "`card` must be a mapping").at(document->location(*card)).help(form));
  else if (card != nullptr)
    for (const auto& [key, value] : card->members) read_member(*document, key, value, texts, diagnostics);
  diagnostics.throw_if_errors();
  return texts;
}

std::optional<CardLicense> read_license_of(const std::string& model_folder) {
  if (!path_exists(join_path(model_folder, "README.md"))) return std::nullopt;
  Diagnostics ignored;  // a card is not this program's to judge
  const auto document = parse_yaml("README.md", front_matter_of(read(model_folder, "README.md")), {}, ignored);
  if (!document) return std::nullopt;
  CardLicense license{text_of(document->root, "license"), "", ""};
  if (license.id.empty()) return std::nullopt;
  if (license.id == "other")
    license.name = text_of(document->root, "license_name"), license.link = text_of(document->root, "license_link");
  return license;
}

std::optional<std::string> read_license_text_of(const std::string& model_folder) {
  for (const char* name : kLicenseFiles)
    if (path_exists(join_path(model_folder, name))) return read(model_folder, name);
  return std::nullopt;
}

}  // namespace shori
