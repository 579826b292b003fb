// Entries of `datasets` and `test_datasets`.
#include <algorithm>
#include <array>
#include <filesystem>

#include "shori/config/hub_cache.h"
#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/axolotl_values.h"
#include "src/config/foreign_keys.h"
#include "src/config/settings.h"

namespace shori {
namespace {

constexpr std::array<std::string_view, 6> kEntryKeys = {"path", "type", "field", "category", "rating", "tags_rating"};

// What to write for a type of Axolotl: the import that makes BlockML of such a file, else the type that trains any text.
std::string nearest_data_type(std::string_view type, const std::string& path, const std::string& folder) {
  const bool hub = is_hub_data(path, folder);
  const std::string file = hub ? join_path("downloads", file_name(path)) : path_in(folder, path);
  const std::string first = hub ? concat('`', hub_data_command(path, file), "`, then ") : "";
  const std::string out = path_in(folder, "data/imported");  // where the config looks for `data/imported`
  const auto import = [&](std::string_view from) {
    return concat(first, "`shori-data import ", shell_word(file), " --from ", from, " --out ", shell_word(out),
                  "`, then `path: data/imported` and ", "`type: blockml`");
  };
  if (type.starts_with("sharegpt")) return import("sharegpt");
  if (type.starts_with("chat_template") || type.starts_with("llama2_chat") || type.starts_with("oasst"))
    return import("messages");
  return "write the whole text of each sample, its prompt included, into `text` of a JSONL line: `type: completion`";
}

// In Axolotl `path` may name a loader of the library `datasets`, whose files `data_files` names.
constexpr std::string_view kDataFiles = "data_files";
bool is_loader_name(std::string_view path) {
  constexpr std::array<std::string_view, 5> kLoaders = {"json", "text", "csv", "parquet", "arrow"};
  return std::find(kLoaders.begin(), kLoaders.end(), path) != kLoaders.end();
}

class EntryReader {
 public:
  EntryReader(const Setting& list, const YamlNode& node, const std::string& folder, Diagnostics& diagnostics)
      : list_(list), node_(node), folder_(folder), diagnostics_(diagnostics) {}

  bool read(DataEntry& entry) {
    if (node_.kind != YamlNode::Kind::kMapping) {
      refuse("E0104", node_, concat("an entry of `", list_.key, "` must be a mapping, found `", value_text(node_), "`"))
          .help(
              concat("write `- path: ", node_.kind == YamlNode::Kind::kScalar ? value_text(node_) : "data/high/", "`"));
      return finish();
    }
    entry.location = list_.document->location(node_);
    entry.in_config = true;
    for (const auto& [key, value] : node_.members) member(key, value, entry);
    if (entry.path.empty() && problems_.empty()) {
      refuse("E0114", node_, concat("required key `path` of an entry of `", list_.key, "` is missing"));
    }
    entry.resolved_path = entry.path.empty() ? "" : path_in(folder_, entry.path);
    check_field(entry);
    return finish();
  }

 private:
  Diagnostic& refuse(const std::string& code, const YamlNode& at, const std::string& message) {
    problems_.push_back(Diagnostic(code, message).at(list_.document->location(at)));
    return problems_.back();
  }

