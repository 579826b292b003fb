// Which files an import reads, and by which reader.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "shori/data/import.h"
#include "src/data/sources/recognize.h"

namespace shori {

// The files of the inputs, sorted within each; `others`: files of folders that are of another kind. E0315 for an input
// without a file.
std::vector<std::string> find_import_files(const ImportOptions& options, std::vector<std::string>& others,
                                           Diagnostics& diagnostics);

// The import that takes files of a kind.
std::optional<ImportSource> source_of(FileKind kind);
// Whether a file that is clearly `kind` is not for the reader of `source`. The readers report what is unclear.
bool is_foreign(FileKind kind, ImportSource source);
// E0312 for such a file, with the import that takes it.
Diagnostic foreign_problem(FileKind kind, const std::string& path);

}  // namespace shori
