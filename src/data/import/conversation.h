// What the readers of foreign files share: a builder of conversations, JSON elements with positions, and the file that
// is read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shori/data/import.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/xxh64.h"
#include "src/data/blockml/text_span.h"
#include "src/data/blockml/text_stream.h"
#include "src/data/sources/recognize.h"

namespace shori {

using ChangeCounts = std::map<std::string, std::uint64_t, std::less<>>;
void count_change(ChangeCounts& changes, std::string_view kind, std::uint64_t times = 1);
// Counts a change and keeps `example` if it is one of the first.
void note_change(ImportReport& report, std::string_view kind, const std::string& example, std::uint64_t times = 1);
// Adds what was counted of a part of the input.
void add_counts(ImportReport& sum, const ImportReport& part);
void count_text_changes(ChangeCounts& changes, const TextChanges& times);

// What a conversation is, whatever the options of the import and the form of the file: its texts, and who the source
// says they are by. Names of files end with it, so that a later import recognizes what it meets again.
class ConversationKey {
 public:
  void add(std::string_view text);
  std::string text() const;  // 12 digits and small letters

 private:
  Xxh64 hash_;
};

std::string key_of(std::string_view text);  // of a conversation that is one text

struct ImportedConversation {
  std::string id;                         // empty: it is named after the file
  std::string key;                        // of a ConversationKey
  std::vector<std::string> earlier_keys;  // those that it had when it was shorter
  std::size_t line = 0;                   // where it begins in the file; 0: it is the whole file
  bool checkpoint = false;                // the source calls it a copy of the beginning of another
  std::string user, character;  // who {{user}} is, under the final name; who {{char}} is in the source; empty: unknown
  std::vector<Segment> segments;
};

// Who speaks, as far as the source knows.
enum class Voice { kUser, kCharacter, kOther };

// Builds the segments of one conversation from texts in their order. Texts are cleaned when all are there, because the
// names that macros stand for may come late.
class ConversationBuilder {
 public:
  ConversationBuilder(const ImportOptions& options, ImportReport& report) : options_(options), report_(report) {}

  // What {{user}} and {{char}} are, if the source says so. ImportOptions has the last word.
  void set_user(std::string name) { user_ = std::move(name); }
  void set_character(std::string name) { character_ = std::move(name); }
  // The character's final name.
  const std::string& character_name() const {
    return options_.gpt_name.empty() ? renamed(character_) : options_.gpt_name;
  }

  // For texts of a card: {{user}} and {{char}} are these, whatever the options say.
  void fix_names(std::string user, std::string character) {
    set_user(std::move(user));
    set_character(std::move(character));
    fixed_ = true;
  }

  // `name` empty: narration. A name that cannot be a speaker's is changed, and the change counted.
  void add_message(std::string_view name, std::string_view text, Voice voice = Voice::kOther);
  void add_description(std::string_view name, std::string_view text);
  void add_block(Role role, std::string_view text);
  void add_instruction(std::string_view text) { add_block(Role::kInst, text); }
  void add_segment(Segment segment);  // of BlockML: only names, macros and what may be dropped are looked at
  std::vector<Segment> take();
  // The segments, and who they are by.
  void finish(ImportedConversation& conversation);

 private:
  struct Entry {
    Role role = Role::kMessage;
    Voice voice = Voice::kOther;
    std::string name, text;
    std::optional<Segment> segment;
  };
  void find_names();
  std::string speaker_of(const Entry& entry);
  const std::string& renamed(const std::string& name) const;
  const std::string& user_name() const { return options_.human_name.empty() ? renamed(user_) : options_.human_name; }
  std::string prose(std::string_view text, const std::string& own);  // may be empty
  std::string clean(std::string_view text);
  std::string clean_name(std::string_view name);
  void finish_entry(const Entry& entry);
  void finish_message(const Entry& entry);
  void finish_segment(Segment segment);
  void add(Role role, std::string body);

  const ImportOptions& options_;
  ImportReport& report_;
  std::vector<Entry> entries_;
  std::string user_, character_;
  std::string group_;  // all characters, for {{group}}
  bool one_character_ = false, fixed_ = false;
  std::vector<Segment> segments_;
};

// Changes line ends to LF; deletes control characters and the texts of control tokens.
std::string clean_characters(std::string_view text, ChangeCounts& changes);

// What {{user}}, {{char}} and {{group}} stand for; empty: unknown.
struct MacroNames {
  std::string user, character, group;
};
// Replaces SillyTavern's macros, in any case, also <USER> and <BOT>. Those without a value in a file (time, dice,
// variables) stay, and are counted.
std::string expand_macros(std::string_view text, const MacroNames& names, ImportReport& report);

// `text` without the spans, which are in order, and without the white space that only they needed.
std::string without_spans(std::string_view text, const std::vector<TextSpan>& spans);
// Leaves out what `options` drop: thinking, pictures, status blocks.
std::string drop_parts(std::string_view text, const ImportOptions& options, ImportReport& report);
// `text` without the speaker's name at its start: models write it although the front end has.
std::string_view without_own_name(std::string_view text, std::string_view speaker, std::size_t& times);

// One file being read.
struct ImportFile {
  const InputFile& input;
  const std::string& path;  // as shown
  const ImportOptions& options;
  ImportReport& report;
  Diagnostics& diagnostics;
  std::function<void(ImportedConversation)> accept;
};

// The whole file, whose changes of form are counted. Empty after E0317, larger than 64 MiB (`what` names it), or E0304, bytes
// that are not UTF-8 or a NUL.
std::optional<std::string> read_text(ImportFile& file, std::string_view what);

// Each reads a whole file and passes its conversations to `accept`. All problems of the file go to `diagnostics`.
void import_limarp(ImportFile& file);
void import_sharegpt(ImportFile& file);
void import_messages(ImportFile& file);
void import_sillytavern(ImportFile& file);
void import_text(ImportFile& file);
void import_plain(ImportFile& file);

// A JSON text and where it begins in its file.
struct JsonElement {
  std::string text;
  std::size_t line = 1, column = 1;
  SourceLocation location(const std::string& file, std::size_t offset) const;
};

// The elements of a file of JSON in any JsonForm. Blank lines of JSONL are skipped and counted. Holds at most 64 MiB.
class JsonElements {
 public:
  explicit JsonElements(ImportFile& file) : file_(file), stream_(file.input) {}
  ~JsonElements();
  JsonElements(const JsonElements&) = delete;
  JsonElements& operator=(const JsonElements&) = delete;
  // False at the end, or after a problem that makes the rest unreadable; the problem is reported.
  bool next(JsonElement& element);

 private:
  void begin();
  bool read_line(JsonElement& element);
  bool next_line(JsonElement& element);
  bool next_item(JsonElement& element);
  bool scan_item(JsonElement& element);
  int peek();  // next byte, or -1
  void take();
  void skip_space();
  bool fail(const std::string& message);
  ImportFile& file_;
  TextStream stream_;
  JsonForm form_ = JsonForm::kLines;
  bool begun_ = false;
  std::uint64_t blank_lines_ = 0;
  std::string buffer_;
  std::size_t used_ = 0;
  std::size_t line_ = 1, column_ = 1;
};

// The object of an element; nullopt after E0304 or E0312. `example` is the help that is shown.
std::optional<JsonValue> parse_element(ImportFile& file, const JsonElement& element, std::string_view example);
void add_json_problem(ImportFile& file, const JsonElement& element, std::size_t offset, std::string message,
                      std::string_view example);

}  // namespace shori
