#include "src/data/dataset/encode_document.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "shori/data/blockml.h"
#include "shori/data/regions.h"
#include "shori/data/split.h"
#include "shori/data/tokenizer.h"
#include "shori/data/yaml_source.h"
#include "shori/util/hash.h"
#include "shori/util/ignored_label.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/loader.h"
#include "src/data/sources/jsonl.h"

namespace shori {
namespace {

// Axolotl's completion loader gave the tokenizer max_length = 64 * sequence_len.
constexpr std::int64_t kCompatLengthFactor = 64;

std::int64_t size_of(const std::vector<std::int32_t>& ids) { return static_cast<std::int64_t>(ids.size()); }

std::int64_t& dropped(EncodedDocument& result, DropRule rule) {
  return result.counts.dropped[static_cast<std::size_t>(rule)];
}

// Encodes one document. The members hold what all kinds of data share.
class DocumentEncoder {
 public:
  DocumentEncoder(Document document, const EncodeContext& context)
      : document_(std::move(document)),
        options_(context.options),
        tokenizer_(context.tokenizer),
        entry_(context.entries[document_.entry]),
        path_(context.files[document_.file].path) {}

  EncodedDocument encode() {
    result_.id = location_text(path_, document_.line, document_.is_line);
    result_.category = entry_.category;
    if (read()) {
      skip_ = std::any_of(options_.skip_samples.begin(), options_.skip_samples.end(), [this](const std::string& name) {
        return is_named_by(name, result_.id, path_, document_.line);
      });
      encode_by_type();
      if (!result_.problems.empty()) result_.samples.clear();
      drop_unlabelled();
      check_ids();
    }
    return std::move(result_);
  }

 private:
  // Takes text, ids, id and category from the document; false if it is not usable.
  bool read() {
    if (document_.type == DataType::kBlockmlYaml) return read_yaml();
    if (!document_.is_line) {
      line_.text = std::move(document_.content);
      return document_.type != DataType::kCompletion || check_plain_text();
    }
    LineRules rules{document_.type == DataType::kTokenized, entry_.field.empty() ? "text" : entry_.field,
                    options_.vocab_size};
    std::optional<DataLine> line = parse_data_line(document_.content, path_, document_.line, rules, result_.problems);
    std::string().swap(document_.content);
    if (!line) return false;
    line_ = std::move(*line);
    if (!line_.id.empty()) result_.id = line_.id;
    if (!line_.category.empty()) result_.category = line_.category;
    result_.rating = line_.rating;
    result_.unknown_keys = std::move(line_.unknown_keys);
    return document_.type != DataType::kCompletion || check_plain_text();
  }

  bool read_yaml() {
    Diagnostics problems;
    const YamlSourceOptions yaml_options{options_.default_length, options_.length_buckets, tokenizer_};
    auto conversation = parse_yaml_conversation(document_.content, path_, document_.line, yaml_options, problems);
    std::string().swap(document_.content);
    result_.problems.insert(result_.problems.end(), problems.all().begin(), problems.all().end());
    if (!conversation) return false;
    if (!conversation->id.empty()) result_.id = conversation->id;
    if (!conversation->category.empty()) result_.category = conversation->category;
    result_.rating = conversation->rating;
    result_.lacks_lengths = conversation->lacks_lengths;
    blocks_ = std::move(conversation->document);
    return true;
  }

  // Text that is trained as it is: UTF-8 without byte order mark or NUL, and not empty. Lines have passed the same in
  // JSON.
  bool check_plain_text() {
    const auto problem = [this](std::string_view code, const std::string& message, std::size_t offset) -> Diagnostic& {
      const TextPosition at = position_of(std::string_view(line_.text).substr(0, offset), offset);
      result_.problems.push_back(document_.is_line ? Diagnostic(code, message).at(path_, document_.line)
                                                   : Diagnostic(code, message).at(path_, at.line, at.column));
      return result_.problems.back();
    };
    const std::size_t nul = line_.text.find('\0');
    if (const auto bad = find_invalid_utf8(line_.text)) {
      problem("E0304", "the text is not UTF-8", *bad).help("iconv -f cp1252 -t utf-8");
    } else if (line_.text.starts_with("\xEF\xBB\xBF")) {
      problem("E0304", "a byte order mark", 0).help("delete it");
    } else if (nul != std::string::npos) {
      problem("E0304", "U+0000 in the text", nul).help("delete it");
    } else if (line_.text.empty()) {
      problem("E0311", "the text is empty", 0).help("write text, or delete it");
    }
    return result_.problems.empty();
  }

  void encode_by_type() {
    if (document_.type == DataType::kTokenized) {
      encode_ids();
    } else if (document_.type == DataType::kCompletion) {
      encode_completion();
    } else {
      encode_blockml();
    }
  }

