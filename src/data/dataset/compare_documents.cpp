// Copies among the conversations.
#include <algorithm>
#include <string>
#include <utility>

#include "src/data/dataset/select_documents.h"

namespace shori {
namespace {

// Exact copies in train are left out and listed in the ledger, so they are no overlap any more.
void drop_copies(Overlap& overlap, const std::vector<Document*>& compared) {
  const auto exact = [](const Copy& copy) { return copy.kind == OverlapKind::kExact; };
  for (const Copy& copy : overlap.in_train) {
    if (!exact(copy)) continue;
    Document& document = *compared[copy.item];
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

}  // namespace

void compare_documents(Documents& documents, const std::vector<std::string>& held_out_names, const DataSources& sources,
                       const DataOptions& options, Diagnostics& diagnostics) {
  std::vector<OverlapItem> items;
  std::vector<Document*> compared;
  for (Document& document : documents) {
    const bool used = options.parse_only || !document.samples.empty() || document.overlong.length > 0;
    if (document.failed || !used) continue;  // in neither train nor evaluation
    const Conversation& source = document.source;
    items.push_back({source.id, sources.files[source.file].shown, source.line, source.is_line, source.held_out,
                     std::move(document.sketch)});
    compared.push_back(&document);
  }
  Overlap overlap = find_overlap(items);
  if (options.dedupe) drop_copies(overlap, compared);
  // Warnings wait until the data can be read whole.
  const bool errors_only = diagnostics.has_errors() && !options.warn_with_errors;
  report_overlap(items, overlap, held_out_names, options.allow_overlap, errors_only, diagnostics);
}

}  // namespace shori
