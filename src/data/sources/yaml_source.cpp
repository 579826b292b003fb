#include "shori/data/yaml_source.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "shori/config/data_entry.h"
#include "shori/config/vocabulary.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"
#include "src/data/blockml/segment_checks.h"

namespace shori {
namespace {

constexpr YamlLimits kLimits = {kConversationBytes, 8, 8 * kSegmentLimit, kBlockBytes};
constexpr std::array<std::string_view, 10> kKeys = {"id",   "category",   "rating",   "title",  "tags",
                                                    "lore", "characters", "scenario", "system", "messages"};
constexpr std::array<std::string_view, 11> kItemKeys = {"who",      "text", "length",    "ooc",         "note", "title",
                                                        "scenario", "lore", "introduce", "description", "tags"};
constexpr std::array<std::string_view, 2> kCharacterKeys = {"name", "description"};

struct Character {
  std::string name;
  const YamlNode* description = nullptr;
  bool introduced = false;  // by an item of `messages`, so that it has no block in the header
};

bool is_speaker(const std::string& name) {
  const std::string body = name + ": x";
  const auto speaker = find_speaker(body);
  return speaker && speaker->name == name;
}

class ConversationReader {
 public:
  ConversationReader(const YamlDocument& yaml, std::size_t first_line, const YamlSourceOptions& options,
                     Diagnostics& diagnostics)
      : yaml_(yaml), first_line_(first_line), options_(options), diagnostics_(diagnostics) {}

  YamlConversation read() {
    const YamlNode& root = yaml_.root;
    check_keys(root, kKeys, "a conversation");
    if (const YamlNode* node = root.find("id")) result_.id = name(*node, "id");
    if (const YamlNode* node = root.find("category")) result_.category = category(*node);
    if (const YamlNode* node = root.find("rating")) result_.rating = word(*node, "rating", kRatings);
    read_characters();
    const YamlNode* messages = root.find("messages");
    if (messages == nullptr || messages->kind != YamlNode::Kind::kSequence) {
      problem("E0312", messages == nullptr ? root : *messages, "`messages` is not a list of messages")
          .help("messages: [{who: reimu, text: \"...\"}]");
      return std::move(result_);
    }
    find_introduced(*messages);
    header();
    for (const YamlNode& item : messages->items) read_item(item);
    if (!has_message_ && !has_problem_)
      problem("E0306", *messages, "the conversation has no message").help("every conversation needs one: {text: ...}");
    return std::move(result_);
  }

 private:
  SourceLocation location_of(const YamlNode& node) const {
    SourceLocation at = yaml_.location(node);
    at.line += first_line_ - 1;
    return at;
  }

  Diagnostic& problem(std::string_view code, const YamlNode& node, std::string message) {
    has_problem_ = true;
    problems_.push_back(Diagnostic(code, std::move(message)).at(location_of(node)));
    return problems_.back();
  }

 public:
  void finish() {
    for (Diagnostic& each : problems_) diagnostics_.add(std::move(each));
  }

 private:
  template <typename Keys>
  void check_keys(const YamlNode& mapping, const Keys& keys, const std::string& what) {
    for (const auto& [key, value] : mapping.members) {
      if (std::find(keys.begin(), keys.end(), key.text) != keys.end()) continue;
      Diagnostic& unknown = problem("E0312", key, "unknown key `" + escape_for_log(key.text) + "` of " + what);
      const std::string similar = find_similar_name(key.text, keys);
      if (!similar.empty()) unknown.help("a key with a similar name exists: `" + similar + "`");
      std::string list;
      for (const std::string_view each : keys) list += (list.empty() ? "" : " ") + std::string(each);
      unknown.note("keys: " + list);
    }
  }

  std::string name(const YamlNode& node, const std::string& key) {
    if (node.kind == YamlNode::Kind::kScalar && !trim_blockml(node.text).empty())
      return std::string(trim_blockml(node.text));
    problem("E0312", node, "`" + key + "` is not a text");
    return "";
  }

  template <typename Words>
  std::string word(const YamlNode& node, const std::string& key, const Words& words) {
    if (node.kind == YamlNode::Kind::kScalar &&
        std::find(words.begin(), words.end(), std::string_view(node.text)) != words.end())
      return node.text;
    std::string list;
    for (const std::string_view each : words) list += (list.empty() ? "" : " ") + std::string(each);
    Diagnostic& wrong =
        problem("E0312", node, "`" + key + "` is none of its words: `" + escape_for_log(node.text) + "`");
    const std::string similar = find_similar_name(node.text, words);
    if (!similar.empty()) wrong.help("a word with a similar name exists: `" + similar + "`");
    wrong.note("words: " + list);
    return "";
  }

