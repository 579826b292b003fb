#include "src/data/dataset/select_documents.h"

#include <algorithm>
#include <cmath>

namespace shori {

std::vector<std::string> hold_out(Documents& documents, const DataSources& sources, double val_set_size) {
  std::vector<Document*> trainable;
  for (Document& document : documents) {
    if (sources.is_train(document.source.file) && !document.filtered) trainable.push_back(&document);
  }
  const double wanted =
      val_set_size < 1 ? std::ceil(val_set_size * static_cast<double>(trainable.size())) : std::floor(val_set_size);
  const std::size_t count = std::min(trainable.size(), static_cast<std::size_t>(wanted));
  std::vector<std::string> names;
  if (count > 0) names.emplace_back("val");
  for (std::size_t i = trainable.size() - count; i < trainable.size(); ++i) trainable[i]->source.held_out = 0;
  const std::size_t first_test_set = names.size();
  for (std::size_t entry = sources.train_entries; entry < sources.entries.size(); ++entry)
    names.push_back(sources.entries[entry].path);
  for (Document& document : documents) {
    const std::size_t entry = sources.files[document.source.file].entry;
    if (entry < sources.train_entries) continue;
    document.source.held_out = static_cast<std::int32_t>(first_test_set + entry - sources.train_entries);
  }
  return names;
}

std::vector<std::string> select_documents(DocumentList& list, const DataSources& sources, const DataOptions& options,
                                          Diagnostics& diagnostics) {
  std::vector<std::string> names = hold_out(list.documents, sources, options.val_set_size);
  if (options.compare || options.dedupe) compare_documents(list.documents, names, sources, options, diagnostics);
  report_overlong(list.documents, sources, options, diagnostics);
  if (!options.parse_only) report_untrained(list, sources, diagnostics);
  report_unknown_skips(list.documents, sources, options, diagnostics);
  if (options.compare) report_close_to_limit(list.documents, sources, options, diagnostics);
  return names;
}

}  // namespace shori
