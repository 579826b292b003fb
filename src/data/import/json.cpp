// ShareGPT and chat-messages files: an object a conversation, a list of turns in each.
#include <string>

#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr int kMaxProblems = 50;  // of one conversation

// How the two formats call things.
struct TurnKeys {
  std::string_view list, who, text;
  std::string_view human, model;  // the two values of `who` that are not names
  std::string_view example;
  bool blocks;  // BlockML roles are turns of their own
};
constexpr TurnKeys kShareGptKeys = {"conversations",
                                    "from",
                                    "value",
                                    "human",
                                    "gpt",
                                    R"({"conversations": [{"from": "human", "value": "..."}]})",
                                    false};
constexpr TurnKeys kMessagesKeys = {
    "messages", "role", "content", "user", "assistant", R"({"messages": [{"role": "user", "content": "..."}]})", true};

class TurnReader {
 public:
  TurnReader(ImportFile& file, const TurnKeys& keys) : file_(file), keys_(keys) {}

  void read() {
    JsonElements elements(file_);
    while (elements.next(element_)) {
      if (std::optional<JsonValue> object = parse_element(file_, element_, keys_.example)) read_object(*object);
    }
  }

 private:
  void problem(const JsonValue& at, const std::string& message) { problem_at(at.offset, message); }
  void problem_at(std::size_t offset, const std::string& message) {
    add_json_problem(file_, element_, offset, message, keys_.example);
    ++problems_;
  }
  void note_unknown(std::string_view key) { ++file_.unknown_keys[std::string(key)]; }

  void read_object(const JsonValue& object) {
    problems_ = 0;
    ImportedConversation conversation;
    conversation.line = element_.line;
    const JsonValue* turns = nullptr;
    for (const auto& [key, value] : object.members) {
      if (key == keys_.list)
        turns = &value;
      else if (key == "id")
        read_id(value, conversation.id);
      else
        note_unknown(key);
    }
    if (turns == nullptr || !turns->is_array()) {
      problem_at(turns == nullptr ? 0 : turns->offset,
                 "`" + std::string(keys_.list) + (turns == nullptr ? "` is missing" : "` is not a list"));
      return;
    }
    ConversationBuilder builder(file_.options.limarp_clean, file_.changes);
    for (const JsonValue& turn : turns->items) {
      read_turn(turn, builder);
      if (problems_ >= kMaxProblems) break;
    }
    conversation.segments = builder.take();
    if (problems_ == 0) file_.accept(std::move(conversation));
  }

  void read_id(const JsonValue& value, std::string& id) {
    if (value.is_string() || (value.kind == JsonValue::Kind::kNumber && value.as_integer()))
      id = value.text;
    else if (!value.is_null())
      problem(value, "`id` is neither a text nor a whole number");
  }

  // A member that must be a string; nullptr after a problem.
  const std::string* text_of(const JsonValue& turn, std::string_view key) {
    const JsonValue* value = turn.find(key);
    if (value != nullptr && value->is_string()) return &value->text;
    problem(value == nullptr ? turn : *value,
            "`" + std::string(key) + (value == nullptr ? "` is missing" : "` is not a string"));
    return nullptr;
  }

  void read_turn(const JsonValue& turn, ConversationBuilder& builder) {
    if (!turn.is_object()) return problem(turn, "a turn is not an object");
    const std::string* who = text_of(turn, keys_.who);
    const std::string* text = text_of(turn, keys_.text);
    std::string name;
    for (const auto& [key, value] : turn.members) {
      if (keys_.blocks && key == "name") {
        if (value.is_string())
          name = value.text;
        else if (!value.is_null())
          problem(value, "`name` is not a string");
      } else if (key != keys_.who && key != keys_.text) {
        note_unknown(std::string(keys_.list) + "[]." + key);
      }
    }
    if (who != nullptr && text != nullptr) add_turn(turn, *who, *text, name, builder);
  }

  void add_turn(const JsonValue& turn, const std::string& who, const std::string& text, const std::string& name,
                ConversationBuilder& builder) {
    if (who == "system") return builder.add_instruction(text);
    const bool human = who == keys_.human, model = who == keys_.model;
    const std::string& option = human ? file_.options.human_name : file_.options.gpt_name;
    if (human || model) {
      if (name.empty() && option.empty()) return missing_name(turn, who);
      return builder.add_message(name.empty() ? option : name, text);
    }
    if (!keys_.blocks) return builder.add_message(who, text);
    const std::optional<Role> role = find_role(who);
    if (!role || *role == Role::kInst) {
      const JsonValue& value = *turn.find(keys_.who);
      return problem(value, "unknown `role`: `" + escape_for_log(who, 40) + '`');
    }
    if (*role == Role::kMessage) return builder.add_message(name, text);
    if (*role == Role::kDescription && !name.empty()) return builder.add_description(name, text);
    builder.add_block(*role, text);
  }

  void missing_name(const JsonValue& turn, const std::string& who) {
    file_.diagnostics.add(
        Diagnostic("E0116", "no name is given for the turns of `" + who + '`')
            .at(element_.location(file_.path, turn.offset))
            .note("a message begins with the name of a character")
            .help("--names " + std::string(keys_.human) + "=NAME," + std::string(keys_.model) + "=NAME"));
    ++problems_;
  }

  ImportFile& file_;
  const TurnKeys& keys_;
  JsonElement element_;
  int problems_ = 0;
};

}  // namespace

void import_sharegpt(ImportFile& file) { TurnReader(file, kShareGptKeys).read(); }

void import_messages(ImportFile& file) { TurnReader(file, kMessagesKeys).read(); }

}  // namespace shori
