#include "shori/data/dataset.h"

#include <algorithm>
#include <utility>

#include "shori/data/tokenizer.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/build_dataset.h"
#include "src/data/dataset/fingerprint.h"
#include "src/data/dataset/prepared_data.h"
#include "src/data/dataset/prepared_paths.h"
#include "src/data/dataset/select_documents.h"
#include "src/data/documents/load_documents.h"
#include "src/data/documents/recorded_files.h"

namespace shori {
namespace {

std::string sha256_of(const Tokenizer* tokenizer) { return tokenizer != nullptr ? tokenizer->sha256() : ""; }

Dataset load_from_files(const DataSources& sources, const DataOptions& options, const Tokenizer* tokenizer,
                        Diagnostics& diagnostics) {
  DocumentList list = load_documents(sources, options, tokenizer, diagnostics);
  const std::vector<std::string> held_out = select_documents(list, sources, options, diagnostics);
  Dataset dataset = build_dataset(std::move(list), sources, held_out);
  dataset.ignored_files = sources.ignored_files;
  dataset.tokenizer_sha256 = sha256_of(tokenizer);
  dataset.fingerprint = data_fingerprint(dataset, options);
  return dataset;
}

std::vector<DataFile> hash_files(const DataSources& sources) {
  std::vector<DataFile> files;
  for (const SourceFile& source : sources.files) {
    const InputFile input = InputFile::open(source.full_path, "E0315");
    files.push_back({source.path, input.size(), sha256_of_file(input), source.recorded_path, source.shown});
    input.check_unchanged();
  }
  return files;
}

bool same_hashes(const std::vector<DataFile>& a, const std::vector<DataFile>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const DataFile& one, const DataFile& other) { return one.sha256 == other.sha256; });
}

// From options.prepared_path if it holds data of the same inputs; else from the files, to be kept there.
Dataset load_prepared(const DataSources& sources, const DataOptions& options, const Tokenizer* tokenizer,
                      Diagnostics& diagnostics) {
  const std::size_t errors_before = diagnostics.error_count(), reported_before = diagnostics.all().size();
  const std::vector<DataFile> hashed = hash_files(sources);
  const std::string key = prepared_key({options, sha256_of(tokenizer), sources, hashed});
  const std::string found = find_prepared(options.prepared_path, key);
  PreparedData kept = read_prepared(found, key);
  if (kept.dataset) {
    use_present_paths(kept, sources);
    for (Diagnostic& warning : kept.warnings) diagnostics.add(std::move(warning));
    kept.dataset->ignored_files = sources.ignored_files;
    kept.dataset->fingerprint = data_fingerprint(*kept.dataset, options);
    kept.dataset->prepared = "prepared data taken from " + escape_for_log(found, 400);
    return std::move(*kept.dataset);
  }
  Dataset dataset = load_from_files(sources, options, tokenizer, diagnostics);
  dataset.prepared = concat("data tokenized (", kept.reason, ')');
  // A file that changed since it was hashed would be kept under the wrong key.
  if (diagnostics.error_count() > errors_before || !same_hashes(hashed, dataset.files)) return dataset;
  const auto& all = diagnostics.all();
  dataset.cache = {options.prepared_path, key, {all.begin() + static_cast<std::ptrdiff_t>(reported_before), all.end()}};
  return dataset;
}

}  // namespace

std::string Dataset::location_of(const Sample& sample) const {
  const Conversation& source = conversations.at(sample.conversation);
  std::string location = location_text(files.at(source.file).path, source.line, source.is_line);
  if (sample.parts > 1) location += concat('#', sample.part, '/', sample.parts);
  return location;
}

Dataset load_datasets(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                      const DataOptions& options, const Tokenizer* tokenizer, Diagnostics& diagnostics) {
  SHORI_CHECK(options.sequence_len >= 1 && options.vocab_size >= 1 && options.threads >= 1,
              "data options out of range");
  SHORI_CHECK(tokenizer == nullptr || tokenizer->vocab_size() <= options.vocab_size,
              "the tokenizer has more pieces than the model");
  const bool can_encode_text = tokenizer != nullptr || options.parse_only;
  DataSources sources = find_sources(entries, test_entries, can_encode_text, diagnostics);
  follow_record(sources, options.recorded_files);
  const bool may_be_prepared = !options.prepared_path.empty() && !options.observe && !options.parse_only;
  return may_be_prepared ? load_prepared(sources, options, tokenizer, diagnostics)
                         : load_from_files(sources, options, tokenizer, diagnostics);
}

std::string keep_prepared(Dataset& dataset) {
  if (!dataset.cache) return "";
  const PreparedCache cache = *std::exchange(dataset.cache, std::nullopt);
  const std::string failure = write_prepared(cache, dataset);
  return failure.empty() ? "tokenized data kept in " + escape_for_log(cache.path, 400)
                         : "tokenized data not kept: " + failure;
}

}  // namespace shori
