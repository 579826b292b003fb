// Reading the tensors of an adapter strictly: their names, shapes and values.
#include <algorithm>
#include <cmath>
#include <ranges>
#include <set>
#include <span>

#include "shori/io/half_rows.h"
#include "shori/io/hf_model.h"
#include "shori/train/adapter_file.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/files/adapter_config.h"

namespace shori {
namespace {

bool is_float(FileDType dtype) {
  return dtype == FileDType::kF32 || dtype == FileDType::kBf16 || dtype == FileDType::kF16;
}

// What is wrong with the tensor of a factor; empty: nothing.
std::string problem_of(const TensorEntry* entry, const NamedArray& factor) {
  if (entry == nullptr) return concat("missing: ", factor.name);
  if (entry->shape != factor.shape)
    return concat("other shape: ", factor.name, ", expected [", factor.shape[0], ", ", factor.shape[1], "]");
  return is_float(entry->dtype) ? "" : concat("other type: ", factor.name, ", expected F32, BF16 or F16");
}

const TensorEntry* find_factor(const AdapterFile& adapter, const std::string& name) {
  const auto factor = parse_factor_name(name);
  const auto found = factor ? adapter.factors.find(*factor) : adapter.factors.end();
  return found == adapter.factors.end() ? nullptr : &found->second;
}

void check_names(const AdapterFile& adapter, const AdapterSource& source, const std::vector<NamedArray>& factors) {
  std::vector<std::string> problems;
  std::set<std::string> expected;
  for (const NamedArray& factor : factors) {
    expected.insert(factor.name);
    const std::string problem = problem_of(find_factor(adapter, factor.name), factor);
    if (!problem.empty()) problems.push_back(problem);
  }
  for (const auto& [name, entry] : adapter.factors)
    if (!expected.contains(name.text())) problems.push_back(concat("unexpected: ", escape_for_log(entry.name)));
  if (problems.empty()) return;
  constexpr std::size_t kMaxShown = 10;
  Diagnostic diagnostic("E0511", "the adapter's tensors are not those that the config asks for");
  diagnostic.at(source.path());
  for (const std::string& problem : problems | std::views::take(kMaxShown)) diagnostic.note(problem);
  if (problems.size() > kMaxShown) diagnostic.note(concat("and ", problems.size() - kMaxShown, " more"));
  throw Error(diagnostic.help("check `lora_r`, `lora_target_modules` and the base model"));
}

void read_factor(const AdapterFile& adapter, const NamedArray& factor) {
  const TensorEntry& entry = *find_factor(adapter, factor.name);
  const SafetensorsFile& file = adapter.file;
  const std::span<float> values = factor.values<float>();
  if (entry.dtype == FileDType::kF32) {
    file.read(entry, 0, values.data(), values.size_bytes());
  } else {
    std::vector<std::uint16_t> bits(values.size());
    file.read(entry, 0, bits.data(), bits.size() * 2);
    widen_values(entry.dtype, bits.data(), bits.size(), values.data());
  }
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  throw Error(Diagnostic("E0210", concat("`", factor.name, "` holds a value that is not finite at element ",
                                         bad - values.begin()))
                  .at(file.file().path())
                  .help("use another adapter"));
}

// check_names() finds other ranks and linears by the tensors; only the manifest tells alpha.
void check_alpha_of_checkpoint(const AdapterSource& source, const AdapterFile& adapter,
                               const AdapterSettings& settings) {
  const std::int64_t alpha = settings_of_adapter(source, adapter).alpha;
  if (alpha == settings.alpha) return;
  throw Error(
      Diagnostic("E0511", concat("the checkpoint has `lora_alpha` ", alpha, ", the config says ", settings.alpha))
          .at(source.path())
          .help(concat("write `lora_alpha: ", alpha, "`, or name another adapter")));
}

AdapterOrigin origin_in_manifest(const JsonValue& manifest) {
  const auto text = [](const JsonValue* object, const char* key) {
    const JsonValue* value = object ? object->find(key) : nullptr;
    return value ? value->text : std::string();
  };
  AdapterOrigin origin;
  origin.base_fingerprint = text(manifest.find("base"), "fingerprint");
  origin.tokenizer_sha256 = text(&manifest, "tokenizer_sha256");
  origin.config_hash = text(&manifest, "config_hash");
  origin.parent = text(&manifest, "parent");
  origin.step = text(&manifest, "step");
  origin.stage = text(&manifest, "stage");
  return origin;
}

AdapterOrigin origin_in_metadata(const SafetensorsFile& file) {
  const auto metadata = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  AdapterOrigin origin;
  origin.base_fingerprint = metadata("shori.base_fingerprint");
  origin.tokenizer_sha256 = metadata("shori.tokenizer_sha256");
  origin.config_hash = metadata("shori.config_hash");
  origin.parent = metadata("shori.parent");
  origin.step = metadata("shori.step");
  return origin;
}

}  // namespace

AdapterOrigin read_adapter(const AdapterSource& source, const AdapterSettings& settings,
                           const std::vector<NamedArray>& factors) {
  return read_adapter(source, open_adapter(source), settings, factors);
}

AdapterOrigin read_adapter(const AdapterSource& source, const AdapterFile& adapter, const AdapterSettings& settings,
                           const std::vector<NamedArray>& factors) {
  if (!source.is_checkpoint) check_adapter_config(source.folder, adapter, settings);
  check_names(adapter, source, factors);
  if (source.is_checkpoint) check_alpha_of_checkpoint(source, adapter, settings);
  for (const NamedArray& factor : factors) read_factor(adapter, factor);
  AdapterOrigin origin = source.is_checkpoint ? origin_in_manifest(adapter.manifest) : origin_in_metadata(adapter.file);
  origin.sha256 = sha256_of_file(adapter.file.file());
  return origin;
}

std::string adapter_source_sha256(const AdapterSource& source) {
  return sha256_of_file(InputFile::open_in(source.folder, source.file, "E0511"));
}

}  // namespace shori
