#include "import_output.h"

#include "shori/data/yaml_source.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

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
  JsonWriter line;
  line.begin_object().field("id", id);
  if (!options_.category.empty()) line.field("category", options_.category);
  if (!options_.rating.empty()) line.field("rating", options_.rating);
  line.field("text", render(segments)).end_object();
  return line.take() + "\n";
}

void ImportOutput::add(const std::string& stem, const std::string& id, std::span<const Segment> segments,
                       const SourcePlace& place, ImportReport& report, Diagnostics& diagnostics) {
  const std::string name = stem + std::string(extension(options_.format));
  const std::string path = join_path(options_.out, name);
  const bool exists = path_exists(path) || is_symlink(path);
  if (!exists && !write_) return;
  const std::string text = content(id, segments);
  if (exists) {
    if (path_exists(path) && !is_directory(path) && holds(path, text)) {
      ++report.unchanged;
      return;
    }
    diagnostics.add(Diagnostic("E0806", "a file with other content is there: " + escape_for_log(path, 400))
                        .at(place)
                        .note("an import never overwrites")
                        .cure("another `--out`, or move the file away"));
    return;
  }
  if (!folder_made_) make_directories(options_.out);
  folder_made_ = true;
  write_file_atomically(options_.out, name, text);
  ++report.written;
}

}  // namespace shori