  EosRule eos_rule() const { return options_.compat ? EosRule::kEnd : options_.eos; }

  // The conversation as a whole: its lengths before anything is cut. True if it is left out here.
  bool count_whole(std::int64_t unique, std::int64_t length) {
    result_.counts.conversations = 1;
    result_.counts.unique = unique;
    result_.counts.tokens_in = length;
    if (!skip_) return false;
    result_.skipped = true;
    dropped(result_, DropRule::kSkipped) = length;
    return true;
  }

  void keep(std::vector<std::int32_t> ids, std::vector<std::uint8_t> trained, std::vector<std::uint8_t> roles) {
    Sample sample;
    sample.ids = std::move(ids);
    sample.trained = std::move(trained);
    sample.roles = std::move(roles);
    result_.samples.push_back(std::move(sample));
  }

  void keep(EncodedSample sample) {
    keep(std::move(sample.ids), std::move(sample.trained), std::move(sample.roles));
    if (options_.keep_regions) result_.samples.back().regions = std::move(sample.regions);
  }

  void number_parts() {
    std::uint32_t part = 0;
    for (Sample& sample : result_.samples) {
      sample.part = ++part;
      sample.parts = static_cast<std::uint32_t>(result_.samples.size());
    }
  }

  bool wants_sketch() const { return options_.compare || options_.dedupe; }

  // Over-long data without blocks: it can be left out or refused, not cut.
  void refuse_or_drop(std::int64_t length) {
    if (options_.compat || options_.overlong == OverlongPolicy::kDrop) {
      dropped(result_, DropRule::kOverlong) = length;
    } else {
      result_.overlong = {length, false};
    }
  }

  void encode_ids() {
    static_assert(std::endian::native == std::endian::little);
    Sha256 hash;
    std::vector<std::int32_t> labels(line_.ids);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      if (line_.trained[i] == 0) labels[i] = kIgnoredLabel;
    }
    hash.update(line_.ids.data(), line_.ids.size() * sizeof(std::int32_t))
        .update(labels.data(), labels.size() * sizeof(std::int32_t));
    result_.sketch.folded = hash.finish();
    result_.text_sha256 = to_hex(result_.sketch.folded);
    const std::int64_t length = size_of(line_.ids);
    if (count_whole(length, length)) return;
    if (length > options_.sequence_len) return refuse_or_drop(length);
    keep(std::move(line_.ids), std::move(line_.trained), {});
  }

  void encode_completion() {
    result_.text_sha256 = sha256_hex(line_.text);
    if (wants_sketch()) result_.sketch = sketch_text(line_.text);
    result_.counts.bytes_text = static_cast<std::int64_t>(line_.text.size());
    if (options_.parse_only) return;
    std::vector<std::int32_t> ids = tokenizer_->encode(line_.text);
    const std::int64_t unique = size_of(ids);
    if (options_.bos) ids.insert(ids.begin(), tokenizer_->bos_id());
    const std::int64_t limit = kCompatLengthFactor * options_.sequence_len;
    if (wants_eos(eos_rule(), true) && (!options_.compat || size_of(ids) < limit)) ids.push_back(tokenizer_->eos_id());
    if (count_whole(unique, size_of(ids))) return;
    if (options_.compat) return slice(std::move(ids), limit);
    if (size_of(ids) > options_.sequence_len) return refuse_or_drop(size_of(ids));
    std::vector<std::uint8_t> trained(ids.size(), 1);
    keep(std::move(ids), std::move(trained), {});
  }

  // Axolotl's completion: pieces of sequence_len ids; later ones without BOS, all but the last without EOS.
  void slice(std::vector<std::int32_t> ids, std::int64_t limit) {
    if (size_of(ids) > limit) {
      dropped(result_, DropRule::kTruncated) = size_of(ids) - limit;
      ids.resize(static_cast<std::size_t>(limit));
    }
    const auto step = static_cast<std::size_t>(options_.sequence_len);
    for (std::size_t at = 0; at < ids.size(); at += step) {
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(at);
      const auto end = ids.begin() + static_cast<std::ptrdiff_t>(std::min(at + step, ids.size()));
      keep({begin, end}, std::vector<std::uint8_t>(static_cast<std::size_t>(end - begin), 1), {});
    }
    number_parts();
  }

  MaskOptions mask() const {
    MaskOptions mask;
    mask.train_on_inputs = options_.train_on_inputs;
    mask.trained_roles = trained_roles(options_.roles_to_train);
    mask.train_on_eos = options_.train_on_eos;
    mask.train_on_speaker = options_.train_on_speaker;
    return mask;
  }

