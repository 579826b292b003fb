#include "src/data/dataset/build_dataset.h"

#include <utility>

#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/documents/filter_ratings.h"

namespace shori {
namespace {

void add_files(Dataset& dataset, DocumentList& list, const DataSources& sources) {
  for (std::size_t i = 0; i < sources.files.size(); ++i) {
    ReadFile& file = list.files[i];
    LedgerCounts& counts = dataset.file_ledgers.emplace_back().counts;
    counts.bytes_in = static_cast<std::int64_t>(file.size);
    counts.bytes_samples = file.bytes_samples;
    counts.bytes_between = file.bytes_between;
    dataset.files.push_back({sources.files[i].path, file.size, std::move(file.sha256), sources.files[i].recorded_path,
                             sources.files[i].shown});
  }
}

// "line ends made LF: 12 in 3 files, the first a.txt"
void add_text_changes(Dataset& dataset, const DocumentList& list, const DataSources& sources) {
  for (std::size_t change = 0; change < kTextChangeCount; ++change) {
    std::uint64_t times = 0, files = 0;
    std::string first;
    for (std::size_t i = 0; i < list.files.size(); ++i) {
      const std::uint64_t count = list.files[i].changes[change];
      if (count > 0 && files++ == 0) first = escape_for_log(sources.files[i].shown, 400);
      times += count;
    }
    if (files == 0) continue;
    dataset.text_changes.push_back(concat(text_change_name(static_cast<TextChange>(change)), ": ", times, " in ",
                                          counted(files, "file"), files == 1 ? ", " : ", the first ", first));
  }
}

// Adds what became of a document to the ledger of its file. `tokens`: of its samples.
void add_to_ledger(FileLedger& ledger, const Document& document, std::int64_t tokens, const std::string& location) {
  LedgerCounts counts = document.counts;
  if (document.source.held_out < 0) {
    counts.tokens_packed = tokens;
    counts.samples = static_cast<std::int64_t>(document.samples.size());
  } else {
    counts.tokens_held_out = tokens;
    ledger.held_out.push_back({location, tokens});
  }
  for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
    if (counts.dropped[rule] > 0) ledger.dropped[rule].push_back({location, counts.dropped[rule]});
  }
  if (counts.tokens_repeated > 0) ledger.split.push_back({location, counts.tokens_repeated});
  ledger.counts += counts;
}

void add_document(Dataset& dataset, Document document, const DataSources& sources) {
  const std::int32_t held_out = document.source.held_out;
  std::int64_t tokens = 0;
  for (const Sample& sample : document.samples) tokens += static_cast<std::int64_t>(sample.ids.size());
  add_to_ledger(dataset.file_ledgers[document.source.file], document, tokens, sources.location_of(document.source));
  auto& samples = held_out < 0 ? dataset.train : dataset.held_out[static_cast<std::size_t>(held_out)].samples;
  for (Sample& sample : document.samples) {
    sample.conversation = static_cast<std::uint32_t>(dataset.conversations.size());
    samples.push_back(std::move(sample));
  }
  document.source.left_out =
      static_cast<std::uint8_t>((document.skipped ? kSkippedByName : 0) | (document.duplicate ? kLeftOutAsCopy : 0) |
                                (document.filtered ? kLeftOutByRating : 0));
  if (held_out < 0 && !document.samples.empty())
    dataset.message_lengths.insert(dataset.message_lengths.end(), document.message_lengths.begin(),
                                   document.message_lengths.end());
  dataset.conversations.push_back(std::move(document.source));
}

void add_unknown_keys(Dataset& dataset, const DocumentList& list, const DataSources& sources) {
  for (const auto& [key, lines] : list.unknown_keys) {
    const auto& [file, member] = key;
    dataset.unknown_keys.push_back(concat(escape_for_log(sources.files[file].shown), ": `", escape_for_log(member),
                                          "` in ", counted(lines, "line")));
  }
  for (std::string& text : unused_rating_texts(sources, list)) dataset.unknown_keys.push_back(std::move(text));
}

}  // namespace

Dataset build_dataset(DocumentList list, const DataSources& sources, const std::vector<std::string>& held_out_names) {
  Dataset dataset;
  for (const std::string& name : held_out_names) dataset.held_out.push_back({name, {}});
  add_text_changes(dataset, list, sources);
  add_files(dataset, list, sources);
  add_unknown_keys(dataset, list, sources);
  dataset.conversations.reserve(list.documents.size());
  for (; !list.documents.empty(); list.documents.pop_front())
    add_document(dataset, std::move(list.documents.front()), sources);
  return dataset;
}

}  // namespace shori