  std::string category(const YamlNode& node) {
    if (is_category_name(node.text) && misspelt_category(node.text).empty()) return node.text;
    return word(node, "category", kCategories);
  }

  void read_characters() {
    const YamlNode* characters = yaml_.root.find("characters");
    if (characters == nullptr || characters->kind == YamlNode::Kind::kNull) return;
    if (characters->kind != YamlNode::Kind::kMapping) {
      problem("E0312", *characters, "`characters` is not a mapping").help("characters: {reimu: {name: Reimu}}");
      return;
    }
    for (const auto& [id, value] : characters->members) {
      const YamlNode* own_name = value.find("name");
      if (value.kind != YamlNode::Kind::kMapping || own_name == nullptr) {
        problem("E0312", id, "character `" + escape_for_log(id.text) + "` has no `name`")
            .help(id.text + ": {name: Reimu, description: ...}");
        continue;
      }
      check_keys(value, kCharacterKeys, "a character");
      Character character{name(*own_name, "name"), value.find("description")};
      if (character.description != nullptr && character.description->kind == YamlNode::Kind::kNull)
        character.description = nullptr;
      if (!character.name.empty() && !is_speaker(character.name))
        problem("E0312", *own_name, "`" + escape_for_log(character.name) + "` cannot be the name of a speaker")
            .note("1 to 64 characters on one line, without \" or :, and not beginning with _ * > ` ( [");
      ids_.push_back(id.text);
      characters_[id.text] = std::move(character);
    }
  }

  Character* find_character(const YamlNode& node) {
    const auto found = characters_.find(node.text);
    if (node.kind == YamlNode::Kind::kScalar && found != characters_.end()) return &found->second;
    Diagnostic& unknown = problem("E0312", node, "no character has the id `" + escape_for_log(node.text) + "`");
    const std::string similar = find_similar_name(node.text, ids_);
    if (!similar.empty()) unknown.help("an id with a similar name exists: `" + similar + "`");
    return nullptr;
  }

  void find_introduced(const YamlNode& messages) {
    for (const YamlNode& item : messages.items) {
      const YamlNode* id = item.find("introduce");
      if (id == nullptr) continue;
      Character* character = find_character(*id);
      if (character == nullptr) continue;
      if (character->description == nullptr)
        problem("E0312", *id, "character `" + escape_for_log(id->text) + "` has no description to introduce");
      if (std::exchange(character->introduced, true))
        problem("E0312", *id, "character `" + escape_for_log(id->text) + "` is introduced twice");
    }
  }

  void header() {
    const YamlNode& root = yaml_.root;
    if (const YamlNode* title = root.find("title")) add_text(Role::kTitle, *title, "title");
    if (const YamlNode* tags = root.find("tags")) add_tags(*tags);
    if (const YamlNode* lore = root.find("lore")) {
      if (lore->kind == YamlNode::Kind::kSequence) {
        for (const YamlNode& each : lore->items) add_text(Role::kLore, each, "lore");
      } else {
        add_text(Role::kLore, *lore, "lore");
      }
    }
    for (const std::string& id : ids_) {
      if (!characters_[id].introduced) add_description(characters_[id]);
    }
    if (const YamlNode* scenario = root.find("scenario")) add_text(Role::kScenario, *scenario, "scenario");
  }

  // The text with each `<<id>>` replaced by the character's name.
  std::string with_names(const YamlNode& node) {
    std::string text;
    std::size_t done = 0;
    for (std::size_t open = node.text.find("<<"); open != std::string::npos; open = node.text.find("<<", open + 1)) {
      if (open < done) continue;
      const std::size_t close = node.text.find(">>", open);
      if (close == std::string::npos) break;
      const std::string id = node.text.substr(open + 2, close - open - 2);
      const auto found = characters_.find(id);
      if (found != characters_.end()) {
        text.append(node.text, done, open - done).append(found->second.name);
        done = close + 2;
      } else if (const std::string similar = id.size() <= 64 ? find_similar_name(id, ids_) : ""; !similar.empty()) {
        problem("E0312", node, "no character has the id of `<<" + escape_for_log(id) + ">>`")
            .help("an id with a similar name exists: `" + similar + "`");
      }
    }
    return text.append(node.text, done);
  }

