#include "src/data/blockml/text_stream.h"

#include <algorithm>

#include "shori/util/command.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kChunk = 1u << 20;
constexpr std::size_t kHead = 4096;         // bytes that decide on the form of a file
constexpr std::size_t kSample = 64u << 10;  // bytes that decide on its encoding

std::string read_head(const InputFile& file, std::size_t limit = kHead) {
  std::string head(std::min<std::uint64_t>(limit, file.size()), '\0');
  file.read_at(0, head.data(), head.size());
  return head;
}

// Of a file that messages name; empty where they name it relative to another folder.
std::string beginning_of(const std::string& path, std::size_t limit) {
  if (!path_exists(path) || is_directory(path)) return {};
  return read_head(InputFile::open(path, "E0315"), limit);
}

// iconv -c deletes what it cannot convert, and then ends with 1 as it does after an error. So the status of `filter`
// decides.
std::string convert_command(std::string_view from, std::string_view filter, const std::string& file) {
  return rewrite_command(concat("iconv -c -f ", from, " -t utf-8"), file, filter);
}

struct Magic {
  std::string_view bytes, name, command;
};
constexpr Magic kCompressed[] = {
    {"\x1F\x8B", "gzip", "gzip -dc <"}, {"\x28\xB5\x2F\xFD", "zstd", "zstd -dc <"}, {"\xFD\x37zXZ", "xz", "xz -dc <"},
    {"BZh", "bzip2", "bzip2 -dc <"},    {"PK\x03\x04", "zip", "unzip -p"},
};

// JSONL beside the file, under a name not in use.
std::string parquet_command(const std::string& file) {
  constexpr std::string_view kEnd = ".jsonl";
  const std::size_t dot = file.rfind('.'), slash = file.rfind('/');
  const bool has_end = dot != std::string::npos && (slash == std::string::npos || dot > slash + 1);
  std::string lines = concat(file.substr(0, has_end ? dot : file.size()), kEnd);
  while (path_exists(lines)) lines.insert(lines.size() - kEnd.size(), ".rows");
  return concat(
      "python3 -c 'import sys, pandas; pandas.read_parquet(sys.argv[1]).to_json(sys.argv[2], orient=\"records\", ",
      "lines=True, force_ascii=False)' ", shell_word(file), ' ', shell_word(lines));
}

// UTF-16 without a byte order mark: texts have a zero in one of each two bytes, nearly always the same one.
bool is_utf16(std::string_view head, std::size_t zero_at) {
  if (head.find('\0') == std::string_view::npos) return false;
  std::size_t zeros = 0, others = 0;
  for (std::size_t i = 0; i + 1 < head.size(); i += 2) {
    zeros += head[i + zero_at] == '\0' ? 1 : 0;
    others += head[i + 1 - zero_at] == '\0' ? 1 : 0;
  }
  return zeros >= 2 && zeros * 5 >= head.size() && others * 20 <= zeros;
}

enum class Form { kUtf8, kUtf16Little, kUtf16Big };

Form form_of(std::string_view head) {
  if (head.starts_with("\xFF\xFE") || is_utf16(head, 1)) return Form::kUtf16Little;
  if (head.starts_with("\xFE\xFF") || is_utf16(head, 0)) return Form::kUtf16Big;
  return Form::kUtf8;
}

// Whether `text` has a well-formed sequence of several bytes.
bool has_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t bad = find_invalid_utf8(text).value_or(text.size());
    const std::string_view good = text.substr(0, bad);
    if (std::any_of(good.begin(), good.end(), [](char c) { return (c & 0x80) != 0; })) return true;
    text.remove_prefix(std::min(bad + 1, text.size()));
  }
  return false;
}

// Windows-1252 leaves five bytes undefined; iconv stops at them.
bool is_windows_1252(std::string_view text) {
  return text.find_first_of("\x81\x8D\x8F\x90\x9D") == std::string_view::npos;
}

// CR LF and CR become LF, from `begin` on.
void make_line_ends_lf(std::string& text, std::size_t begin, TextChanges& changes) {
  std::size_t end = text.find('\r', begin);
  if (end == std::string::npos) return;
  for (std::size_t i = end; i < text.size(); ++i) {
    if (text[i] != '\r') {
      text[end++] = text[i];
      continue;
    }
    ++count_of(changes, TextChange::kLineEnd);
    text[end++] = '\n';
    if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
  }
  text.resize(end);
}

}  // namespace

