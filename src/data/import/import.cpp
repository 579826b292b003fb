// Importing in two passes: the first only reads and checks, the second writes. So a faulty line leaves no half-written
// data set, and no file has to fit into memory.
#include "shori/data/import.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"
#include "src/data/import/output.h"

namespace shori {
namespace {

constexpr std::size_t kMaxStem = 200;
constexpr std::size_t kMaxNumberedStem = 180;  // room for any number

bool reads(ImportSource source, std::string_view path) {
  switch (source) {
    case ImportSource::kLimarp:
      return path.ends_with(".yaml") || path.ends_with(".yml");
    case ImportSource::kShareGpt:
      return path.ends_with(".jsonl") || path.ends_with(".json");
    case ImportSource::kMessages:
    case ImportSource::kSillyTavern:
      return path.ends_with(".jsonl");
    case ImportSource::kText:
      return path.ends_with(".blockml") || path.ends_with(".txt");
  }
  return false;
}

// Skips hidden files, links to folders and the output of imports.
void add_folder(const ImportOptions& options, const std::string& folder, std::vector<std::string>& files) {
  const std::string out = absolute_path(options.out);
  std::vector<std::string> folders = {folder};
  while (!folders.empty()) {
    const std::string current = folders.back();
    folders.pop_back();
    if (absolute_path(current) == out) continue;
    for (const std::string& name : list_directory(current)) {
      const std::string path = join_path(current, name);
      if (name.starts_with('.')) continue;
      if (!is_directory(path)) {
        if (reads(options.source, name)) files.push_back(path);
      } else if (!is_symlink(path)) {
        folders.push_back(path);
      }
    }
  }
}

std::vector<std::string> find_files(const ImportOptions& options, Diagnostics& diagnostics) {
  std::vector<std::string> files;
  for (const std::string& input : options.inputs) {
    const std::size_t before = files.size();
    if (is_directory(input))
      add_folder(options, input, files);
    else if (path_exists(input))
      files.push_back(input);
    if (files.size() == before)
      diagnostics.add(Diagnostic("E0315", "no file to import: " + escape_for_log(input, 400))
                          .help("name a file, or a folder that holds files of this kind"));
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  std::unordered_set<std::string> seen;
  std::erase_if(files, [&](const std::string& path) { return !seen.insert(absolute_path(path)).second; });
  return files;
}

std::string stem_of(const std::string& path) {
  const std::string name = file_name(path);
  const std::size_t dot = name.rfind('.');
  return name.substr(0, dot == 0 ? std::string::npos : dot);
}

std::string numbered(const std::string& stem, std::size_t number) {
  std::string digits = concat(number);
  digits.insert(0, digits.size() < 5 ? 5 - digits.size() : 0, '0');
  return stem + '-' + digits;
}

class Importer {
 public:
  Importer(const ImportOptions& options, bool write, Diagnostics& diagnostics)
      : options_(options), diagnostics_(diagnostics), output_(options, write) {}

  ImportReport run(const std::vector<std::string>& files, std::uint64_t done, std::uint64_t total) {
    for (const std::string& path : files) {
      throw_if_stop_requested();
      const InputFile input = InputFile::open(path);
      read(input, path);
      done += input.size();
      if (options_.progress) options_.progress(done, total);
    }
    report_.files = files.size();
    if (!diagnostics_.has_errors()) output_.finish(report_, diagnostics_);
    return std::move(report_);
  }

 private:
  void read(const InputFile& input, const std::string& path) {
    std::map<std::string, std::uint64_t> unknown;
    ImportFile file{input,
                    path,
                    options_,
                    report_.changes,
                    unknown,
                    diagnostics_,
                    [this, &path](ImportedConversation conversation) { accept(std::move(conversation), path); }};
    switch (options_.source) {
      case ImportSource::kLimarp:
        import_limarp(file);
        break;
      case ImportSource::kShareGpt:
        import_sharegpt(file);
        break;
      case ImportSource::kMessages:
        import_messages(file);
        break;
      case ImportSource::kSillyTavern:
        import_sillytavern(file);
        break;
      case ImportSource::kText:
        import_text(file);
        break;
    }
    input.check_unchanged();
    for (const auto& [key, times] : unknown)
      report_.unknown_keys.push_back(concat(path, ": ", key, " (", times, " times)"));
  }

  void accept(ImportedConversation conversation, const std::string& path) {
    throw_if_stop_requested();
    const auto messages = std::count_if(conversation.segments.begin(), conversation.segments.end(),
                                        [](const Segment& segment) { return segment.role == Role::kMessage; });
    if (messages == 0) return count_change(report_.changes, "conversations without a message, not written");
    const SourceLocation location{path, conversation.line, 0, 0, {}};
    std::string name = conversation.id;
    if (name.empty()) {
      const std::string stem = import_file_stem(stem_of(path)).substr(0, kMaxNumberedStem);
      name = numbered(stem, ++numbers_[stem]);
    }
    const std::string stem = import_file_stem(name);
    if (!reserve_name(stem, name, location)) return;
    if (output_.needs_content(stem)) set_hints(conversation.segments);
    if (!is_sound(conversation.segments, path, conversation.line)) return;
    ++report_.conversations;
    report_.messages += static_cast<std::size_t>(messages);
    output_.add(stem, name, conversation.segments, location, report_, diagnostics_);
  }

  void set_hints(std::vector<Segment>& segments) {
    for (Segment& segment : segments) {
      if (segment.role != Role::kMessage) continue;
      if (options_.lengths == ImportLengths::kNone && segment.hint != LengthHint::kNone) {
        segment.hint = LengthHint::kNone;
        count_change(report_.changes, "length hints removed");
      } else if (options_.lengths == ImportLengths::kAuto && segment.hint == LengthHint::kNone) {
        segment.hint = options_.hint_of(segment.body);
        count_change(report_.changes, "length hints added");
      }
    }
  }

  bool reserve_name(const std::string& stem, const std::string& name, const SourceLocation& location) {
    const auto [taken, is_new] = names_.try_emplace(stem, location);
    if (is_new) return true;
    const SourceLocation& first = taken->second;
    diagnostics_.add(
        Diagnostic("E0318", "two conversations would be written to the same file: " + escape_for_log(stem))
            .at(location)
            .note(concat("first: ", escape_for_log(first.file, 400), first.line ? concat(':', first.line) : ""))
            .note("id here: " + escape_for_log(name))
            .help("change one `id`"));
    return false;
  }

  // The parser checks the limits of BlockML.
  bool is_sound(const std::vector<Segment>& segments, const std::string& path, std::size_t line) {
    const std::size_t before = diagnostics_.error_count();
    const std::string text = render(segments);
    const std::optional<BlockmlDocument> read =
        parse_blockml(text, {path, std::max<std::size_t>(line, 1)}, diagnostics_);
    if (!read) return false;
    SHORI_CHECK(diagnostics_.error_count() == before && render(*read) == text, "an import is not canonical: " + path);
    return true;
  }

  const ImportOptions& options_;
  Diagnostics& diagnostics_;
  ImportOutput output_;
  ImportReport report_;
  std::unordered_map<std::string, std::size_t> numbers_;   // by stem
  std::unordered_map<std::string, SourceLocation> names_;  // stems of files taken
};

}  // namespace

std::string import_file_stem(std::string_view id) {
  std::string stem;
  for (std::size_t i = 0; i < id.size() && stem.size() < kMaxStem; ++i) {
    const char c = id[i];
    const bool kept = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                      c == '-' || (c == '.' && !stem.empty());
    if (kept)
      stem.push_back(c);
    else if ((c & 0xC0) != 0x80)
      stem.push_back('_');
  }
  return stem;
}

ImportReport import_files(const ImportOptions& options, Diagnostics& diagnostics) {
  const std::vector<std::string> files = find_files(options, diagnostics);
  if (diagnostics.has_errors()) return {};
  std::uint64_t bytes = 0;
  for (const std::string& path : files) bytes += InputFile::open(path).size();
  ImportReport checked = Importer(options, /*write=*/false, diagnostics).run(files, 0, 2 * bytes);
  if (diagnostics.has_errors()) return checked;
  return Importer(options, /*write=*/true, diagnostics).run(files, bytes, 2 * bytes);
}

}  // namespace shori
