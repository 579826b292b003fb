#include "src/data/documents/sources.h"

#include <filesystem>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

void add_files(DataSources& sources, std::uint32_t entry, bool can_encode_text, Diagnostics& diagnostics) {
  for (FoundFile& file : find_data_files(sources.entries[entry], sources.ignored_files, diagnostics)) {
    if (file.type != DataType::kTokenized && !can_encode_text) {
      throw Error(
          Diagnostic("E0203", escape_for_log(file.shown) + " is text, but the model has no tokenizer.model")
              .at(sources.entries[entry].location)
              .help("put tokenizer.model beside the weights of `base_model`, or use data of `type: tokenized`"));
    }
    const std::uint64_t size = InputFile::open(file.full_path, "E0315").size();
    std::string path = file.path;
    sources.files.push_back({std::move(file), entry, size, std::move(path)});
  }
}

void read_ratings(DataSources& sources, Diagnostics& diagnostics) {
  for (std::uint32_t file = 0; file < sources.files.size(); ++file) {
    if (sources.entry_of(file).rating.empty()) continue;
    const SourceFile& found = sources.files[file];
    const std::string folder = parent_path(found.full_path);
    if (sources.rating_files.contains(folder)) continue;
    sources.rating_files[folder] = read_rating_file(folder, parent_path(found.shown), diagnostics);
  }
}

}  // namespace

std::string DataSources::location_of(const Conversation& conversation) const {
  return location_text(files[conversation.file].path, conversation.line, conversation.is_line);
}

std::string DataSources::shown_location_of(const Conversation& conversation) const {
  return location_text(files[conversation.file].shown, conversation.line, conversation.is_line);
}

std::string location_text(const std::string& path, std::uint64_t line, bool is_line) {
  return is_line ? concat(path, ':', line) : path;
}

bool is_named_by(const std::string& name, const Conversation& conversation, const SourceFile& file) {
  if (name == conversation.id) return true;
  const auto normal = [](const std::string& text) { return std::filesystem::path(text).lexically_normal(); };
  const auto names = [&](const std::string& path) {
    return normal(name) == normal(path) || normal(name) == normal(location_text(path, conversation.line, true));
  };
  return names(file.path) || names(file.shown);
}

DataSources find_sources(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& test_entries,
                         bool can_encode_text, Diagnostics& diagnostics) {
  DataSources sources;
  sources.entries = entries;
  sources.entries.insert(sources.entries.end(), test_entries.begin(), test_entries.end());
  sources.train_entries = entries.size();
  for (std::uint32_t entry = 0; entry < sources.entries.size(); ++entry)
    add_files(sources, entry, can_encode_text, diagnostics);
  read_ratings(sources, diagnostics);
  return sources;
}

}  // namespace shori
