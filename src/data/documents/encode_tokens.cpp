// `type: tokenized`: ids and labels of a JSONL line, as they are.
#include <bit>
#include <utility>

#include "shori/util/hash.h"
#include "shori/util/ignored_label.h"
#include "src/data/documents/encoding.h"

namespace shori {
namespace {

// Of the ids, then the labels, as Conversation::text_sha256 says.
Sha256Digest hash_of(const DataLine& line) {
  static_assert(std::endian::native == std::endian::little);
  std::vector<std::int32_t> labels(line.ids);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (line.trained[i] == 0) labels[i] = kIgnoredLabel;
  }
  Sha256 hash;
  hash.update(line.ids.data(), line.ids.size() * sizeof(std::int32_t))
      .update(labels.data(), labels.size() * sizeof(std::int32_t));
  return hash.finish();
}

}  // namespace

void encode_tokens(Encoding& encoding) {
  std::optional<DataLine> line = read_data_line(encoding);
  if (!line) return;
  Document& document = encoding.document;
  document.sketch.folded = hash_of(*line);
  document.source.text_sha256 = to_hex(document.sketch.folded);
  const std::int64_t length = id_count(line->ids);
  if (!count_whole(encoding, length, length)) return;
  if (length > encoding.options.sequence_len) return drop_or_refuse(encoding, length);
  Sample& sample = document.samples.emplace_back();
  sample.ids = std::move(line->ids);
  sample.trained = std::move(line->trained);
}

}  // namespace shori
