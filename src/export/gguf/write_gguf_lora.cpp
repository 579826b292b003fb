#include "shori/export/export_base.h"
#include "shori/train/run_folder.h"
#include "shori/train/run_identity.h"
#include "shori/util/error.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/export/gguf/gguf_metadata.h"
#include "src/export/gguf/gguf_names.h"
#include "src/export/gguf/gguf_values.h"
#include "src/export/gguf/write_gguf.h"

namespace shori {
namespace {

// A factor and what becomes of it.
struct Factor {
  const NamedArray* source;
  bool permuted;
  GgufTensor target;
};

Factor factor_of(const NamedArray& array, const HfModelConfig& config, GgufType type, const std::string& adapter) {
  const auto name = parse_factor_name(array.name);
  SHORI_CHECK(name, "a factor's name: " + array.name);
  const LinearShape shape = shape_of(config, name->linear);
  const bool fits =
      name->layer < config.layers && (name->is_b ? array.shape[0] == shape.out : array.shape[1] == shape.in);
  if (!fits)
    throw Error(Diagnostic("E0805", concat("the adapter's `", array.name, "` does not fit the shapes of the base"))
                    .at(adapter)
                    .help("name the base used in training with `--base`"));
  return {&array,
          name->is_b && is_permuted(name->linear),
          {gguf_linear_name(name->layer, name->linear) + (name->is_b ? ".lora_b" : ".lora_a"),
           {array.shape.rbegin(), array.shape.rend()},
           type}};
}

std::vector<std::byte> encoded(const Factor& factor, std::int64_t head_dim) {
  const std::span<const float> source = factor.source->values<float>();
  std::vector<float> values(source.begin(), source.end());
  if (factor.permuted) permute_rows(values, factor.source->shape[1], head_dim);
  std::vector<std::byte> bytes(factor.target.bytes());
  encode_gguf_values(factor.target.type, values, bytes.data(), factor.source->name);
  return bytes;
}

}  // namespace

std::string default_name(const ExportSource& adapter) {
  const std::string run = run_folder_of(adapter);
  if (run.empty()) return escape_for_log(file_name(absolute_path(adapter.file.folder)));
  const auto record = RunFolder(run).read_run();
  const bool is_stage = record && text_member(*record, "stage") == file_name(run) && parent_path(run) != "/";
  return escape_for_log(file_name(is_stage ? parent_path(run) : run));
}

void write_gguf_lora(const GgufLoraExport& options, const HfModelConfig& config, const ExportSource& adapter,
                     const std::string& out) {
  std::vector<Factor> factors;
  GgufHeader header;
  for (const NamedArray& array : adapter.tensors) {
    const GgufType type = options.type == GgufLoraType::kF16 ? GgufType::kF16 : GgufType::kF32;
    factors.push_back(factor_of(array, config, type, adapter.file.path()));
    header.tensors.push_back(factors.back().target);
  }
  // scale = alpha / rank is llama.cpp's as well; the rank is that of the tensors.
  header.entries = lora_entries(options.name.empty() ? default_name(adapter) : options.name, adapter.settings.base_name,
                                static_cast<float>(adapter.settings.alpha));
  GgufWriter file(out, std::move(header));
  ByteProgress progress("writing", file.header().data_bytes());
  for (const Factor& factor : factors) {
    const std::vector<std::byte> bytes = encoded(factor, config.head_dim);
    file.append(bytes.data(), bytes.size());
    progress.add(bytes.size());
  }
  progress.finish();
  file.finish();
  (void)file.verify();
  file.publish();
}

}  // namespace shori
