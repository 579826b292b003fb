// What an import changed: how often each kind of change was made, with the first examples.
#include <algorithm>

#include "src/data/import/conversation.h"

namespace shori {

void count_change(ChangeCounts& changes, std::string_view kind, std::uint64_t times) {
  const auto found = changes.find(kind);
  if (found != changes.end())
    found->second += times;
  else if (times > 0)
    changes.emplace(kind, times);
}

void note_change(ImportReport& report, std::string_view kind, const std::string& example, std::uint64_t times) {
  constexpr std::size_t kExamples = 3;
  count_change(report.changes, kind, times);
  std::vector<std::string>& examples = report.examples[std::string(kind)];
  const bool is_new = std::find(examples.begin(), examples.end(), example) == examples.end();
  if (is_new && examples.size() < kExamples) examples.push_back(example);
}

void add_counts(ImportReport& sum, const ImportReport& part) {
  for (const auto& [kind, times] : part.changes) count_change(sum.changes, kind, times);
  for (const auto& [kind, examples] : part.examples) {
    for (const std::string& example : examples) note_change(sum, kind, example, 0);
  }
  for (const auto& [key, times] : part.unknown_keys) sum.unknown_keys[key] += times;
  sum.used_names.insert(part.used_names.begin(), part.used_names.end());
  sum.speakers.insert(part.speakers.begin(), part.speakers.end());
}

void count_text_changes(ChangeCounts& changes, const TextChanges& times) {
  for (std::size_t i = 0; i < kTextChangeCount; ++i)
    count_change(changes, text_change_name(static_cast<TextChange>(i)), times[i]);
}

}  // namespace shori
