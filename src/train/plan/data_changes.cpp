#include "src/train/plan/data_changes.h"

#include <algorithm>
#include <map>

#include "shori/train/run_identity.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kShownFiles = 10;
constexpr std::size_t kShownDigits = 8;

// Files whose content the other side does not have.
struct Difference {
  std::vector<RecordedFile> before, now;
};

Difference difference(const std::vector<RecordedFile>& recorded, const std::vector<DataFile>& files) {
  std::map<std::string, std::vector<RecordedFile>> left;
  for (const RecordedFile& file : recorded) left[file.sha256].push_back(file);
  Difference result;
  for (const DataFile& file : files) {
    auto& same = left[file.sha256];
    if (same.empty()) {
      result.now.push_back({file.path, file.sha256});
      continue;
    }
    const auto kept = std::ranges::find(same, file.path, &RecordedFile::path);
    same.erase(kept != same.end() ? kept : same.begin());
  }
  for (const RecordedFile& file : recorded) {
    auto& same = left[file.sha256];
    const auto missing = std::ranges::find(same, file.path, &RecordedFile::path);
    if (missing == same.end()) continue;
    result.before.push_back(file);
    same.erase(missing);
  }
  return result;
}

Diagnostic file_change(const std::string& message, const std::string& note, const std::string& help) {
  Diagnostic diagnostic("E0508", message);
  if (!note.empty()) diagnostic.note(note);
  return diagnostic.help(help);
}

// The path, or where only its folder changed the name.
std::vector<RecordedFile>::iterator find_same_file(std::vector<RecordedFile>& files, const std::string& path) {
  const auto same = std::ranges::find(files, path, &RecordedFile::path);
  if (same != files.end()) return same;
  const auto has_name = [&](const RecordedFile& file) { return file_name(file.path) == file_name(path); };
  const auto first = std::ranges::find_if(files, has_name);
  return std::ranges::count_if(files, has_name) == 1 ? first : files.end();
}

void limit(std::vector<Diagnostic>& changes) {
  if (changes.size() <= kShownFiles) return;
  const std::size_t more = changes.size() - kShownFiles;
  changes.erase(changes.begin() + kShownFiles, changes.end());
  changes.back().note(concat("and ", more, " more files"));
}

}  // namespace

std::vector<RecordedFile> recorded_files(const JsonValue& record) {
  std::vector<RecordedFile> files;
  const JsonValue* data = record.find("data");
  if (data == nullptr || !data->is_array()) return files;
  for (const JsonValue& item : data->items) files.push_back({text_member(item, "path"), text_member(item, "sha256")});
  return files;
}

std::vector<Diagnostic> data_file_changes(const std::vector<RecordedFile>& recorded, const PreparedStage& stage,
                                          const std::string& since) {
  Difference files = difference(recorded, stage.data.files);
  std::vector<Diagnostic> changes;
  for (const RecordedFile& file : files.now) {
    const auto before = find_same_file(files.before, file.path);
    const std::string shown = escape_for_log(file.path, 400);
    if (before == files.before.end()) {
      changes.push_back(file_change(concat("stage ", stage.name, ": ", shown, " is new since ", since), "",
                                    "move it out of the data, or train it as a new stage"));
      continue;
    }
    changes.push_back(file_change(
        concat(shown, " changed since ", since),
        concat("sha256 ", before->sha256.substr(0, kShownDigits), " -> ", file.sha256.substr(0, kShownDigits)),
        "restore it, or begin a new stage"));
    files.before.erase(before);
  }
  for (const RecordedFile& file : files.before) {
    changes.push_back(
        file_change(concat("stage ", stage.name, ": ", escape_for_log(file.path, 400), " is missing since ", since),
                    "no file of the data has its content, under any name", "restore it, or begin a new stage"));
  }
  limit(changes);
  return changes;
}

}  // namespace shori
