#include "shori/data/dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "shori/data/tokenizer.h"
#include "shori/data/yaml_source.h"
#include "shori/util/signals.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/loader.h"

namespace shori {
namespace {

constexpr std::size_t kBatchBytes = 32u << 20;  // text held at a time
constexpr std::size_t kBatchDocuments = 1u << 16;
constexpr std::uint64_t kMaxDocument = 64u << 20;

}  // namespace

DatasetLoader::DatasetLoader(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                             const DataOptions& options, const Tokenizer* tokenizer, Diagnostics& diagnostics)
    : entries_(entries),
      train_entries_(entries.size()),
      options_(options),
      tokenizer_(tokenizer),
      diagnostics_(diagnostics) {
  entries_.insert(entries_.end(), test_entries.begin(), test_entries.end());
}

Dataset DatasetLoader::load() {
  if (tokenizer_ != nullptr) dataset_.tokenizer_sha256 = tokenizer_->sha256();
  find_files();
  read_ratings();
  const bool may_be_kept = !options_.prepared_path.empty() && !options_.observe && !options_.parse_only;
  return may_be_kept ? load_prepared() : load_anew();
}

Dataset DatasetLoader::load_anew() {
  for (std::uint32_t file = 0; file < found_.size(); ++file) read_file(file);
  encode_batch();
  hold_out();
  finish();
  return std::move(dataset_);
}

void DatasetLoader::find_files() {
  for (std::uint32_t entry = 0; entry < entries_.size(); ++entry) {
    for (FoundFile& file : find_data_files(entries_[entry], dataset_.ignored_files, diagnostics_)) {
      if (file.type != DataType::kTokenized && tokenizer_ == nullptr && !options_.parse_only) {
        throw Error(
            Diagnostic("E0203", escape_for_log(file.path) + " is text, but the model has no tokenizer.model")
                .at(entries_[entry].place)
                .help("put tokenizer.model beside the weights of `base_model`, or use data of `type: tokenized`"));
      }
      dataset_.files.push_back({file.path, InputFile::open(file.full_path, "E0315").size(), ""});
      total_bytes_ += dataset_.files.back().size;
      entry_of_file_.push_back(entry);
      found_.push_back(std::move(file));
    }
  }
  dataset_.file_ledgers.resize(found_.size());
}

void DatasetLoader::read_file(std::uint32_t file) {
  throw_if_stop_requested();
  const InputFile input = InputFile::open(found_[file].full_path, "E0315");
  dataset_.files[file].size = input.size();
  if (found_[file].lines) {
    read_lines(file, input);
  } else {
    read_document(file, input);
  }
  input.check_unchanged();
}

void DatasetLoader::read_lines(std::uint32_t file, const InputFile& input) {
  LedgerCounts& counts = dataset_.file_ledgers[file].counts;
  LineReader reader(input);
  std::string line;
  bool too_long = false;
  std::uint64_t number = 0;
  while (reader.next(line, too_long)) {
    counts.bytes_samples += static_cast<std::int64_t>(line.size());
    add_document({file, entry_of_file_[file], found_[file].type, ++number, true, std::move(line)});
  }
  if (too_long) {
    refuse_file(file, Diagnostic("E0317", "line of more than 64 MiB")
                          .at(found_[file].path, number + 1)
                          .note("the rest of the file was not read")
                          .help("split the file"));
    return;
  }
  counts.bytes_in = static_cast<std::int64_t>(input.size());
  counts.bytes_between = static_cast<std::int64_t>(reader.newlines());
  dataset_.files[file].sha256 = reader.sha256();
}

// Problems are told in the order of files and lines: those of what was read before come first.
void DatasetLoader::refuse_file(std::uint32_t file, Diagnostic problem) {
  encode_batch();
  diagnostics_.add(std::move(problem));
  refused_entries_.insert(entry_of_file_[file]);
}

void DatasetLoader::read_document(std::uint32_t file, const InputFile& input) {
  if (input.size() > kMaxDocument) {
    refuse_file(file,
                Diagnostic("E0317", "conversation of " + std::to_string(input.size()) + " bytes, the limit is 64 MiB")
                    .at(found_[file].path, 1, 1)
                    .help("split the file"));
    return;
  }
  Document document{file, entry_of_file_[file], found_[file].type, 1, false, std::string(input.size(), '\0')};
  input.read_at(0, document.content.data(), document.content.size());
  dataset_.files[file].sha256 = sha256_hex(document.content);
  LedgerCounts& counts = dataset_.file_ledgers[file].counts;
  counts.bytes_in = static_cast<std::int64_t>(input.size());
  if (document.type == DataType::kBlockmlYaml) return read_yaml(file, std::move(document));
  counts.bytes_samples = counts.bytes_in;
  add_document(std::move(document));
}

// Each YAML document is a conversation; a file with several names them by their first lines.
void DatasetLoader::read_yaml(std::uint32_t file, Document document) {
  Diagnostics problems;
  if (!check_text(document.content, {found_[file].path, 0}, problems)) return refuse_file(file, problems.all().front());
  const std::vector<YamlPiece> pieces = split_yaml_documents(document.content);
  if (pieces.empty()) {
    refuse_file(file, Diagnostic("E0306", "no conversation in the file")
                          .at(found_[file].path, 1, 1)
                          .help("write `messages: [{text: ...}]`, or delete the file"));
    return;
  }
  LedgerCounts& counts = dataset_.file_ledgers[file].counts;
  for (const YamlPiece& piece : pieces) {
    counts.bytes_samples += static_cast<std::int64_t>(piece.text.size());
    add_document({file, document.entry, document.type, piece.line, pieces.size() > 1, std::string(piece.text)});
  }
  counts.bytes_between = counts.bytes_in - counts.bytes_samples;
}

void DatasetLoader::add_document(Document document) {
  batch_bytes_ += document.content.size();
  batch_.push_back(std::move(document));
  if (batch_bytes_ >= kBatchBytes || batch_.size() >= kBatchDocuments) encode_batch();
}

void DatasetLoader::encode_batch() {
  const EncodeContext context{options_, tokenizer_, entries_, dataset_.files};
  std::vector<EncodedDocument> results = encode_documents(batch_, context, [this](std::uint64_t batch_bytes) {
    if (options_.progress) options_.progress(done_bytes_ + batch_bytes, total_bytes_);
  });
  for (std::size_t i = 0; i < results.size(); ++i) accept(batch_[i], std::move(results[i]));
  done_bytes_ += batch_bytes_;
  batch_bytes_ = 0;
  batch_.clear();
}

void DatasetLoader::accept(const Document& document, EncodedDocument encoded) {
  for (Diagnostic& problem : encoded.problems) diagnostics_.add(std::move(problem));
  const bool filtered = filter_rating(document, encoded);
  refuse_by_lint(document, encoded);
  for (const std::string& key : encoded.unknown_keys) ++unknown_keys_[{document.file, key}];
  const auto [known, is_new] = first_with_id_.try_emplace(encoded.id, documents_.size());
  if (!is_new && !encoded.id.empty()) {
    const LoadedDocument& first = documents_[known->second];
    diagnostics_.add(Diagnostic("E0318", "the id `" + escape_for_log(encoded.id) + "` is given twice")
                         .at(dataset_.files[document.file].path, static_cast<std::size_t>(document.line))
                         .note("first at " + location_text(dataset_.files[first.file].path, first.line, first.is_line))
                         .help("change one `id`"));
  }
  Conversation conversation;
  conversation.id = std::move(encoded.id);
  conversation.file = document.file;
  conversation.line = document.line;
  conversation.is_line = document.is_line;
  conversation.category = std::move(encoded.category);
  conversation.rating = std::move(encoded.rating);
  conversation.text_sha256 = std::move(encoded.text_sha256);
  if (options_.observe && !filtered) {
    options_.observe({conversation, dataset_.files[document.file].path, document.entry,
                      encoded.blocks ? &*encoded.blocks : nullptr, encoded.text, encoded.message_ids, encoded.findings,
                      encoded.counts.unique, encoded.lacks_lengths});
  }
  documents_.push_back({document.file, document.entry, document.line, document.is_line, !encoded.problems.empty(),
                        encoded.overlong, encoded.counts, encoded.skipped, filtered, false, std::move(encoded.sketch),
                        std::move(encoded.samples)});
  dataset_.conversations.push_back(std::move(conversation));
}

// The findings at level error. A conversation with one is still counted, so that other checks go on.
void DatasetLoader::refuse_by_lint(const Document& document, const EncodedDocument& encoded) {
  if (!encoded.blocks) return;
  std::vector<LintFinding> errors = encoded.findings;
  std::erase_if(errors, [](const LintFinding& finding) { return finding.level != LintLevel::kError; });
  print_findings(*encoded.blocks, encoded.text, source_of(document, dataset_.files[document.file].path), errors,
                 [this](Diagnostic problem) { diagnostics_.add(std::move(problem)); });
}

// val: the last conversations of `datasets` in order; test entries: all of theirs.
void DatasetLoader::hold_out() {
  std::vector<std::size_t> trainable;
  for (std::size_t i = 0; i < documents_.size() && documents_[i].entry < train_entries_; ++i) {
    if (!documents_[i].filtered) trainable.push_back(i);
  }
  const double wanted = options_.val_set_size < 1
                            ? std::ceil(options_.val_set_size * static_cast<double>(trainable.size()))
                            : std::floor(options_.val_set_size);
  const std::size_t count = std::min(trainable.size(), static_cast<std::size_t>(wanted));
  if (count > 0) dataset_.held_out.push_back({"val", {}});
  for (std::size_t i = trainable.size() - count; i < trainable.size(); ++i)
    dataset_.conversations[trainable[i]].held_out = 0;
  std::unordered_map<std::uint32_t, std::int32_t> set_of_entry;
  for (std::uint32_t entry = static_cast<std::uint32_t>(train_entries_); entry < entries_.size(); ++entry) {
    set_of_entry[entry] = static_cast<std::int32_t>(dataset_.held_out.size());
    dataset_.held_out.push_back({entries_[entry].path, {}});
  }
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    const auto set = set_of_entry.find(documents_[i].entry);
    if (set != set_of_entry.end()) dataset_.conversations[i].held_out = set->second;
  }
}