  void member(const YamlNode& key, const YamlNode& value, DataEntry& entry) {
    if (const ForeignKey* row = find_foreign_dataset_key(key.text)) {
      const Setting setting{key.text, key, value, list_.document, list_.kind};
      Diagnostics found;
      check_foreign_value(*row, setting, concat("`", key.text, "` of a dataset entry"), found);
      problems_.insert(problems_.end(), found.all().begin(), found.all().end());
      if (found.has_errors() && key.text == kDataFiles) propose_files(value, problems_.back());
    } else if (std::find(kEntryKeys.begin(), kEntryKeys.end(), key.text) == kEntryKeys.end()) {
      Diagnostic& unknown =
          refuse("E0101", key, concat("unknown key `", escape_for_log(key.text), "` of a dataset entry"));
      if (explain_no_break_space(unknown, key.text)) return;
      if (const std::string_view meant = entry_key_by_meaning(key.text); !meant.empty()) {
        unknown.help(concat("the key with this meaning is `", meant, "`"));
      } else {
        propose_similar(unknown, "key", key.text, {kEntryKeys.begin(), kEntryKeys.end()});
      }
    } else if (key.text == "rating") {
      read_rating(key, value, entry.rating);
    } else if (key.text == "tags_rating") {
      read_tags_rating(key, value, entry);
    } else if (value.kind == YamlNode::Kind::kScalar && !value.text.empty()) {
      store(key, value, entry);
    } else if (value.kind != YamlNode::Kind::kNull) {
      Diagnostic& wrong = refuse(
          "E0104", key, concat("`", key.text, "` of a dataset entry must be a text, found `", value_text(value), "`"));
      if (key.text == "type") wrong.help(nearest_data_type("", written_path(), folder_));
    }
  }

  // Axolotl's `path: json` with `data_files` is `path` here.
  void propose_files(const YamlNode& value, Diagnostic& problem) const {
    const YamlNode* path = node_.find("path");
    const std::vector<std::string> files = data_files();
    if (path == nullptr || !is_loader_name(path->text) || files.empty()) return;
    problem.helps = {concat("write `path: ", escape_for_log(files.front(), 400),
                            value.items.size() > 1 ? "`, and an entry for each other file" : "`")};
  }

  // The files that `data_files` names, which is a path or a list of them.
  std::vector<std::string> data_files() const {
    const YamlNode* value = node_.find(kDataFiles);
    std::vector<std::string> files;
    if (value == nullptr) return files;
    if (value->kind == YamlNode::Kind::kScalar && !value->text.empty()) files.push_back(value->text);
    for (const YamlNode& item : value->items)
      if (item.kind == YamlNode::Kind::kScalar && !item.text.empty()) files.push_back(item.text);
    return files;
  }

  // A list of words, each one of `words` unless that is empty. An empty value is an empty list.
  bool read_list(const YamlNode& key, const YamlNode& value, std::span<const std::string_view> words,
                 std::vector<std::string>& list) {
    if (value.kind == YamlNode::Kind::kNull) return true;
    const bool is_list = value.kind == YamlNode::Kind::kSequence;
    for (const YamlNode& item : value.items) {
      if (!words.empty() && !is_one_of(words, key.text, item)) return false;
      if (item.kind != YamlNode::Kind::kScalar || item.text.empty()) break;
      list.push_back(item.text);
    }
    if (is_list && list.size() == value.items.size()) return true;
    refuse("E0104", key,
           concat("`", key.text, "` of a dataset entry must be a list of texts, found `", value_text(value), "`"));
    return false;
  }

  void read_rating(const YamlNode& key, const YamlNode& value, std::vector<std::string>& rating) {
    read_list(key, value, kRatings, rating);
  }

  void read_tags_rating(const YamlNode& key, const YamlNode& value, DataEntry& entry) {
    if (value.kind == YamlNode::Kind::kNull) return;
    if (value.kind != YamlNode::Kind::kMapping) {
      refuse("E0104", key,
             concat("`tags_rating` of a dataset entry must be a mapping, found `", value_text(value), "`"))
          .help("tags_rating: {explicit: [nsfw]}");
      return;
    }
    for (const auto& [rating, words] : value.members) {
      if (!is_one_of(kRatings, "tags_rating", rating)) continue;
      const auto index = std::find(kRatings.begin(), kRatings.end(), std::string_view(rating.text)) - kRatings.begin();
      read_list(rating, words, {}, entry.tags_rating[static_cast<std::size_t>(index)]);
    }
  }

  void store(const YamlNode& key, const YamlNode& value, DataEntry& entry) {
    if (key.text == "path") entry.path = value.text;
    if (key.text == "field") entry.field = value.text;
    if (key.text == "type" && is_one_of(kWords<DataType>, "type", value)) entry.type = value.text;
    if (key.text == "category" && is_category(value)) entry.category = value.text;
  }

