// Data that an earlier start has tokenized.
#include <utility>

#include "shori/util/file.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/loader.h"
#include "src/data/dataset/prepared_data.h"

namespace shori {
namespace {

bool same_hashes(const std::vector<DataFile>& a, const std::vector<DataFile>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].sha256 != b[i].sha256) return false;
  }
  return true;
}

}  // namespace

void DatasetLoader::hash_files() {
  for (std::size_t i = 0; i < found_.size(); ++i) {
    const InputFile input = InputFile::open(found_[i].full_path, "E0315");
    dataset_.files[i].size = input.size();
    dataset_.files[i].sha256 = sha256_of_file(input);
    input.check_unchanged();
  }
}

Dataset DatasetLoader::load_prepared() {
  const std::size_t errors_before = diagnostics_.error_count(), reported_before = diagnostics_.all().size();
  hash_files();
  const std::string key = prepared_key({options_, dataset_.tokenizer_sha256, entries_, train_entries_, found_,
                                        entry_of_file_, dataset_.files, rating_files_});
  const std::string place = escape_for_log(options_.prepared_path, 400);
  PreparedData kept = read_prepared(options_.prepared_path, key);
  if (kept.dataset) {
    for (Diagnostic& warning : kept.warnings) diagnostics_.add(std::move(warning));
    kept.dataset->ignored_files = std::move(dataset_.ignored_files);
    kept.dataset->prepared = "prepared data taken from " + place;
    return std::move(*kept.dataset);
  }
  const std::vector<DataFile> hashed = dataset_.files;
  Dataset dataset = load_anew();
  dataset.prepared = "data tokenized (" + kept.reason + ")";
  // What changed while it was read would be kept under the wrong key.
  if (!options_.keep_prepared || diagnostics_.error_count() > errors_before || !same_hashes(hashed, dataset.files)) {
    return dataset;
  }
  const auto& all = diagnostics_.all();
  const std::vector<Diagnostic> warnings(all.begin() + static_cast<std::ptrdiff_t>(reported_before), all.end());
  const std::string failure = write_prepared(options_.prepared_path, key, dataset, warnings);
  dataset.prepared += failure.empty() ? ", kept in " + place : ", not kept: " + failure;
  return dataset;
}

}  // namespace shori
