#include "shori/export/export_adapter.h"

#include <filesystem>

#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {

void export_adapter(const AdapterExport& options) {
  const std::string out = check_target(options.out, "", options.force);
  ExportSource source = open_export_source(options.source);
  if (!options.base_name.empty()) source.settings.base_name = options.base_name;
  make_directories(parent_path(out));
  const std::string name = "." + file_name(out) + ".partial", partial = join_path(parent_path(out), name);
  std::filesystem::remove_all(partial);  // left by an export that was killed
  std::map<std::string, std::string> files = write_adapter_folder(
      parent_path(out), name, source.settings, source.tensors, source.metadata, options.dtype, options.peft_06);
  write_file_atomically(partial, "shori_export.json",
                        export_record(source, source.settings.base_name, source.base_fingerprint(), "", files));
  publish_folder(partial, out);
  log_info(concat("wrote ", out, ": ", source.tensors.size(), " tensors, rank ", source.settings.rank));
  if (const std::int64_t rank = source.settings.rank; rank > 16)
    log_info(concat("vLLM accepts ranks of a list only: start it with `--max-lora-rank ",
                    rank <= 32   ? 32
                    : rank <= 64 ? 64
                                 : 320,
                    "`"));
}

}  // namespace shori