  bool is_category(const YamlNode& value) {
    if (const std::string meant = misspelt_category(value.text); !meant.empty()) {
      refuse("E0104", value, concat("`category: ", value_text(value), "` is probably misspelt"))
          .help(concat("a value with a similar name exists: `", meant, "`"));
      return false;
    }
    if (is_category_name(value.text)) return true;
    refuse(
        "E0104", value,
        concat("`category` of a dataset entry must be usable as the name of a folder, found `", value_text(value), "`"))
        .note(std::string(kNameRule))
        .help(concat("write one of ", join_words(kCategories), ", or a name of your own"));
    return false;
  }

  bool is_one_of(std::span<const std::string_view> words, const std::string& key, const YamlNode& value) {
    if (std::find(words.begin(), words.end(), std::string_view(value.text)) != words.end()) return true;
    Diagnostic& wrong = refuse("E0104", value,
                               concat("`", key, "` of a dataset entry must be one of ", join_words(words), ", found `",
                                      value_text(value), "`"));
    propose_similar(wrong, "value", value.text, {words.begin(), words.end()});
    if (key == "type" && wrong.helps.empty()) wrong.help(nearest_data_type(value.text, written_path(), folder_));
    return false;
  }

  // The file that the entry means, as written.
  std::string written_path() const {
    const YamlNode* path = node_.find("path");
    if (path != nullptr && is_loader_name(path->text))
      if (const std::vector<std::string> files = data_files(); !files.empty()) return files.front();
    return path == nullptr || path->text.empty() ? "FILE" : path->text;
  }

  void check_field(const DataEntry& entry) {
    const std::optional<DataType> type = find_word<DataType>(entry.type);
    const bool has_field = !type || *type == DataType::kBlockmlJsonl || *type == DataType::kCompletion;
    if (entry.field.empty() || has_field) return;
    const YamlNode* key = &node_;
    for (const auto& member : node_.members) key = member.first.text == "field" ? &member.first : key;
    refuse("E0107", *key, concat("`field` does not go with `type: ", entry.type, "`"))
        .note("it names the member of a JSONL line that holds the text")
        .help(*type != DataType::kTokenized ? "write `type: blockml_jsonl`, or delete `field`" : "delete `field`");
  }

  bool finish() {
    for (Diagnostic& problem : problems_) diagnostics_.add(std::move(problem));
    return problems_.empty();
  }

  const Setting& list_;
  const YamlNode& node_;
  const std::string& folder_;
  Diagnostics& diagnostics_;
  std::vector<Diagnostic> problems_;
};

}  // namespace

std::string misspelt_category(std::string_view name) {
  constexpr std::size_t kLong = 4;  // of shorter words too many are one letter apart
  for (const std::string_view category : kCategories) {
    int distance = 0;
    if (name == category) return "";
    if (!is_similar_name(name, category, distance)) continue;
    if (distance == 0 || (distance == 1 && name.size() >= kLong)) return std::string(category);
  }
  return "";
}

std::string path_in(const std::string& folder, const std::string& path) {
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

bool read_datasets(const Setting& setting, const std::string& folder, DatasetList& entries, Diagnostics& diagnostics) {
  if (setting.value.kind != YamlNode::Kind::kSequence) {
    diagnostics.add(Diagnostic("E0104", concat("`", setting.key, "` must be a list of entries, found `",
                                               value_text(setting.value), "`"))
                        .at(setting.value_location())
                        .help(concat("write `", setting.key, ": [{path: data/high/}]`")));
    return false;
  }
  DatasetList list;
  bool good = true;
  for (const YamlNode& item : setting.value.items) {
    good = EntryReader(setting, item, folder, diagnostics).read(list.emplace_back()) && good;
  }
  if (good) entries = std::move(list);
  return good;
}

}  // namespace shori
