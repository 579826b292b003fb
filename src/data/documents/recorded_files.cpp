#include "src/data/documents/recorded_files.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "shori/util/file.h"
#include "shori/util/hash.h"

namespace shori {
namespace {

bool same_paths(const std::vector<SourceFile>& files, const std::vector<RecordedFile>& recorded) {
  return std::ranges::equal(files, recorded, {}, &SourceFile::path, &RecordedFile::path);
}

// For each file the index of the recorded one with its content. A file that kept its path goes first, so that copies
// with one content keep their order.
std::optional<std::vector<std::size_t>> match(const std::vector<SourceFile>& files,
                                              const std::vector<RecordedFile>& recorded) {
  if (files.size() != recorded.size()) return std::nullopt;
  std::map<std::string, std::vector<std::size_t>> by_content;
  for (std::size_t i = recorded.size(); i-- > 0;) by_content[recorded[i].sha256].push_back(i);
  std::vector<std::size_t> positions;
  for (const SourceFile& file : files) {
    auto& left = by_content[sha256_of_file(InputFile::open(file.full_path, "E0315"))];
    if (left.empty()) return std::nullopt;
    const auto same = std::ranges::find(left, file.path, [&](std::size_t i) { return recorded[i].path; });
    const auto taken = same != left.end() ? same : left.end() - 1;
    positions.push_back(*taken);
    left.erase(taken);
  }
  return positions;
}

}  // namespace

void follow_record(DataSources& sources, const std::vector<RecordedFile>& recorded) {
  if (recorded.empty() || same_paths(sources.files, recorded)) return;
  const auto positions = match(sources.files, recorded);
  if (!positions) return;
  std::vector<std::pair<std::size_t, SourceFile>> ordered;
  for (std::size_t i = 0; i < positions->size(); ++i) {
    ordered.emplace_back((*positions)[i], std::move(sources.files[i]));
    ordered.back().second.recorded_path = recorded[(*positions)[i]].path;
  }
  const auto is_test = [&](const auto& file) { return file.second.entry >= sources.train_entries; };
  std::ranges::sort(ordered, [&](const auto& a, const auto& b) {
    return std::pair(is_test(a), a.first) < std::pair(is_test(b), b.first);
  });
  for (std::size_t i = 0; i < ordered.size(); ++i) sources.files[i] = std::move(ordered[i].second);
}

}  // namespace shori
