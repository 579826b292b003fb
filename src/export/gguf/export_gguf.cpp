#include "shori/export/export_gguf.h"

#include "shori/export/export_base.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "src/export/gguf/write_gguf.h"
#include "src/export/write_exports.h"

namespace shori {
namespace {

bool is_model_folder(const std::string& path) { return path_exists(join_path(path, "config.json")); }

// The absolute target; its folder is made.
std::string target_of(const std::string& out, const ExportInputs& inputs, bool force) {
  if (is_directory(out) || out.ends_with('/'))
    throw Error(
        Diagnostic("E0806", "the target is a folder: " + out).help("name a file, as " + join_path(out, "model.gguf")));
  const std::string target = check_target(out, inputs, force);
  make_directories(parent_path(target));
  return target;
}

void log_hints(const GgufExport& options) {
  if (options.sampling == GgufSampling::kMain)
    log_info(
        "llama.cpp samples with temperature 1.0 and min-p 0.07 from this file; a presence penalty has no key: start "
        "it with `--presence-penalty 0.4`");
  if (options.type != GgufModelType::kQ8_0) log_quantize_commands(options.out);
}

void export_merged_model(const GgufExport& options) {
  const ExportChoice& choice = options.source;
  if (!options.base.empty() || choice.step || choice.best || options.merge_base == MergeBase::kNf4)
    throw Error(Diagnostic("E0510", "a merged model has no base and no steps: " + choice.run)
                    .help("leave out `--base`, `--step`, `--best` and `--merge-base`"));
  const std::string out = target_of(options.out, {.run = "", .base = choice.run}, options.force);
  const BaseModel model = open_base(choice.run);
  write_gguf_model({options, model, nullptr}, out);
}

void export_run(const GgufExport& options) {
  const ExportSource source = open_export_source(options.source);
  const BaseModel base = open_base(find_base_of(source, options.base));
  const std::string out = target_of(options.out, {options.source.run, base.folder}, options.force);
  check_fits(base, source);
  write_gguf_model({.options = options, .base = base, .adapter = &source, .check_base = true}, out);
}

}  // namespace

void log_quantize_commands(const std::string& gguf) {
  const std::string stem = gguf.ends_with(".gguf") ? gguf.substr(0, gguf.size() - 5) : gguf;
  for (const std::string type : {"Q4_K_M", "Q6_K"})
    log_info(concat("smaller, with llama.cpp: `",
                    shell_words({"llama-quantize", gguf, concat(stem, "-", type, ".gguf"), type}), "`"));
}

void export_gguf(const GgufExport& options) {
  if (is_model_folder(options.source.run))
    export_merged_model(options);
  else
    export_run(options);
  log_info("wrote " + options.out);
  log_hints(options);
}

void export_gguf_lora(const GgufLoraExport& options) {
  const ExportSource source = open_export_source(options.source);
  const std::string base = find_base_of(source, options.base);
  const std::string out = target_of(options.out, {options.source.run, base}, options.force);
  const InputFile config = InputFile::open_in(base, "config.json", "E0201");
  write_gguf_lora(options, parse_model_config(read_whole_file(config, 1u << 20, "E0204"), config.path()), source, out);
  log_info(concat("wrote ", options.out, ": ", source.tensors.size(), " tensors, rank ", source.settings.rank,
                  "; use it with `--lora` beside the base as GGUF"));
}

}  // namespace shori
