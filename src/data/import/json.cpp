// ShareGPT and chat-messages files: an object a conversation, a list of turns in each. Both spellings of the members
// occur in both, and so do all words for the two sides.
#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "shori/util/command.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr int kMaxConversationProblems = 50;  // of one conversation

// How the formats call things.
constexpr std::array<std::string_view, 3> kLists = {"conversations", "messages", "conversation"};
constexpr std::array<std::string_view, 2> kWho = {"from", "role"};
constexpr std::array<std::string_view, 3> kText = {"value", "content", "text"};
constexpr std::array<std::string_view, 2> kHuman = {"human", "user"};
constexpr std::array<std::string_view, 6> kModel = {"gpt", "assistant", "chatgpt", "bing", "bard", "model"};
constexpr std::array<std::string_view, 2> kSystem = {"system", "developer"};
constexpr std::array<std::string_view, 8> kTool = {"tool",          "function",          "function_call", "tool_call",
                                                   "tool_response", "function_response", "observation",   "ipython"};

template <typename Words>
bool is_one_of(std::string_view word, const Words& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

template <typename Words>
const JsonValue* find_any(const JsonValue& object, const Words& keys) {
  for (const std::string_view key : keys) {
    if (const JsonValue* value = object.find(key)) return value;
  }
  return nullptr;
}

// What is wanted, as the format of the import has it.
struct TurnForm {
  std::string_view list, who, text, example;
};
constexpr TurnForm kShareGptForm = {"conversations", "from", "value",
                                    R"({"conversations": [{"from": "human", "value": "..."}]})"};
constexpr TurnForm kMessagesForm = {"messages", "role", "content",
                                    R"({"messages": [{"role": "user", "content": "..."}]})"};

class TurnReader {
 public:
  TurnReader(ImportFile& file, const TurnForm& form) : file_(file), form_(form) {}

  void read() {
    JsonElements elements(file_);
    while (elements.next(element_)) {
      if (std::optional<JsonValue> object = parse_element(file_, element_, form_.example)) read_object(*object);
    }
  }

 private:
  void problem(const JsonValue& at, const std::string& message) { problem_at(at.offset, message); }
  void problem_at(std::size_t offset, const std::string& message) {
    add_json_problem(file_, element_, offset, message, form_.example);
    ++problems_;
  }
  void note_unknown(std::string_view key) { ++file_.report.unknown_keys[std::string(key)]; }

  void read_object(const JsonValue& object) {
    problems_ = 0;
    key_ = {};
    ImportedConversation conversation;
    conversation.line = element_.line;
    ConversationBuilder builder(file_.options, file_.report);
    const JsonValue* turns = find_any(object, kLists);
    for (const auto& [key, value] : object.members) {
      const bool text = value.is_string();
      if (key == "id")
        read_id(value, conversation.id);
      else if (key == "title" && text)
        builder.add_block(Role::kTitle, value.text);
      else if (key == "system" && text)
        builder.add_instruction(value.text);
      else if (&value != turns)
        note_unknown(key);
    }
    if (turns == nullptr || !turns->is_array()) {
      problem_at(turns == nullptr ? 0 : turns->offset,
                 concat('`', form_.list, turns == nullptr ? "` is missing" : "` is not a list"));
      return;
    }
    for (const JsonValue& turn : turns->items) {
      read_turn(turn, builder);
      if (problems_ >= kMaxConversationProblems) break;
    }
    builder.finish(conversation);
    conversation.key = key_.text();
    if (problems_ == 0) file_.accept(std::move(conversation));
  }

  void read_id(const JsonValue& value, std::string& id) {
    if (value.is_string() || (value.kind == JsonValue::Kind::kNumber && value.as_integer()))
      id = value.text;
    else if (!value.is_null())
      problem(value, "`id` is neither a text nor a whole number");
  }

  // A text, or a list of parts: those that are texts, a paragraph each. nullopt after a problem.
  std::optional<std::string> text_of(const JsonValue& turn) {
    const JsonValue* value = find_any(turn, kText);
    if (value != nullptr && value->is_string()) return value->text;
    if (value != nullptr && value->is_null()) return std::string();
    if (value != nullptr && value->is_array()) return text_of_parts(*value);
    problem(value == nullptr ? turn : *value,
            concat('`', form_.text, value == nullptr ? "` is missing" : "` is neither a string nor a list"));
    return std::nullopt;
  }

  std::optional<std::string> text_of_parts(const JsonValue& parts) {
    std::string text;
    for (const JsonValue& part : parts.items) {
      const JsonValue* inner = part.is_object() ? part.find("text") : nullptr;
      if (!part.is_string() && (inner == nullptr || !inner->is_string())) {
        if (!part.is_object()) {
          problem(part, "a part of a message is neither a string nor an object");
          return std::nullopt;
        }
        const JsonValue* type = part.find("type");
        note_change(file_.report, "parts of messages that are no text left out",
                    type != nullptr && type->is_string() ? escape_for_log(type->text, 40) : "without a type");
        continue;
      }
      const std::string& piece = part.is_string() ? part.text : inner->text;
      text += (text.empty() || piece.empty() ? "" : "\n\n") + piece;
    }
    if (parts.items.size() > 1) count_change(file_.report.changes, "texts in parts joined");
    return text;
  }

  void read_turn(const JsonValue& turn, ConversationBuilder& builder) {
    if (!turn.is_object()) return problem(turn, "a turn is not an object");
    const JsonValue* who = find_any(turn, kWho);
    if (who == nullptr || !who->is_string())
      problem(who == nullptr ? turn : *who,
              concat('`', form_.who, who == nullptr ? "` is missing" : "` is not a string"));
    const std::optional<std::string> text = text_of(turn);
    std::string name;
    for (const auto& [key, value] : turn.members) {
      if (key == "name") {
        if (value.is_string())
          name = value.text;
        else if (!value.is_null())
          problem(value, "`name` is not a string");
      } else if (!is_one_of(key, kWho) && !is_one_of(key, kText)) {
        note_unknown(concat(form_.list, "[].", key));
      }
    }
    if (who != nullptr && who->is_string() && text) add_turn(*who, *text, name, builder);
  }

  void add_turn(const JsonValue& said, const std::string& text, const std::string& name, ConversationBuilder& builder) {
    const std::string who = lower_ascii(trim(said.text));
    for (const std::string& part : {said.text, name, text}) key_.add(part);
    if (const auto given = file_.options.names.find(said.text); given != file_.options.names.end()) {
      file_.report.used_names.insert(given->first);
      return builder.add_message(name.empty() ? given->second : name, text);
    }
    if (is_one_of(who, kSystem)) return builder.add_instruction(text);
    if (is_one_of(who, kTool)) {
      note_change(file_.report, "turns of tools made instructions", who);
      return builder.add_instruction(text);
    }
    const bool human = is_one_of(who, kHuman);
    if (human || is_one_of(who, kModel)) {
      const std::string& option = human ? file_.options.human_name : file_.options.gpt_name;
      if (name.empty() && option.empty()) return missing_name(said, human);
      return builder.add_message(name.empty() ? option : name, text);
    }
    const std::optional<Role> role = find_role(who);
    if (!role || *role == Role::kInst || form_.who != "role") return unknown_role(said);
    if (*role == Role::kMessage) return builder.add_message(name, text);
    if (*role == Role::kDescription && !name.empty()) return builder.add_description(name, text);
    builder.add_block(*role, text);
  }

  // Both are reported once a file: what is missing for one turn is missing for all.
  void unknown_role(const JsonValue& said) {
    ++problems_;
    if (!reported_.insert(said.text).second) return;
    const std::string shown = escape_for_log(said.text, 40);
    file_.diagnostics.add(Diagnostic("E0312", concat("unknown `", form_.who, "`: `", shown, '`'))
                              .at(element_.location(file_.path, said.offset))
                              .note("known: human user gpt assistant chatgpt bing bard model system developer tool")
                              .help("a speaker: --names " + shell_word(concat(said.text, "=NAME"))));
  }

  void missing_name(const JsonValue& said, bool human) {
    ++problems_;
    if (!reported_.insert(human ? "human" : "gpt").second) return;
    file_.diagnostics.add(
        Diagnostic("E0116", concat("no name is given for the turns of `", escape_for_log(said.text), '`'))
            .at(element_.location(file_.path, said.offset))
            .note("a message begins with the name of a character")
            .help("--names user=NAME,char=NAME"));
  }

  ImportFile& file_;
  const TurnForm& form_;
  JsonElement element_;
  ConversationKey key_;             // of the conversation that is read
  std::set<std::string> reported_;  // roles
  int problems_ = 0;
};

}  // namespace

void import_sharegpt(ImportFile& file) { TurnReader(file, kShareGptForm).read(); }

void import_messages(ImportFile& file) { TurnReader(file, kMessagesForm).read(); }

}  // namespace shori
