// BlockML, in a file or a JSONL line, and the same conversations written as YAML.
#include <string>
#include <utility>

#include "shori/data/regions.h"
#include "shori/data/split.h"
#include "shori/data/tokenizer.h"
#include "shori/data/yaml_source.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/documents/encoding.h"

namespace shori {
namespace {

void add_problems(Encoding& encoding, const Diagnostics& problems) {
  encoding.notes.problems.insert(encoding.notes.problems.end(), problems.all().begin(), problems.all().end());
}

// `text` is what the positions of the blocks count in.
std::optional<BlockmlDocument> read_blocks(Encoding& encoding, std::string& text) {
  if (!encoding.file.lines) {
    text = std::move(encoding.document.content);
  } else if (std::optional<DataLine> line = read_data_line(encoding)) {
    text = std::move(line->text);
  } else {
    return std::nullopt;
  }
  Diagnostics problems;
  auto blocks = parse_blockml(text, text_source_of(encoding.document, encoding.file), problems);
  add_problems(encoding, problems);
  return blocks;
}

std::optional<BlockmlDocument> read_yaml(Encoding& encoding) {
  const DataOptions& options = encoding.options;
  Conversation& source = encoding.document.source;
  Diagnostics problems;
  auto conversation =
      parse_yaml_conversation(encoding.document.content, encoding.file.shown, source.line,
                              {options.default_length, options.length_buckets, encoding.tokenizer}, problems);
  std::string().swap(encoding.document.content);
  add_problems(encoding, problems);
  if (!conversation) return std::nullopt;
  if (!conversation->id.empty()) source.id = conversation->id;
  if (!conversation->category.empty()) source.category = conversation->category;
  source.rating = conversation->rating;
  encoding.notes.lacks_lengths = conversation->lacks_lengths;
  return std::move(conversation->document);
}

EosRule eos_rule(const DataOptions& options) { return options.compat ? EosRule::kEnd : options.eos; }

MaskOptions mask_options(const DataOptions& options) {
  return {options.train_on_inputs, trained_roles(options.roles_to_train), options.train_on_eos,
          options.train_on_speaker};
}

void add_sample(Encoding& encoding, EncodedSample encoded) {
  Sample& sample = encoding.document.samples.emplace_back();
  sample.ids = std::move(encoded.ids);
  sample.trained = std::move(encoded.trained);
  sample.roles = std::move(encoded.roles);
  if (encoding.options.keep_regions) sample.regions = std::move(encoded.regions);
}

// What splitting a conversation of `length` ids added.
void count_repeated(Encoding& encoding, const SplitResult& split, std::int64_t length) {
  const bool ends = wants_eos(eos_rule(encoding.options), true);
  std::int64_t kept = 0, with_eos = 0;
  for (const Part& part : split.parts) {
    kept += part.ids;
    with_eos += part.has_eos ? 1 : 0;
  }
  LedgerCounts& counts = encoding.document.counts;
  counts.repeated_blocks = split.repeated_blocks;
  counts.repeated_prefixes = split.repeated_prefixes;
  counts.repeated_bos = encoding.options.bos ? static_cast<std::int64_t>(split.parts.size()) - 1 : 0;
  counts.repeated_eos = with_eos - (ends ? 1 : 0);
  counts.tokens_repeated = kept - length;
}

// Splits or truncates a conversation that is longer than sequence_len.
void cut(Encoding& encoding, const std::vector<Segment>& segments, const EncodedSample& whole) {
  const DataOptions& options = encoding.options;
  Document& document = encoding.document;
  const bool split = options.overlong == OverlongPolicy::kSplit;
  const SplitOptions split_options{options.sequence_len, options.bos, eos_rule(options), options.repeat_scenario};
  const std::vector<std::int64_t> costs = segment_costs(whole, segments);
  const SplitResult result = split ? split_conversation(segments, costs, split_options)
                                   : truncate_conversation(segments, costs, split_options);
  if (result.parts.empty()) {
    document.overlong = {result.needed, id_count(whole.ids)};
    return;
  }
  const MaskOptions mask = mask_options(options);
  for (const Part& part : result.parts)
    add_sample(encoding, encode_part(whole, segments, part, *encoding.tokenizer, mask, options.bos));
  if (split) {
    number_parts(document.samples);
    count_repeated(encoding, result, id_count(whole.ids));
  } else {
    dropped_tokens(document, DropRule::kTruncated) = id_count(whole.ids) - result.parts.front().ids;
  }
}

void encode_blocks(Encoding& encoding, const std::vector<Segment>& segments) {
  const DataOptions& options = encoding.options;
  const bool eos = wants_eos(eos_rule(options), true);
  EncodedSample whole = encode_segments(segments, *encoding.tokenizer, mask_options(options), options.bos, eos);
  encoding.document.message_lengths = message_lengths(whole);
  const std::int64_t length = id_count(whole.ids);
  if (!count_whole(encoding, length - (options.bos ? 1 : 0) - (eos ? 1 : 0), length)) return;
  if (length <= options.sequence_len) return add_sample(encoding, std::move(whole));
  const bool may_cut = options.overlong == OverlongPolicy::kSplit || options.overlong == OverlongPolicy::kTruncate;
  if (options.compat || !may_cut) return drop_or_refuse(encoding, length);
  cut(encoding, segments, whole);
}

// E0308 for the text of a control piece of this tokenizer: the parser knows only those that every tokenizer has. `text` is
// the source of BlockML in a file, where the location is exact; a line or a YAML document is named as a whole.
bool check_control_text(Encoding& encoding, const std::string& canonical, const std::string& text) {
  const auto found = encoding.tokenizer->find_control_text(canonical);
  if (!found) return true;
  Diagnostic& problem = encoding.notes.problems.emplace_back(
      "E0308", concat("the text `", escape_for_log(found->second), "` is a control piece of this tokenizer"));
  problem.note("the program would encode it as plain text, other programs as the id of that piece");
  problem.help("delete it");
  const auto in_source = encoding.file.lines ? std::nullopt : encoding.tokenizer->find_control_text(text);
  if (in_source) {
    const TextPosition at = position_of(text, in_source->first);
    problem.at(encoding.file.shown, at.line, at.column);
  } else {
    problem.at(encoding.file.shown, encoding.document.source.line);
  }
  return false;
}

}  // namespace

void encode_blockml(Encoding& encoding) {
  const DataOptions& options = encoding.options;
  Document& document = encoding.document;
  EncodingNotes& notes = encoding.notes;
  std::string text;
  std::optional<BlockmlDocument> blocks =
      encoding.file.type == DataType::kBlockmlYaml ? read_yaml(encoding) : read_blocks(encoding, text);
  if (!blocks) return;
  notes.tags_rating = rating_of_tags(blocks->segments, encoding.entry);
  const std::string canonical = render(*blocks);
  document.source.text_sha256 = sha256_hex(canonical);
  document.counts.bytes_text = static_cast<std::int64_t>(canonical.size());
  if (!options.parse_only) {
    if (!check_control_text(encoding, canonical, text)) return;
    encode_blocks(encoding, blocks->segments);
  }
  if (encoding.wants_sketch()) document.sketch = sketch_conversation(blocks->segments, document.message_lengths);
  if (options.lint) notes.findings = lint_document(*blocks, document.message_lengths, *options.lint);
  if (!options.observe && notes.findings.empty()) return;
  notes.blocks = std::move(blocks);
  notes.text = std::move(text);
}

}  // namespace shori
