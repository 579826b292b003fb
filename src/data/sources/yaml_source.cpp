#include "shori/data/yaml_source.h"

#include <array>
#include <utility>

#include "shori/config/data_entry.h"
#include "shori/config/vocabulary.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"
#include "src/data/blockml/segment_checks.h"
#include "src/data/sources/yaml_characters.h"
#include "src/data/sources/yaml_checks.h"

namespace shori {
namespace {

constexpr YamlLimits kConversationLimits = {kConversationBytes, 8, 8 * kSegmentLimit, kBlockBytes};
constexpr std::array<std::string_view, 10> kKeys = {"id",   "category",   "rating",   "title",  "tags",
                                                    "lore", "characters", "scenario", "system", "messages"};
constexpr std::array<std::string_view, 11> kItemKeys = {"who",      "text", "length",    "ooc",         "note", "title",
                                                        "scenario", "lore", "introduce", "description", "tags"};

class ConversationReader {
 public:
  ConversationReader(const YamlNode& root, const YamlSourceOptions& options, YamlChecks& checks)
      : root_(root), options_(options), checks_(checks), characters_(checks) {}

  YamlConversation read() {
    checks_.check_keys(root_, kKeys, "a conversation");
    if (const YamlNode* node = root_.find("id")) result_.id = checks_.name(*node, "id");
    if (const YamlNode* node = root_.find("category")) result_.category = category(*node);
    if (const YamlNode* node = root_.find("rating")) result_.rating = checks_.word(*node, "rating", kRatings);
    characters_.read(root_.find("characters"));
    const YamlNode* messages = root_.find("messages");
    if (messages == nullptr || messages->kind != YamlNode::Kind::kSequence) {
      problem("E0312", messages == nullptr ? root_ : *messages, "`messages` is not a list of messages")
          .help("messages: [{who: reimu, text: \"...\"}]");
      return std::move(result_);
    }
    characters_.find_introduced(*messages);
    header();
    for (const YamlNode& item : messages->items) read_item(item);
    if (!has_message_ && !checks_.has_problem())
      problem("E0306", *messages, "the conversation has no message").help("every conversation needs one: {text: ...}");
    return std::move(result_);
  }

 private:
  template <typename... Arguments>
  Diagnostic& problem(Arguments&&... arguments) {
    return checks_.problem(std::forward<Arguments>(arguments)...);
  }

  std::string category(const YamlNode& node) {
    if (is_category_name(node.text) && misspelt_category(node.text).empty()) return node.text;
    return checks_.word(node, "category", kCategories);
  }

  void header() {
    if (const YamlNode* title = root_.find("title")) add_text(Role::kTitle, *title, "title");
    if (const YamlNode* tags = root_.find("tags")) add_tags(*tags);
    if (const YamlNode* lore = root_.find("lore")) {
      if (lore->kind == YamlNode::Kind::kSequence) {
        for (const YamlNode& each : lore->items) add_text(Role::kLore, each, "lore");
      } else {
        add_text(Role::kLore, *lore, "lore");
      }
    }
    for (const std::string& id : characters_.ids()) {
      const YamlCharacter* character = characters_.known(id);
      if (!character->introduced) add_description(*character);
    }
    if (const YamlNode* scenario = root_.find("scenario")) add_text(Role::kScenario, *scenario, "scenario");
  }

  void add_text(Role role, const YamlNode& node, const std::string& key) {
    if (checks_.is_text(node, key)) add(role, node, characters_.with_names(node));
  }

  void add_tags(const YamlNode& node) {
    if (node.kind != YamlNode::Kind::kSequence || node.items.empty()) {
      problem("E0312", node, "`tags` is not a list of texts").help("tags: [barrier, danmaku]");
      return;
    }
    std::string joined;
    for (const YamlNode& tag : node.items) {
      if (!checks_.is_text(tag, "tags")) return;
      if (trim_blockml(tag.text).empty()) {
        problem("E0311", tag, "an empty tag");
        return;
      }
      joined += (joined.empty() ? "" : ", ") + std::string(trim_blockml(characters_.with_names(tag)));
    }
    add(Role::kTags, node.items.front(), joined);
  }

  void add_description(const YamlCharacter& character) {
    if (character.description == nullptr || !checks_.is_text(*character.description, "description")) return;
    const std::string text = characters_.with_names(*character.description);
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
    const SourceLocation at = checks_.location_of(node);
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
    if (const std::optional<Diagnostic> found = check_segment(segment, checks_.file())) {
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
    checks_.check_keys(item, kItemKeys, "an item of `messages`");
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
      if (const YamlCharacter* character = characters_.known(node->text)) add_description(*character);
    }
  }

  void add_message(const YamlNode& item, const YamlNode& text) {
    if (!std::exchange(has_message_, true)) {
      if (const YamlNode* system = root_.find("system")) add_text(Role::kInst, *system, "system");
    }
    std::string speaker;
    if (const YamlNode* who = item.find("who")) {
      const YamlCharacter* character = characters_.find(*who);
      if (character == nullptr) return;
      speaker = character->name + ": ";
    }
    if (!checks_.is_text(text, "text")) return;
    const std::string words = characters_.with_names(text);
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

  const YamlNode& root_;
  const YamlSourceOptions& options_;
  YamlChecks& checks_;
  YamlCharacters characters_;
  YamlConversation result_;
  bool has_message_ = false;
};

}  // namespace

std::optional<YamlConversation> parse_yaml_conversation(std::string_view text, const std::string& file,
                                                        std::size_t first_line, const YamlSourceOptions& options,
                                                        Diagnostics& diagnostics) {
  Diagnostics form;
  const std::optional<YamlDocument> yaml = parse_yaml(file, std::string(text), kConversationLimits, form);
  for (const Diagnostic& each : form.all()) {
    Diagnostic problem("E0312", each.message);
    problem.location = each.location;
    problem.location.line += each.location.line > 0 ? first_line - 1 : 0;
    problem.notes = each.notes;
    problem.helps = each.helps;
    diagnostics.add(std::move(problem));
  }
  if (!yaml || form.has_errors()) return std::nullopt;
  YamlChecks checks(*yaml, first_line);
  YamlConversation conversation = ConversationReader(yaml->root, options, checks).read();
  checks.move_to(diagnostics);
  if (checks.has_problem()) return std::nullopt;
  return conversation;
}

}  // namespace shori