std::string_view text_change_name(TextChange change) {
  switch (change) {
    case TextChange::kByteOrderMark:
      return "byte order marks removed";
    case TextChange::kUtf16:
      return "files read as UTF-16";
    case TextChange::kLineEnd:
      return "line ends made LF";
    case TextChange::kHalf:
      return "halves of characters deleted";
    case TextChange::kBlankLine:
      return "blank lines of JSONL skipped";
  }
  return "";
}

void add_changes(TextChanges& sum, const TextChanges& changes) {
  for (std::size_t i = 0; i < kTextChangeCount; ++i) sum[i] += changes[i];
}

void normalize_text(std::string& text, TextChanges& changes) {
  if (text.starts_with(kByteOrderMark)) {
    text.erase(0, kByteOrderMark.size());
    ++count_of(changes, TextChange::kByteOrderMark);
  }
  make_line_ends_lf(text, 0, changes);
}

std::optional<Diagnostic> refuse_file_form(const InputFile& file, const std::string& shown) {
  return refuse_text_form(read_head(file), shown);
}

std::optional<Diagnostic> refuse_text_form(std::string_view head, const std::string& shown) {
  if (head.starts_with("PK\x03\x04") && lower_ascii(shown).ends_with(".charx")) {
    std::string json = shown.substr(0, shown.size() - 6) + ".json";
    while (path_exists(json)) json.insert(json.size() - 5, ".card");
    return Diagnostic("E0304", "the file is an archive (.charx) of a card and its pictures")
        .at(shown)
        .help(concat("unpack the card: unzip -p ", shell_word(shown), " card.json > ", shell_word(json)));
  }
  if (head.starts_with("PAR1")) {
    return Diagnostic("E0304", "the file is Parquet, a table of columns")
        .at(shown)
        .note("JSONL is read; Python with pandas and pyarrow makes it")
        .help("write its rows as JSONL, and name that file instead: " + parquet_command(shown));
  }
  for (const Magic& magic : kCompressed) {
    if (!head.starts_with(magic.bytes)) continue;
    return Diagnostic("E0304", concat("the file is compressed (", magic.name, ")"))
        .at(shown)
        .help("unpack it: " + rewrite_command(magic.command, shown));
  }
  const bool little = head.starts_with(std::string_view("\xFF\xFE\0\0", 4));
  const bool big = head.starts_with(std::string_view("\0\0\xFE\xFF", 4));
  if (!little && !big) return std::nullopt;
  return Diagnostic("E0304", "the file is UTF-32")
      .at(shown)
      .help("convert it: " + rewrite_command("iconv -f utf-32 -t utf-8", shown));
}

std::string utf8_command(const std::string& file, std::string_view sample) {
  if (has_utf8(sample) || has_utf8(beginning_of(file, kSample)))
    return "delete the wrong bytes: " + convert_command("utf-8", "cat", file);
  if (is_windows_1252(sample)) return "convert the file: " + rewrite_command("iconv -f cp1252 -t utf-8", file);
  return "convert the file: " + rewrite_command("iconv -f latin1 -t utf-8", file);
}

std::string control_command(const std::string& file) {
  constexpr std::string_view kDelete = "LC_ALL=C tr -d '\\000-\\010\\013\\014\\016-\\037\\177'";
  const Form form = form_of(beginning_of(file, kHead));
  if (form != Form::kUtf8) {
    return "delete it: " + convert_command(form == Form::kUtf16Little ? "utf-16le" : "utf-16be", kDelete, file);
  }
  return "delete it: " + rewrite_command(concat(kDelete, " <"), file);
}

std::string escape_command(const std::string& file, char control) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(control);
  std::string escape = concat("u00", kDigits[byte >> 4], kDigits[byte & 15]);
  if (control == '\b') escape = "(b|u0008)";
  if (control == '\f') escape = "(f|u000c)";
  // A backslash that another one escapes begins nothing. One match at a time, because matches may touch.
  std::string command = sed_command(concat("-E ':a;s/(^|[^\\\\])((\\\\\\\\)*)\\\\", escape, "/\\1\\2/I;ta'"), file);
  if (byte == 0x7F) command += " && " + control_command(file).substr(std::string_view("delete it: ").size());
  return "delete it: " + command;
}

