// SillyTavern chats: JSONL, a header and a message a line.
#include <algorithm>
#include <array>

#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kExample = R"({"name": "Aya", "is_user": false, "is_system": false, "mes": "..."})";
// What a message line holds besides `name` and `mes`; of these only is_system and extra.type decide anything.
constexpr std::array<std::string_view, 7> kKnownKeys = {"name",      "mes",   "is_user", "is_system",
                                                        "send_date", "extra", "swipe_id"};

bool is_header(const JsonValue& object) {
  if (object.find("mes") != nullptr) return false;
  return object.find("chat_metadata") != nullptr || object.find("user_name") != nullptr ||
         object.find("character_name") != nullptr;
}

class ChatReader {
 public:
  explicit ChatReader(ImportFile& file) : file_(file), builder_(file.options.limarp_clean, file.changes) {}

  void read() {
    JsonElements elements(file_, /*lines=*/true);
    for (bool first = true; elements.next(element_); first = false) {
      if (first && element_.text.starts_with(kByteOrderMark)) {
        element_.text.erase(0, kByteOrderMark.size());
        count_change(file_.changes, "byte order marks removed");
      }
      if (element_.text.ends_with('\r')) element_.text.pop_back();
      if (trim_blockml(element_.text).empty()) continue;
      const std::optional<JsonValue> object = parse_element(file_, element_, kExample);
      good_ = good_ && object;
      if (object && !(is_first_object_ && is_header(*object))) read_message(*object);
      is_first_object_ = false;
    }
    ImportedConversation conversation;
    conversation.segments = builder_.take();
    if (good_) file_.accept(std::move(conversation));
  }

 private:
  void problem(const JsonValue& at, const std::string& message) {
    add_json_problem(file_, element_, at.offset, message, kExample);
    good_ = false;
  }

  // The text of a member; nullptr after a problem.
  const std::string* text_of(const JsonValue& object, std::string_view key) {
    const JsonValue* value = object.find(key);
    if (value != nullptr && value->is_string()) return &value->text;
    problem(value == nullptr ? object : *value,
            "`" + std::string(key) + (value == nullptr ? "` is missing" : "` is not a string"));
    return nullptr;
  }

  void read_message(const JsonValue& object) {
    for (const auto& [key, value] : object.members) {
      if (key == "swipes" && value.is_array()) {
        if (value.items.size() > 1) count_change(file_.changes, "other swipes left out", value.items.size() - 1);
      } else if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) == kKnownKeys.end()) {
        ++file_.unknown_keys[key];
      }
    }
    const std::string* text = text_of(object, "mes");
    if (text == nullptr) return;
    const JsonValue* system = object.find("is_system");
    if (system != nullptr && system->kind != JsonValue::Kind::kBool && !system->is_null())
      return problem(*system, "`is_system` is neither true nor false");
    if (system != nullptr && system->boolean)
      return count_change(file_.changes, "notices of the program dropped (is_system)");
    if (is_narrator(object)) return builder_.add_instruction(*text);
    if (const std::string* name = text_of(object, "name")) builder_.add_message(*name, *text);
  }

  static bool is_narrator(const JsonValue& object) {
    const JsonValue* extra = object.find("extra");
    const JsonValue* type = extra == nullptr ? nullptr : extra->find("type");
    return type != nullptr && type->is_string() && type->text == "narrator";
  }

  ImportFile& file_;
  ConversationBuilder builder_;
  JsonElement element_;
  bool good_ = true, is_first_object_ = true;
};

}  // namespace

void import_sillytavern(ImportFile& file) { ChatReader(file).read(); }

}  // namespace shori
