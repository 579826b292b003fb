// JSONL data lines: bounded reading of lines and strict checking of one line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "src/data/blockml/text_stream.h"

namespace shori {

inline constexpr std::size_t kMaxLine = 64u << 20;

// Nothing but JSON's white space: such a line of JSONL says nothing.
inline bool is_blank_line(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

// Reads a file once, in chunks, line by line, and hashes it.
class LineReader {
 public:
  explicit LineReader(const InputFile& file) : stream_(file) {}

  // The next line without its newline; false at the end. A last line without newline counts, an empty end does not.
  // `too_long`: the line passes kMaxLine and nothing more can be read.
  bool next(std::string& line, bool& too_long);
  const TextChanges& changes() const { return stream_.changes(); }
  std::string sha256() { return stream_.sha256(); }  // of the file; once, after the last line

 private:
  bool fill();
  TextStream stream_;
  std::string buffer_;
  std::size_t used_ = 0;  // bytes of buffer_ that were returned
};

// The members of a line that are used, and the names of the others.
struct DataLine {
  std::string text;                   // of the wanted field; not for tokenized
  std::vector<std::int32_t> ids;      // tokenized
  std::vector<std::uint8_t> trained;  // tokenized: 1 where labels is the id
  std::string id, category, rating;   // empty: not given
  std::vector<std::string> unknown_keys;
  TextChanges changes{};  // in the strings of the line
};

struct LineRules {
  bool tokenized = false;
  std::string field = "text";
  bool keeps_line_ends = false;  // of the text
  std::int64_t vocab_size = 0;
  std::int32_t bos_id = 1;
};

// nullopt when something is wrong: E0304 (not UTF-8), E0312 with the column in the line, E0313, E0314 are appended to
// `problems`.
std::optional<DataLine> parse_data_line(std::string_view line, const std::string& file, std::uint64_t line_number,
                                        const LineRules& rules, std::vector<Diagnostic>& problems);

}  // namespace shori
