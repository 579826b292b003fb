#include "src/data/documents/encode_document.h"

#include <algorithm>
#include <utility>

#include "shori/util/text.h"
#include "src/data/documents/encoding.h"
#include "src/data/documents/filter_ratings.h"

namespace shori {
namespace {

void encode_by_type(Encoding& encoding) {
  switch (encoding.file.type) {
    case DataType::kTokenized:
      return encode_tokens(encoding);
    case DataType::kCompletion:
      return encode_completion(encoding);
    case DataType::kBlockml:
    case DataType::kBlockmlJsonl:
    case DataType::kBlockmlYaml:
      return encode_blockml(encoding);
  }
}

// Drops samples without a target. The first id of a sample has no prediction, but under compat the sample before it in
// its row predicts it.
void drop_unlabelled(Document& document, bool compat) {
  const auto unlabelled = [compat](const Sample& sample) {
    return std::find(sample.trained.begin() + (compat ? 0 : 1), sample.trained.end(), 1) == sample.trained.end();
  };
  for (const Sample& sample : document.samples) {
    if (unlabelled(sample)) dropped_tokens(document, DropRule::kUntrained) += id_count(sample.ids);
  }
  std::erase_if(document.samples, unlabelled);
}

void check_samples(const std::vector<Sample>& samples, const DataOptions& options) {
  for (const Sample& sample : samples) {
    const auto [smallest, largest] = std::minmax_element(sample.ids.begin(), sample.ids.end());
    SHORI_CHECK(*smallest >= 0 && *largest < options.vocab_size, concat("id ", *largest, " is outside the vocabulary"));
    SHORI_CHECK(id_count(sample.ids) <= options.sequence_len, concat("a sample of ", sample.ids.size(), " ids"));
  }
}

}  // namespace

std::optional<DataLine> read_data_line(Encoding& encoding) {
  const LineRules rules{encoding.file.type == DataType::kTokenized,
                        encoding.entry.field.empty() ? "text" : encoding.entry.field,
                        encoding.file.type == DataType::kCompletion, encoding.options.vocab_size};
  Conversation& source = encoding.document.source;
  std::optional<DataLine> line =
      parse_data_line(encoding.document.content, encoding.file.shown, source.line, rules, encoding.notes.problems);
  std::string().swap(encoding.document.content);
  if (!line) return std::nullopt;
  if (!line->id.empty()) source.id = line->id;
  if (!line->category.empty()) source.category = line->category;
  source.rating = line->rating;
  encoding.notes.unknown_keys = std::move(line->unknown_keys);
  encoding.notes.changes = line->changes;
  return line;
}

bool count_whole(Encoding& encoding, std::int64_t unique, std::int64_t length) {
  Document& document = encoding.document;
  document.counts.conversations = 1;
  document.counts.unique = unique;
  document.counts.tokens_in = length;
  const std::vector<std::string>& names = encoding.options.skip_samples;
  document.skipped = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return is_named_by(name, document.source, encoding.file);
  });
  if (document.skipped) dropped_tokens(document, DropRule::kSkipped) = length;
  return !document.skipped;
}

void drop_or_refuse(Encoding& encoding, std::int64_t length) {
  if (encoding.options.compat || encoding.options.overlong == OverlongPolicy::kDrop) {
    dropped_tokens(encoding.document, DropRule::kOverlong) = length;
  } else {
    encoding.document.overlong = {length, length};
  }
}

void number_parts(std::vector<Sample>& samples) {
  std::uint32_t part = 0;
  for (Sample& sample : samples) {
    sample.part = ++part;
    sample.parts = static_cast<std::uint32_t>(samples.size());
  }
}

std::int64_t& dropped_tokens(Document& document, DropRule rule) {
  return document.counts.dropped[static_cast<std::size_t>(rule)];
}

TextSource text_source_of(const Document& document, const SourceFile& file) {
  return {file.shown, file.lines ? static_cast<std::size_t>(document.source.line) : 0};
}

EncodingNotes encode_document(Document& document, const EncodeContext& context) {
  EncodingNotes notes;
  const std::uint32_t file = document.source.file;
  Encoding encoding{
      document, notes, context.options, context.tokenizer, context.sources.entry_of(file), context.sources.files[file]};
  document.source.id = context.sources.location_of(document.source);
  document.source.category = encoding.entry.category;
  encode_by_type(encoding);
  document.failed = !notes.problems.empty();
  if (document.failed) document.samples.clear();
  drop_unlabelled(document, context.options.compat);
  check_samples(document.samples, context.options);
  filter_rating(document, notes, context.sources);
  return notes;
}

}  // namespace shori
