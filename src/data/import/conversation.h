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

namespace shori {

using ChangeCounts = std::map<std::string, std::uint64_t, std::less<>>;
void count_change(ChangeCounts& changes, std::string_view kind, std::uint64_t times = 1);

// Builds the segments of one conversation from texts in their order.
class ConversationBuilder {
 public:
  ConversationBuilder(bool limarp_clean, ChangeCounts& changes) : limarp_clean_(limarp_clean), changes_(changes) {}

  // `name` empty: narration. A name that cannot be a speaker's is changed, and the change counted.
  void add_message(std::string_view name, std::string_view text);
  void add_description(std::string_view name, std::string_view text);
  void add_block(Role role, std::string_view text);
  void add_instruction(std::string_view text);
  void add_segment(Segment segment);  // as it is
  bool has_message() const;
  std::vector<Segment> take() { return std::move(segments_); }

 private:
  std::string clean(std::string_view text);  // may be empty
  std::string clean_name(std::string_view name);
  void add(Role role, std::string body);
  bool limarp_clean_;
  ChangeCounts& changes_;
  std::vector<Segment> segments_;
};

// Changes line ends to LF; deletes control characters and the texts of control tokens.
std::string clean_characters(std::string_view text, ChangeCounts& changes);

struct ImportedConversation {
  std::string id;        // empty: it is named after the file, with a number
  std::size_t line = 0;  // where it begins in the file; 0: it is the whole file
  std::vector<Segment> segments;
};

// One file being read.
struct ImportFile {
  const InputFile& input;
  const std::string& path;  // as shown
  const ImportOptions& options;
  ChangeCounts& changes;
  std::map<std::string, std::uint64_t>& unknown_keys;
  Diagnostics& diagnostics;
  std::function<void(ImportedConversation)> accept;
};

// Each reads a whole file and passes its conversations to `accept`. All problems of the file go to `diagnostics`.
void import_limarp(ImportFile& file);
void import_sharegpt(ImportFile& file);
void import_messages(ImportFile& file);
void import_sillytavern(ImportFile& file);
void import_text(ImportFile& file);

// A JSON text and where it begins in its file.
struct JsonElement {
  std::string text;
  std::size_t line = 1, column = 1;
  SourceLocation location(const std::string& file, std::size_t offset) const;
};

// The elements of a file that is one JSON array or JSONL, where each line is one. Holds at most 64 MiB.
class JsonElements {
 public:
  // `lines`: the file is JSONL whatever its first byte is.
  explicit JsonElements(ImportFile& file, bool lines = false) : file_(file), begun_(lines) {}
  // False at the end, or after a problem that makes the rest unreadable; the problem is reported.
  bool next(JsonElement& element);

 private:
  bool next_line(JsonElement& element);
  bool next_item(JsonElement& element);
  bool scan_item(JsonElement& element);
  int peek();  // next byte, or -1
  void take();
  bool fail(const std::string& message);
  ImportFile& file_;
  bool array_ = false, begun_ = false;
  std::string buffer_;
  std::size_t used_ = 0;
  std::uint64_t offset_ = 0;
  std::size_t line_ = 1, column_ = 1;
};

// The object of an element; nullopt after E0304 or E0312. `example` is the help that is shown.
std::optional<JsonValue> parse_element(ImportFile& file, const JsonElement& element, std::string_view example);
void add_json_problem(ImportFile& file, const JsonElement& element, std::size_t offset, std::string message,
                      std::string_view example);

}  // namespace shori
