#include "src/data/import/output.h"

#include <nlohmann/json.hpp>

#include "shori/data/yaml_source.h"
#include "shori/util/file.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::uint64_t kRatingBytes = 64u << 20;

std::string_view extension(ImportFormat format) {
  switch (format) {
    case ImportFormat::kYaml:
      return ".yaml";
    case ImportFormat::kJsonl:
      return ".jsonl";
    case ImportFormat::kBlockml:
      break;
  }
  return ".blockml";
}

bool holds(const std::string& path, std::string_view content) {
  const InputFile file = InputFile::open(path);
  return file.size() == content.size() && read_whole_file(file, content.size(), "E0317") == content;
}

}  // namespace

std::string ImportOutput::content(const std::string& id, std::span<const Segment> segments) const {
  if (options_.format == ImportFormat::kBlockml) return render(segments);
  if (options_.format == ImportFormat::kYaml)
    return render_yaml_conversation(segments, id, options_.category, options_.rating);
  Json line = {{"id", id}};
  if (!options_.category.empty()) line["category"] = options_.category;
  if (!options_.rating.empty()) line["rating"] = options_.rating;
  line["text"] = render(segments);
  return json_text(line) + "\n";
}

bool ImportOutput::is_taken(const std::string& name) const {
  const std::string path = join_path(options_.out, name);
  return path_exists(path) || is_symlink(path);
}

void ImportOutput::write_file(const std::string& name, const std::string& text, const SourceLocation& location,
                              ImportReport& report, Diagnostics& diagnostics) {
  const std::string path = join_path(options_.out, name);
  if (is_taken(name)) {
    if (path_exists(path) && !is_directory(path) && holds(path, text)) {
      ++report.unchanged;
      return;
    }
    if (options_.skip_existing && path_exists(path) && !is_directory(path)) {
      ++report.existing;
      return;
    }
    diagnostics.add(Diagnostic("E0807", "the file exists with other content: " + escape_for_log(path, 400))
                        .at(location)
                        .note("an import never overwrites")
                        .help("keep it and import the others: --skip-existing; or use another `--out`"));
    return;
  }
  if (!write_) return;
  if (!folder_made_) make_directories(options_.out);
  folder_made_ = true;
  write_file_atomically(options_.out, name, text);
  ++report.written;
}

bool ImportOutput::has(const std::string& stem) const {
  return is_taken(stem + std::string(extension(options_.format)));
}

bool ImportOutput::needs_content(const std::string& stem) const { return write_ || has(stem); }

void ImportOutput::add(const std::string& stem, const std::string& id, std::span<const Segment> segments,
                       const SourceLocation& location, ImportReport& report, Diagnostics& diagnostics) {
  const std::string name = stem + std::string(extension(options_.format));
  if (options_.format == ImportFormat::kBlockml && !options_.rating.empty()) names_.insert(name);
  if (needs_content(stem)) write_file(name, content(id, segments), location, report, diagnostics);
}

void ImportOutput::finish(ImportReport& report, Diagnostics& diagnostics) {
  if (names_.empty()) return;
  const std::string path = join_path(options_.out, "ratings.yaml");
  const bool extend = options_.skip_existing && path_exists(path) && !is_directory(path);
  std::string text;
  if (extend) text = read_whole_file(InputFile::open(path), kRatingBytes, "E0317");
  const std::string before = text;
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  for (const std::string& name : names_) {
    const bool rated = ("\n" + text).find(concat("\n", json_quote(name), ":")) != std::string::npos ||
                       ("\n" + text).find(concat("\n", name, ":")) != std::string::npos;
    if (!rated) text += json_quote(name) + ": " + options_.rating + "\n";
  }
  if (!extend) return write_file("ratings.yaml", text, {}, report, diagnostics);
  if (write_ && text != before) write_file_atomically(options_.out, "ratings.yaml", text);
}

}  // namespace shori
