// Folders of a config that must not lie in one another.
#include <fnmatch.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "shori/config/load_config.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

namespace fs = std::filesystem;

// With links resolved, as far as the path exists.
fs::path real_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error), real = fs::weakly_canonical(absolute, error);
  fs::path plain = error ? absolute.lexically_normal() : real;
  return plain.has_filename() ? plain : plain.parent_path();
}

// Parts of `inner` below `outer`; nullopt unless it is `outer` or lies in it.
std::optional<std::vector<std::string>> parts_below(const fs::path& outer, const fs::path& inner) {
  const auto [end_outer, at] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  if (end_outer != outer.end()) return std::nullopt;
  std::vector<std::string> parts;
  for (auto part = at; part != inner.end(); ++part) parts.push_back(part->string());
  return parts;
}

bool is_pattern(const std::string& part) { return part.find_first_of("*?[{") != std::string::npos; }

// What an entry of `datasets` reads: a folder or file, and the pattern below it.
struct DataPath {
  fs::path base;
  std::vector<std::string> pattern;  // empty: everything in `base`
};

DataPath data_path(const std::string& resolved) {
  DataPath data;
  std::error_code error;
  fs::path base;
  for (const fs::path& part : fs::path(resolved)) {
    if (!data.pattern.empty() || (is_pattern(part.string()) && !fs::exists(base / part, error))) {
      data.pattern.push_back(part.string());
    } else {
      base /= part;
    }
  }
  data.base = real_path(base.empty() ? "." : base.string());
  return data;
}

// Whether an entry can read files of `folder`, which need not exist yet.
bool reads_from(const DataPath& data, const fs::path& folder) {
  const auto below = parts_below(data.base, folder);
  if (!below) return false;
  if (data.pattern.empty()) return true;
  if (std::find(data.pattern.begin(), data.pattern.end(), "**") != data.pattern.end()) return true;
  if (data.pattern.size() <= below->size()) return false;
  return std::equal(below->begin(), below->end(), data.pattern.begin(), [](const auto& name, const auto& pattern) {
    return pattern.find('{') != std::string::npos || fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD) == 0;
  });
}

class FolderCheck {
 public:
  FolderCheck(const LoadedConfig& loaded, const StageConfig& stage, Diagnostics& diagnostics)
      : stage_(stage),
        run_(real_path(loaded.output_dir)),
        own_(real_path(stage.config.output_dir)),
        diagnostics_(diagnostics) {}

  void check() {
    check_writable();
    check_data(stage_.config.datasets, "datasets");
    check_data(stage_.config.test_datasets, "test_datasets");
    check_base();
    check_source();
  }

 private:
  void refuse(const std::string& message, const std::string& note, const std::string& help) {
    diagnostics_.add(Diagnostic("E0107", message).at(stage_.origin("output_dir").location).note(note).help(help));
  }

  // The first folder above that exists decides whether the run can make its own.
  void check_writable() {
    if (stage_.config.output_dir.empty()) return;
    std::error_code error;
    fs::path folder = own_;
    while (!fs::exists(folder, error) && folder.has_parent_path() && folder != folder.parent_path())
      folder = folder.parent_path();
    struct statfs system{};
    const bool virtual_files =
        ::statfs(folder.c_str(), &system) == 0 && (system.f_type == PROC_SUPER_MAGIC || system.f_type == SYSFS_MAGIC);
    const std::string why = !fs::is_directory(folder, error)             ? "is no folder"
                            : virtual_files                              ? "is made by the kernel"
                            : ::access(folder.c_str(), W_OK | X_OK) != 0 ? "cannot be written to"
                                                                         : "";
    if (why.empty()) return;
    diagnostics_.add(Diagnostic("E0513", concat("`output_dir` cannot be made: ", shown(folder), " ", why))
                         .at(stage_.origin("output_dir").location)
                         .note("output_dir " + shown(own_))
                         .help("name a folder of your own, such as `output_dir: runs/first`"));
  }

  static std::string shown(const fs::path& path) { return escape_for_log(path.string(), 400); }

  void check_data(const DatasetList& entries, const std::string& key) {
    for (const DataEntry& entry : entries) {
      const DataPath data = data_path(entry.resolved_path);
      const std::string note = concat("output_dir ", shown(run_), ", data ", escape_for_log(entry.resolved_path, 400));
      if (reads_from(data, own_)) {
        refuse(concat("`output_dir` lies in the data of `", key, "`"), note,
               "its files would be read as data when the run is resumed: name a folder outside of the data");
      } else if (parts_below(own_, data.base)) {
        refuse(concat("the data of `", key, "` lie in `output_dir`"), note,
               "a run folder is moved aside as a whole when it is trained again: name a folder without data");
      }
    }
  }

  void check_base() {
    if (stage_.config.base_model.empty()) return;
    const fs::path base = real_path(stage_.config.base_model);
    const std::string note = concat("output_dir ", shown(run_), ", base_model ", shown(base));
    if (parts_below(base, own_)) {
      refuse("`output_dir` lies in `base_model`", note, "name a folder outside of the model");
    } else if (parts_below(own_, base)) {
      refuse("`base_model` lies in `output_dir`", note, "name a folder for the run that does not hold the model");
    }
  }

  void check_source() {
    if (stage_.config.init_from.empty() || !parts_below(own_, real_path(stage_.config.init_from))) return;
    refuse("`init_from` lies in `output_dir`, the folder of the new run",
           concat("output_dir ", shown(own_), ", init_from ", escape_for_log(stage_.config.init_from, 400)),
           "name another folder in `output_dir`; to continue the old run, use `--resume` without `init_from`");
  }

  const StageConfig& stage_;
  fs::path run_, own_;  // of the recipe, of the stage
  Diagnostics& diagnostics_;
};

}  // namespace

void check_folders(const LoadedConfig& loaded, Diagnostics& diagnostics) {
  for (const StageConfig& stage : loaded.stages) FolderCheck(loaded, stage, diagnostics).check();
}

}  // namespace shori