  bool is_text(const YamlNode& node, const std::string& key) {
    if (node.kind == YamlNode::Kind::kScalar) return true;
    problem("E0312", node, "`" + key + "` is not a text");
    return false;
  }

  void add_text(Role role, const YamlNode& node, const std::string& key) {
    if (is_text(node, key)) add(role, node, with_names(node));
  }

  void add_tags(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kSequence || node.items.empty()) {
      problem("E0312", node, "`tags` is not a list of texts").help("tags: [barrier, danmaku]");
      return;
    }
    std::string joined;
    for (const YamlNode& tag : node.items) {
      if (!is_text(tag, "tags")) return;
      if (trim_blockml(tag.text).empty()) {
        problem("E0311", tag, "an empty tag");
        return;
      }
      joined += (joined.empty() ? "" : ", ") + std::string(trim_blockml(with_names(tag)));
    }
    add(Role::kTags, node.items.front(), joined);
  }

  void add_description(const Character& character) {
    if (character.description == nullptr || !is_text(*character.description, "description")) return;
    const std::string text = with_names(*character.description);
    if (trim_blockml(text).empty()) {
      problem("E0311", *character.description, "the description is empty").help("write its text, or leave it out");
      return;
    }
    add(Role::kDescription, *character.description, character.name + "\n" + std::string(trim_blockml(text)));
  }

  // Adds a block or instruction, checked as the parser of BlockML checks it.
  bool add(Role role, const YamlNode& node, std::string_view text, LengthHint hint = LengthHint::kNone) {
    Segment segment;
    segment.role = role;
    segment.hint = hint;
    segment.body = trim_blockml(text);
    const SourceLocation at = location_of(node);
    segment.line = at.line;
    segment.column = at.column;
    if (segment.body.empty()) {
      problem("E0311", node, "`" + std::string(role_name(role)) + "` is empty").help("write its text, or leave it out");
      return false;
    }
    for (const std::string_view mark : {kBlockOpen, kBlockClose}) {
      if (segment.body.find(mark) == std::string::npos) continue;
      problem("E0310", node, "`" + std::string(mark) + "` in a text").note("it marks blocks").help("delete it");
      return false;
    }
    if (role == Role::kInst && segment.body.find("[/INST]") != std::string::npos) {
      problem("E0316", node, "`[/INST]` inside an instruction").help("delete it, or make it two items");
      return false;
    }
    if (const std::optional<Diagnostic> found = check_segment(segment, yaml_.file)) {
      Diagnostic& added = problem(found->code, node, found->message);
      added.notes = found->notes;
      added.helps = found->helps;
      return false;
    }
    result_.document.segments.push_back(std::move(segment));
    return true;
  }

  void read_item(const YamlNode& item) {
    if (item.kind != YamlNode::Kind::kMapping || item.members.empty()) {
      problem("E0312", item, "an item of `messages` is not a mapping").help("{who: reimu, text: \"...\"}");
      return;
    }
    check_keys(item, kItemKeys, "an item of `messages`");
    const YamlNode* kind = nullptr;
    for (const std::string_view key : {"text", "ooc", "note", "scenario", "lore", "introduce", "description"}) {
      const YamlNode* found = item.find(key);
      if (found == nullptr) continue;
      if (kind != nullptr) {
        problem("E0312", item, "an item of `messages` holds two things").help("make it two items");
        return;
      }
      kind = found;
    }
    const YamlNode *title = item.find("title"), *tags = item.find("tags");
    if ((title != nullptr || tags != nullptr) == (kind != nullptr)) {
      problem("E0312", item, kind != nullptr ? "an item of `messages` holds two things" : "a message without `text`")
          .help("{who: reimu, text: \"...\"}");
      return;
    }
    if (item.find("text") == nullptr && (item.find("who") != nullptr || item.find("length") != nullptr)) {
      problem("E0312", item, "`who` and `length` belong to a `text`");
      return;
    }
    if (title != nullptr) add_text(Role::kTitle, *title, "title");
    if (tags != nullptr) add_tags(*tags);
    if (const YamlNode* node = item.find("text")) add_message(item, *node);
    if (const YamlNode* node = item.find("ooc")) add_text(Role::kOoc, *node, "ooc");
    if (const YamlNode* node = item.find("note")) add_text(Role::kInst, *node, "note");
    if (const YamlNode* node = item.find("scenario")) add_text(Role::kScenario, *node, "scenario");
    if (const YamlNode* node = item.find("lore")) add_text(Role::kLore, *node, "lore");
    if (const YamlNode* node = item.find("description")) add_text(Role::kDescription, *node, "description");
    if (const YamlNode* node = item.find("introduce")) {
      const auto found = characters_.find(node->text);
      if (found != characters_.end()) add_description(found->second);
    }
  }