std::string json_command(const std::string& file, std::string_view text, std::size_t offset) {
  if (offset >= text.size()) return {};
  const char c = text[offset];
  if (c == '\t') return "make tabs spaces: " + sed_command("'s/\\t/ /g'", file);
  if (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r') return control_command(file);
  return text.substr(offset).starts_with("\\u0000") ? escape_command(file, '\0') : std::string();
}

TextStream::TextStream(const InputFile& file, LineEnds line_ends)
    : file_(&file), size_(file.size()), line_ends_(line_ends) {
  choose_form(read_head(file));
}
TextStream::TextStream(std::string_view bytes) : bytes_(bytes), size_(bytes.size()) {
  choose_form(bytes.substr(0, kHead));
}

void TextStream::choose_form(std::string_view head) {
  const Form form = form_of(head);
  if (form == Form::kUtf8) return;
  utf16_high_ = form == Form::kUtf16Big ? 0 : 1;
  ++count_of(changes_, TextChange::kUtf16);
}

bool TextStream::read(std::string& text) {
  const std::uint64_t left = size_ - offset_;
  if (left == 0) return false;
  const std::size_t begin = text.size(), size = std::min<std::uint64_t>(kChunk, left);
  std::string bytes;
  std::string& into = utf16_high_ ? bytes : text;
  into.resize(into.size() + size);
  char* const read = into.data() + into.size() - size;
  if (file_ != nullptr) {
    file_->read_at(offset_, read, size);
  } else {
    bytes_.copy(read, size, offset_);
  }
  hash_.update(read, size);
  offset_ += size;
  if (utf16_high_) append_utf16(bytes, size == left, text);
  if (first_ && std::string_view(text).substr(begin).starts_with(kByteOrderMark)) {
    text.erase(begin, kByteOrderMark.size());
    // UTF-16 is nearly always marked; the mark is no change of its own.
    if (!utf16_high_) ++count_of(changes_, TextChange::kByteOrderMark);
  }
  first_ = false;
  if (line_ends_ == LineEnds::kNormalize) unify_line_ends(text, begin);
  return true;
}

void TextStream::read_all(std::string& text) {
  while (read(text)) {
  }
}

void TextStream::drop_pending_surrogate() {
  if (surrogate_ != 0) ++count_of(changes_, TextChange::kHalf);
  surrogate_ = 0;
}

void TextStream::append_unit(std::uint32_t unit, std::string& text) {
  const bool low = unit >= 0xDC00 && unit < 0xE000;
  if (low && surrogate_ != 0) {
    append_utf8(text, 0x10000 + ((surrogate_ - 0xD800) << 10) + (unit - 0xDC00));
    surrogate_ = 0;
    return;
  }
  drop_pending_surrogate();
  if (low)
    ++count_of(changes_, TextChange::kHalf);
  else if (unit >= 0xD800 && unit < 0xDC00)
    surrogate_ = unit;
  else
    append_utf8(text, unit);
}

void TextStream::append_utf16(std::string_view bytes, bool last, std::string& text) {
  const std::size_t high = *utf16_high_;
  for (const char byte : bytes) {
    half_unit_ += byte;
    if (half_unit_.size() < 2) continue;
    const auto at = [this](std::size_t i) {
      return static_cast<std::uint32_t>(static_cast<unsigned char>(half_unit_[i]));
    };
    append_unit(at(high) << 8 | at(1 - high), text);
    half_unit_.clear();
  }
  if (!last) return;
  drop_pending_surrogate();
  if (!half_unit_.empty()) ++count_of(changes_, TextChange::kHalf);
}

void TextStream::unify_line_ends(std::string& text, std::size_t begin) {
  if (begin == text.size()) return;
  const bool ends_in_cr = text.back() == '\r';
  if (after_cr_ && text[begin] == '\n') text.erase(begin, 1);
  after_cr_ = ends_in_cr;
  make_line_ends_lf(text, begin, changes_);
}

}  // namespace shori