void DatasetLoader::finish() {
  compare_conversations();
  report_overlong();
  if (!options_.parse_only) report_unlabelled();
  check_skip_list();
  report_close_to_limit();
  for (const auto& [key, lines] : unknown_keys_) {
    dataset_.unknown_keys.push_back(escape_for_log(dataset_.files[key.first].path) + ": `" +
                                    escape_for_log(key.second) + "` in " + std::to_string(lines) +
                                    (lines == 1 ? " line" : " lines"));
  }
  report_unused_ratings();
  for (std::size_t i = 0; i < documents_.size(); ++i) move_samples(i);
  dataset_.fingerprint = fingerprint();
}

void DatasetLoader::move_samples(std::size_t index) {
  LoadedDocument& document = documents_[index];
  const Conversation& conversation = dataset_.conversations[index];
  FileLedger& ledger = dataset_.file_ledgers[document.file];
  const std::string place = location_text(dataset_.files[document.file].path, document.line, document.is_line);
  LedgerCounts counts = document.counts;
  std::int64_t tokens = 0;
  for (Sample& sample : document.samples) {
    tokens += static_cast<std::int64_t>(sample.ids.size());
    sample.conversation = static_cast<std::uint32_t>(index);
    auto& set = conversation.held_out < 0 ? dataset_.train
                                          : dataset_.held_out[static_cast<std::size_t>(conversation.held_out)].samples;
    set.push_back(std::move(sample));
  }
  if (conversation.held_out < 0) {
    counts.tokens_packed = tokens;
    counts.samples = static_cast<std::int64_t>(document.samples.size());
  } else {
    counts.tokens_held_out = tokens;
    ledger.held_out.push_back({place, tokens});
  }
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
    if (counts.dropped[rule] > 0) ledger.dropped[rule].push_back({place, counts.dropped[rule]});
  }
  if (counts.tokens_repeated > 0) ledger.split.push_back({place, counts.tokens_repeated});
  ledger.counts += counts;
  std::vector<Sample>().swap(document.samples);
}

std::string Dataset::place_of(const Sample& sample) const {
  const Conversation& source = conversations.at(sample.conversation);
  std::string place = location_text(files.at(source.file).path, source.line, source.is_line);
  if (sample.parts > 1) place += "#" + std::to_string(sample.part) + "/" + std::to_string(sample.parts);
  return place;
}

std::string location_text(const std::string& path, std::uint64_t line, bool is_line) {
  return is_line ? path + ":" + std::to_string(line) : path;
}

Dataset load_datasets(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                      const DataOptions& options, const Tokenizer* tokenizer, Diagnostics& diagnostics) {
  SHORI_CHECK(options.sequence_len >= 1 && options.vocab_size >= 1 && options.threads >= 1,
              "data options out of range");
  SHORI_CHECK(tokenizer == nullptr || tokenizer->vocab_size() <= options.vocab_size,
              "the tokenizer has more pieces than the model");
  return DatasetLoader(entries, test_entries, options, tokenizer, diagnostics).load();
}

}  // namespace shori
