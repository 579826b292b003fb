// SillyTavern chats: JSONL, a header and a message a line. Groups have no header in older versions; checkpoints and
// branches are chats of their own whose header names the chat they were copied from.
#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr std::string_view kExample = R"({"name": "Aya", "is_user": false, "is_system": false, "mes": "..."})";
// What a message line holds besides; of these only is_user, is_system and extra decide anything.
constexpr std::array<std::string_view, 21> kKnownKeys = {
    "name",     "mes",    "is_user",    "is_system",   "is_name",      "is_group",     "send_date",       "extra",
    "swipe_id", "swipes", "swipe_info", "gen_started", "gen_finished", "force_avatar", "original_avatar", "title",
    "gen_id",   "genid",  "variables",  "chid",        "continueSwipe"};
// `extra.type` of what the program itself writes into a chat; everything else is somebody's message.
constexpr std::array<std::string_view, 13> kNotices = {
    "help",    "welcome",        "group",      "empty",   "generic", "bookmark_created", "bookmark_back",
    "comment", "slash_commands", "formatting", "hotkeys", "macros",  "welcome_prompt"};
constexpr std::string_view kNote = "assistant_note";
constexpr std::array<std::string_view, 6> kAttachments = {"image", "image_swipes", "file", "files", "video", "media"};

bool is_header(const JsonValue& object) {
  if (object.find("mes") != nullptr) return false;
  return object.find("chat_metadata") != nullptr || object.find("user_name") != nullptr ||
         object.find("character_name") != nullptr;
}

// A text member that says something; current versions write `unused` for names.
std::string text_in(const JsonValue* object, std::string_view key) {
  const JsonValue* value = object == nullptr ? nullptr : object->find(key);
  const bool said = value != nullptr && value->is_string() && value->text != "unused";
  return said ? value->text : std::string();
}

bool is_true(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  return value != nullptr && value->kind == JsonValue::Kind::kBool && value->boolean;
}

// Calls of tools and their results, and what else the program says in its own name.
bool is_own_entry(const JsonValue& object, const JsonValue* extra, const std::string& type) {
  if (extra != nullptr && extra->find("tool_invocations") != nullptr) return true;
  return is_true(object, "is_system") && text_in(&object, "name") == "SillyTavern System" && type != "narrator";
}

class ChatReader {
 public:
  explicit ChatReader(ImportFile& file) : file_(file), builder_(file.options, file.report) {}

  void read() {
    JsonElements elements(file_);
    while (elements.next(element_)) {
      const std::optional<JsonValue> object = parse_element(file_, element_, kExample);
      good_ = good_ && object;
      if (object && is_first_object_ && is_header(*object))
        read_header(*object);
      else if (object)
        read_message(*object);
      is_first_object_ = false;
    }
    builder_.finish(conversation_);
    conversation_.key = key_.text();
    if (good_) file_.accept(std::move(conversation_));
  }

 private:
  void problem(const JsonValue& at, const std::string& message) {
    add_json_problem(file_, element_, at.offset, message, kExample);
    good_ = false;
  }

  void count(std::string_view kind, std::uint64_t times = 1) { count_change(file_.report.changes, kind, times); }

  void read_header(const JsonValue& object) {
    const std::string character = text_in(&object, "character_name");
    builder_.set_user(text_in(&object, "user_name"));
    builder_.set_character(character);
    if (!character.empty()) builder_.add_block(Role::kTitle, builder_.character_name());
    const JsonValue* metadata = object.find("chat_metadata");
    if (const std::string scenario = text_in(metadata, "scenario"); !trim_blockml(scenario).empty())
      builder_.add_block(Role::kScenario, scenario);
    conversation_.checkpoint = !text_in(metadata, "main_chat").empty();
  }

  // The text of a member; nullptr after a problem.
  const std::string* text_of(const JsonValue& object, std::string_view key) {
    const JsonValue* value = object.find(key);
    if (value != nullptr && value->is_string()) return &value->text;
    problem(value == nullptr ? object : *value,
            concat("`", key, value == nullptr ? "` is missing" : "` is not a string"));
    return nullptr;
  }

  void count_members(const JsonValue& object) {
    for (const auto& [key, value] : object.members) {
      if (key == "swipes" && value.is_array() && value.items.size() > 1)
        count("other swipes left out", value.items.size() - 1);
      if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) == kKnownKeys.end()) ++file_.report.unknown_keys[key];
    }
  }

  void read_message(const JsonValue& object) {
    count_members(object);
    const std::string* text = text_of(object, "mes");
    if (text == nullptr) return;
    const JsonValue* system = object.find("is_system");
    if (system != nullptr && system->kind != JsonValue::Kind::kBool && !system->is_null())
      return problem(*system, "`is_system` is neither true nor false");
    const JsonValue* extra = object.find("extra");
    const std::string type = text_in(extra, "type");
    if (std::find(kNotices.begin(), kNotices.end(), type) != kNotices.end() || type == kNote)
      return note_change(file_.report, "notices of the program left out", type);
    if (is_own_entry(object, extra, type))
      return note_change(file_.report, "notices of the program left out", type.empty() ? "SillyTavern System" : type);
    add_to_key(text_in(&object, "name"), *text);
    if (system != nullptr && system->boolean && !keep_hidden()) return;
    add_message(object, extra, type, *text);
  }

  // A chat grows from one import to the next.
  void add_to_key(const std::string& name, const std::string& text) {
    if (has_messages_) conversation_.earlier_keys.push_back(key_.text());
    has_messages_ = true;
    key_.add(name);
    key_.add(text);
  }

  // Messages that /hide took out of the prompt are part of the story.
  bool keep_hidden() {
    const bool keep = file_.options.hidden == KeepOrDrop::kKeep;
    count(keep ? "hidden messages (/hide) kept" : "hidden messages (/hide) left out");
    return keep;
  }

  void add_message(const JsonValue& object, const JsonValue* extra, const std::string& type, const std::string& mes) {
    count_attachments(extra);
    if (type == "narrator") return builder_.add_instruction(mes);
    if (!type.empty() && type != "assistant_message")
      note_change(file_.report, "messages of an unknown `extra.type` kept", escape_for_log(type, 40));
    const std::string* name = text_of(object, "name");
    if (name == nullptr) return;
    const std::string reasoning = text_in(extra, "reasoning");
    const bool shown = file_.options.thinking == KeepOrDrop::kKeep && !reasoning.empty();
    if (!reasoning.empty()) count(concat("reasoning beside a message ", shown ? "kept" : "left out"));
    const std::string text = shown ? concat("<think>\n", reasoning, "\n</think>\n", mes) : mes;
    builder_.add_message(*name, text, is_true(object, "is_user") ? Voice::kUser : Voice::kCharacter);
  }

  void count_attachments(const JsonValue* extra) {
    if (extra == nullptr) return;
    const bool any = std::any_of(kAttachments.begin(), kAttachments.end(), [extra](std::string_view key) {
      const JsonValue* value = extra->find(key);
      return value != nullptr && !value->is_null() && !(value->is_string() && value->text.empty());
    });
    if (any) count("pictures and files attached to a message left out");
  }

  ImportFile& file_;
  ConversationBuilder builder_;
  ImportedConversation conversation_;
  JsonElement element_;
  ConversationKey key_;
  bool good_ = true, is_first_object_ = true, has_messages_ = false;
};

}  // namespace

void import_sillytavern(ImportFile& file) { ChatReader(file).read(); }

}  // namespace shori
