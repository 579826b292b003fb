#include "src/cli/data/output.h"

#include <algorithm>

#include "shori/data/import.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {

bool has_own_id(const ReadConversation& conversation) {
  const Conversation& source = conversation.source;
  const std::string path(conversation.path);
  return source.id != (source.is_line ? concat(path, ":", source.line) : path);
}

std::string stem_of(const ReadConversation& conversation) {
  const Conversation& source = conversation.source;
  const std::string path(conversation.path);
  if (has_own_id(conversation)) return import_file_stem(source.id);
  std::string stem = file_name(path);
  stem.resize(std::min(stem.rfind('.'), stem.size()));
  if (!source.is_line) return import_file_stem(stem);
  std::string number = concat(source.line);
  number.insert(0, number.size() < 5 ? 5 - number.size() : 0, '0');
  return import_file_stem(concat(stem, "-", number));
}

void NewFiles::check(const std::string& name, std::string_view content, const SourceLocation& location,
                     Diagnostics& diagnostics) {
  const std::string shown = concat(location.file, ":", location.line);
  const auto [first, is_new] = locations_.try_emplace(name, shown);
  if (!is_new) {
    diagnostics.add(Diagnostic("E0318", concat("two results would be one file: `", escape_for_log(name), "`"))
                        .at(location)
                        .note("the other comes from " + escape_for_log(first->second, 400))
                        .help("make them in two calls, each with its own `--out`"));
    return;
  }
  const std::string path = join_path(folder_, name);
  if (!path_exists(path) && !is_symlink(path)) return;
  if (path_exists(path) && !is_directory(path)) {
    const InputFile file = InputFile::open(path);
    if (file.size() == content.size() && read_whole_file(file, content.size(), "E0317") == content) return;
  }
  diagnostics.add(Diagnostic("E0807", "a file with other content exists: " + escape_for_log(path, 400))
                      .at(location)
                      .note("nothing is overwritten")
                      .help("choose another `--out`, or move the file away"));
}

void NewFiles::write(const std::string& name, std::string_view content) {
  const std::string path = join_path(folder_, name);
  if (path_exists(path)) {
    ++unchanged_;
    return;
  }
  make_directories(parent_path(path));
  write_file_atomically(parent_path(path), file_name(path), content);
  ++written_;
}

}  // namespace shori
