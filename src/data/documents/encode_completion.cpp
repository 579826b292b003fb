// `type: completion`: a text that is trained as it is.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "shori/data/regions.h"
#include "shori/data/tokenizer.h"
#include "shori/util/command.h"
#include "shori/util/hash.h"
#include "shori/util/utf8.h"
#include "src/data/documents/encoding.h"

namespace shori {
namespace {

// Axolotl's completion loader gave the tokenizer max_length = 64 * sequence_len.
constexpr std::int64_t kCompatLengthFactor = 64;

// UTF-8 without byte order mark or NUL, and not empty. The text of a JSONL line has passed the same in JSON.
bool check_plain_text(Encoding& encoding, std::string_view text) {
  const auto problem = [&](std::string_view code, std::string message, std::size_t offset) -> Diagnostic& {
    Diagnostic& added = encoding.notes.problems.emplace_back(code, std::move(message));
    if (encoding.file.lines) return added.at(encoding.file.shown, encoding.document.source.line);
    const TextPosition at = position_of(text.substr(0, offset), offset);
    return added.at(encoding.file.shown, at.line, at.column);
  };
  const std::size_t nul = text.find('\0');
  if (const auto bad = find_invalid_utf8(text)) {
    problem("E0304", "the text is not UTF-8", *bad).help(utf8_command(encoding.file.shown, text));
  } else if (text.starts_with(kByteOrderMark)) {
    problem("E0304", "a byte order mark", 0)
        .help("delete it: " + sed_command("'s/\\xEF\\xBB\\xBF//g'", encoding.file.shown));
  } else if (nul != std::string_view::npos) {
    problem("E0304", "U+0000 in the text", nul).help(control_command(encoding.file.shown));
  } else if (text.empty()) {
    problem("E0311", "the text is empty", 0).help("write text, or delete it");
  }
  return encoding.notes.problems.empty();
}

std::optional<std::string> read_text(Encoding& encoding) {
  if (!encoding.file.lines) return std::move(encoding.document.content);
  std::optional<DataLine> line = read_data_line(encoding);
  if (!line) return std::nullopt;
  return std::move(line->text);
}

void add_sample(Document& document, std::vector<std::int32_t> ids) {
  Sample& sample = document.samples.emplace_back();
  sample.trained.assign(ids.size(), 1);
  sample.ids = std::move(ids);
}

// Axolotl's completion: slices of sequence_len ids; later ones without BOS, all but the last without EOS.
void add_slices(Encoding& encoding, std::vector<std::int32_t> ids, std::int64_t limit) {
  if (id_count(ids) > limit) {
    dropped_tokens(encoding.document, DropRule::kTruncated) = id_count(ids) - limit;
    ids.resize(static_cast<std::size_t>(limit));
  }
  const auto step = static_cast<std::size_t>(encoding.options.sequence_len);
  for (std::size_t at = 0; at < ids.size(); at += step) {
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
    add_sample(encoding.document, {begin, begin + static_cast<std::ptrdiff_t>(std::min(step, ids.size() - at))});
  }
  number_parts(encoding.document.samples);
}

}  // namespace

void encode_completion(Encoding& encoding) {
  const std::optional<std::string> text = read_text(encoding);
  if (!text || !check_plain_text(encoding, *text)) return;
  Document& document = encoding.document;
  const DataOptions& options = encoding.options;
  document.source.text_sha256 = sha256_hex(*text);
  if (encoding.wants_sketch()) document.sketch = sketch_text(*text);
  document.counts.bytes_text = static_cast<std::int64_t>(text->size());
  if (options.parse_only) return;
  std::vector<std::int32_t> ids = encoding.tokenizer->encode(*text);
  const std::int64_t unique = id_count(ids);
  if (options.bos) ids.insert(ids.begin(), encoding.tokenizer->bos_id());
  const std::int64_t limit = kCompatLengthFactor * options.sequence_len;
  const bool eos = wants_eos(options.compat ? EosRule::kEnd : options.eos, true);
  if (eos && (!options.compat || id_count(ids) < limit)) ids.push_back(encoding.tokenizer->eos_id());
  if (!count_whole(encoding, unique, id_count(ids))) return;
  if (options.compat) return add_slices(encoding, std::move(ids), limit);
  if (id_count(ids) > options.sequence_len) return drop_or_refuse(encoding, id_count(ids));
  add_sample(document, std::move(ids));
}

}  // namespace shori