  void add_message(const YamlNode& item, const YamlNode& text) {
    if (!std::exchange(has_message_, true)) {
      if (const YamlNode* system = yaml_.root.find("system")) add_text(Role::kInst, *system, "system");
    }
    std::string speaker;
    if (const YamlNode* who = item.find("who")) {
      const Character* character = find_character(*who);
      if (character == nullptr) return;
      speaker = character->name + ": ";
    }
    if (!is_text(text, "text")) return;
    const std::string words = with_names(text);
    if (trim_blockml(words).empty()) {
      problem("E0311", text, "the message is empty").help("write its text, or delete the item");
      return;
    }
    const std::string body = speaker + std::string(trim_blockml(words));
    add(Role::kMessage, text, body, hint_of(item, body));
  }

  LengthHint hint_of(const YamlNode& item, const std::string& body) {
    LengthHint wanted = options_.default_length;
    if (const YamlNode* length = item.find("length")) {
      const std::optional<LengthHint> named = find_word<LengthHint>(length->text);
      if (!named || length->kind != YamlNode::Kind::kScalar) {
        Diagnostic& unknown = problem("E0303", *length, "unknown length `" + escape_for_log(length->text) + "`");
        const std::string similar = find_similar_name(length->text, kWords<LengthHint>);
        if (!similar.empty()) unknown.help("a length with a similar name exists: `" + similar + "`");
        unknown.note(concat("lengths: ", join_words(kLengthWords, " "), ", auto, none"));
        return LengthHint::kNone;
      }
      wanted = *named;
    }
    if (wanted != LengthHint::kAuto) return wanted;
    if (options_.buckets.unit == LengthUnit::kTokens && options_.tokenizer == nullptr) {
      result_.lacks_lengths = true;
      return LengthHint::kNone;
    }
    return options_.buckets.word_for(measure_message(body, options_.buckets.unit, options_.tokenizer));
  }

  const YamlDocument& yaml_;
  std::size_t first_line_;
  const YamlSourceOptions& options_;
  Diagnostics& diagnostics_;
  std::vector<Diagnostic> problems_;
  std::vector<std::string> ids_;  // of the characters, in their order
  std::map<std::string, Character> characters_;
  YamlConversation result_;
  bool has_message_ = false, has_problem_ = false;
};

bool begins_document(std::string_view line) {
  return line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
}
bool ends_document(std::string_view line) { return line == "..." || line.starts_with("... "); }

bool has_content(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    const std::size_t first = line.find_first_not_of(" \t");
    if (first != std::string_view::npos && line[first] != '#' && !ends_document(line) && line != "---") return true;
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return false;
}

}  // namespace

std::vector<YamlText> split_yaml_documents(std::string_view text) {
  std::vector<YamlText> documents;
  std::size_t begin = 0, begin_line = 1, line_number = 1;
  const auto take = [&](std::size_t end) {
    const std::string_view document = text.substr(begin, end - begin);
    if (has_content(document)) documents.push_back({document, begin_line});
    begin = end;
    begin_line = line_number;
  };
  for (std::size_t at = 0; at < text.size(); ++line_number) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (begins_document(line) || ends_document(line)) {
      take(at);
      if (ends_document(line)) begin = std::min(end + 1, text.size()), begin_line = line_number + 1;
    }
    at = end + 1;
  }
  take(text.size());
  return documents;
}

std::optional<YamlConversation> parse_yaml_conversation(std::string_view text, const std::string& file,
                                                        std::size_t first_line, const YamlSourceOptions& options,
                                                        Diagnostics& diagnostics) {
  Diagnostics form;
  const std::optional<YamlDocument> yaml = parse_yaml(file, std::string(text), kLimits, form);
  for (const Diagnostic& each : form.all()) {
    Diagnostic problem("E0312", each.message);
    problem.location = each.location;
    problem.location.line += each.location.line > 0 ? first_line - 1 : 0;
    problem.notes = each.notes;
    problem.helps = each.helps;
    diagnostics.add(std::move(problem));
  }
  if (!yaml || form.has_errors()) return std::nullopt;
  ConversationReader reader(*yaml, first_line, options, diagnostics);
  const std::size_t before = diagnostics.error_count();
  YamlConversation conversation = reader.read();
  reader.finish();
  if (diagnostics.error_count() > before) return std::nullopt;
  return conversation;
}

}  // namespace shori
