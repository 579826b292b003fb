// Comparing conversations with each other, once all are read.
#include <algorithm>
#include <string>
#include <utility>

#include "shori/util/utf8.h"
#include "src/data/dataset/loader.h"

namespace shori {
namespace {

// A sample this close to sequence_len is lost when another policy for BOS or EOS adds to it.
constexpr std::int64_t kCloseToLimit = 16;
constexpr std::size_t kListed = 50;

}  // namespace

void DatasetLoader::compare_conversations() {
  if (!options_.compare && !options_.dedupe) return;
  std::vector<OverlapItem> items;
  std::vector<std::size_t> documents;
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    LoadedDocument& document = documents_[i];
    const bool used = options_.parse_only || !document.samples.empty() || document.overlong.length > 0;
    if (document.failed || !used) continue;  // in neither train nor evaluation
    const Conversation& conversation = dataset_.conversations[i];
    items.push_back({conversation.id, dataset_.files[document.file].path, document.line, document.is_line,
                     conversation.held_out, std::move(document.sketch)});
    documents.push_back(i);
  }
  Overlap overlap = find_overlap(items);
  if (options_.dedupe) leave_out_copies(overlap, documents);
  std::vector<std::string> names;
  for (const HeldOutSet& set : dataset_.held_out) names.push_back(set.name);
  // Of data with errors only errors are told: the rest comes when it can be read whole.
  const bool errors_only = diagnostics_.has_errors() && !options_.warn_with_errors;
  report_overlap(items, overlap, names, options_.allow_overlap, errors_only, diagnostics_);
}

// The first of exact copies in train is kept; the others are listed in the ledger, so they are no copies any more.
void DatasetLoader::leave_out_copies(Overlap& overlap, const std::vector<std::size_t>& documents) {
  const auto exact = [](const Copy& copy) { return copy.kind == OverlapKind::kExact; };
  for (const Copy& copy : overlap.in_train) {
    if (!exact(copy)) continue;
    LoadedDocument& document = documents_[documents[copy.item]];
    document.duplicate = true;
    document.overlong = {};
    for (const Sample& sample : document.samples) {
      document.counts.dropped[static_cast<std::size_t>(DropRule::kDuplicate)] +=
          static_cast<std::int64_t>(sample.ids.size());
    }
    document.samples.clear();
  }
  std::erase_if(overlap.in_train, exact);
}

// Parts of a split or sliced conversation are made to fit; one that fits by a hair as it is, is worth knowing of.
void DatasetLoader::report_close_to_limit() {
  if (!options_.compare || (diagnostics_.has_errors() && !options_.warn_with_errors)) return;
  std::vector<std::string> close;
  const LoadedDocument* first = nullptr;
  for (const LoadedDocument& document : documents_) {
    if (document.samples.size() != 1 || document.samples.front().parts > 1) continue;
    const auto length = static_cast<std::int64_t>(document.samples.front().ids.size());
    if (length + kCloseToLimit < options_.sequence_len) continue;
    if (first == nullptr) first = &document;
    close.push_back(
        escape_for_log(location_text(dataset_.files[document.file].path, document.line, document.is_line), 200) + ": " +
        std::to_string(length) + " ids");
  }
  if (close.empty()) return;
  Diagnostic problem("W0302", std::to_string(close.size()) + (close.size() == 1 ? " sample is" : " samples are") +
                                  " within " + std::to_string(kCloseToLimit) + " ids of `sequence_len` " +
                                  std::to_string(options_.sequence_len));
  problem.at(dataset_.files[first->file].path, static_cast<std::size_t>(first->line));
  const std::size_t listed = std::min(close.size(), kListed);
  problem.notes.assign(close.begin(), close.begin() + static_cast<std::ptrdiff_t>(listed));
  if (close.size() > listed) problem.note("and " + std::to_string(close.size() - listed) + " more");
  problem.help("nothing is lost; another `blockml.bos` or `blockml.eos` may make them too long");
  diagnostics_.add(std::move(problem));
}

}  // namespace shori