  void encode_blockml() {
    Diagnostics problems;
    std::optional<BlockmlDocument> blocks = std::move(blocks_);
    if (document_.type != DataType::kBlockmlYaml)
      blocks = parse_blockml(line_.text, source_of(document_, path_), problems);
    result_.problems.insert(result_.problems.end(), problems.all().begin(), problems.all().end());
    if (!blocks) return;
    result_.tags_rating = rating_of_tags(blocks->segments, entry_);
    const std::string canonical = render(*blocks);
    result_.text_sha256 = sha256_hex(canonical);
    result_.counts.bytes_text = static_cast<std::int64_t>(canonical.size());
    if (!options_.parse_only) encode_blocks(*blocks);
    if (wants_sketch()) result_.sketch = sketch_conversation(blocks->segments, result_.message_ids);
    if (options_.lint) result_.findings = lint_document(*blocks, result_.message_ids, *options_.lint);
    if (!options_.observe && result_.findings.empty()) return;
    result_.blocks = std::move(blocks);
    result_.text = std::move(line_.text);
  }

  void encode_blocks(const BlockmlDocument& blocks) {
    const bool eos = wants_eos(eos_rule(), true);
    EncodedSample whole = encode_segments(blocks.segments, *tokenizer_, mask(), options_.bos, eos);
    if (options_.observe || options_.lint || wants_sketch()) result_.message_ids = message_lengths(whole);
    const std::int64_t length = size_of(whole.ids);
    if (count_whole(length - (options_.bos ? 1 : 0) - (eos ? 1 : 0), length)) return;
    if (length <= options_.sequence_len) {
      keep(std::move(whole));
    } else if (options_.compat || options_.overlong == OverlongPolicy::kRaise ||
               options_.overlong == OverlongPolicy::kDrop) {
      refuse_or_drop(length);
    } else {
      cut(blocks.segments, length, eos);
    }
  }

  void cut(const std::vector<Segment>& segments, std::int64_t length, bool eos) {
    const bool split = options_.overlong == OverlongPolicy::kSplit;
    const SplitOptions split_options{options_.sequence_len, options_.bos, eos_rule(), options_.repeat_scenario};
    const std::vector<std::int64_t> costs = segment_costs(segments, *tokenizer_);
    const SplitResult cut = split ? split_conversation(segments, costs, split_options)
                                  : truncate_conversation(segments, costs, split_options);
    if (cut.parts.empty()) {
      result_.overlong = {cut.needed, true};
      return;
    }
    std::int64_t kept = 0, with_eos = 0;
    for (const Part& part : cut.parts) {
      EncodedSample sample = encode_part(segments, part, *tokenizer_, mask(), options_.bos);
      kept += size_of(sample.ids);
      with_eos += part.has_eos ? 1 : 0;
      keep(std::move(sample));
    }
    if (!split) {
      dropped(result_, DropRule::kTruncated) = length - kept;
      return;
    }
    number_parts();
    LedgerCounts& counts = result_.counts;
    counts.repeated_blocks = cut.repeated_blocks;
    counts.repeated_prefixes = cut.repeated_prefixes;
    counts.repeated_bos = options_.bos ? static_cast<std::int64_t>(cut.parts.size()) - 1 : 0;
    counts.repeated_eos = with_eos - (eos ? 1 : 0);
    counts.tokens_repeated = kept - length;
  }

  // A sample without any label that something predicts. Under compat the sample before it in a row predicts its first
  // id.
  void drop_unlabelled() {
    const auto unlabelled = [this](const Sample& sample) {
      return std::find(sample.trained.begin() + (options_.compat ? 0 : 1), sample.trained.end(), 1) ==
             sample.trained.end();
    };
    for (const Sample& sample : result_.samples) {
      if (unlabelled(sample)) dropped(result_, DropRule::kUntrained) += size_of(sample.ids);
    }
    std::erase_if(result_.samples, unlabelled);
  }

  void check_ids() const {
    for (const Sample& sample : result_.samples) {
      const auto [smallest, largest] = std::minmax_element(sample.ids.begin(), sample.ids.end());
      SHORI_CHECK(*smallest >= 0 && *largest < options_.vocab_size,
                  "id " + std::to_string(*largest) + " is outside the vocabulary");
      SHORI_CHECK(size_of(sample.ids) <= options_.sequence_len,
                  "a sample of " + std::to_string(sample.ids.size()) + " ids");
    }
  }

  Document document_;
  const DataOptions& options_;
  const Tokenizer* tokenizer_;
  const DataEntry& entry_;
  const std::string& path_;
  DataLine line_;
  std::optional<BlockmlDocument> blocks_;  // of a YAML document
  bool skip_ = false;
  EncodedDocument result_;
};

}  // namespace

TextSource source_of(const Document& document, const std::string& path) {
  const bool json = document.is_line && document.type != DataType::kBlockmlYaml;
  return {path, json ? static_cast<std::size_t>(document.line) : 0};
}

EncodedDocument encode_document(Document document, const EncodeContext& context) {
  return DocumentEncoder(std::move(document), context).encode();
}

}  // namespace shori
