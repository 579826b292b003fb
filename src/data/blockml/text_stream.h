// Text files as editors save them: read as UTF-8 with LF line ends, whatever the bytes are.
//
// What does not change what a text says is normalized and counted: a byte order mark, UTF-16, CR LF or CR at line ends,
// half of a surrogate pair. Everything else is left to the checks of the text. All readers of data and of imports read
// through TextStream, so that one rule holds for all of them. Blank lines of JSONL are counted by its readers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"

namespace shori {

enum class TextChange : std::uint8_t { kByteOrderMark, kUtf16, kLineEnd, kHalf, kBlankLine };
inline constexpr std::size_t kTextChangeCount = 5;
using TextChanges = std::array<std::uint64_t, kTextChangeCount>;
// "byte order marks removed"
std::string_view text_change_name(TextChange change);
void add_changes(TextChanges& sum, const TextChanges& changes);
inline std::uint64_t& count_of(TextChanges& changes, TextChange change) {
  return changes[static_cast<std::size_t>(change)];
}

// CR LF and CR become LF, and a byte order mark at the start goes.
void normalize_text(std::string& text, TextChanges& changes);

// The problem of a file that is no text at all (compressed, UTF-32), with the command that makes it one; nullopt if it
// may be read. `shown` is its path in messages.
std::optional<Diagnostic> refuse_file_form(const InputFile& file, const std::string& shown);
std::optional<Diagnostic> refuse_text_form(std::string_view bytes, const std::string& shown);

enum class LineEnds { kNormalize, kKeep };

// Reads a file, or bytes that were read, once and in chunks, and hashes the bytes.
class TextStream {
 public:
  explicit TextStream(const InputFile& file, LineEnds line_ends = LineEnds::kNormalize);
  explicit TextStream(std::string_view bytes);

  // Appends the next chunk to `text`, which may add nothing; false at the end.
  bool read(std::string& text);
  // Appends all that is left.
  void read_all(std::string& text);
  const TextChanges& changes() const { return changes_; }
  std::string sha256() { return to_hex(hash_.finish()); }  // of the bytes of the file; once, after the last read()

 private:
  void choose_form(std::string_view head);
  void append_utf16(std::string_view bytes, bool last, std::string& text);
  void append_unit(std::uint32_t unit, std::string& text);
  void drop_pending_surrogate();
  void unify_line_ends(std::string& text, std::size_t begin);

  const InputFile* file_ = nullptr;  // null: bytes_ are read
  std::string_view bytes_;
  std::uint64_t size_;
  LineEnds line_ends_ = LineEnds::kNormalize;
  std::optional<std::size_t> utf16_high_;  // which byte of a unit is the high one; nullopt: UTF-8
  std::uint64_t offset_ = 0;
  bool first_ = true;            // nothing was read yet
  bool after_cr_ = false;        // the last character was a CR
  std::string half_unit_;        // first byte of a UTF-16 unit
  std::uint32_t surrogate_ = 0;  // the first half of a pair, or 0
  TextChanges changes_{};
  Sha256 hash_;
};

// The command that makes the bytes of a file UTF-8. `sample` is what was read of it: a text that holds UTF-8 as well is
// not in another encoding, so that only the wrong bytes can be deleted.
std::string utf8_command(const std::string& file, std::string_view sample);
// The command that deletes control characters but TAB, LF and CR from a file.
std::string control_command(const std::string& file);
// The command that deletes the escapes of a control character in the JSON strings of a file.
std::string escape_command(const std::string& file, char control);
// The command for the character at `offset` of a JSON text that may not stand in a string as it is; empty if it is
// something else that is wrong there.
std::string json_command(const std::string& file, std::string_view text, std::size_t offset);

}  // namespace shori
