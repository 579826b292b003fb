// Names of an adapter's tensors, and the file that holds them.
#include <charconv>
#include <utility>

#include "shori/train/adapter_file.h"
#include "shori/train/checkpoint.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kStart = "base_model.model.model.layers.";

// What torch.compile, DataParallel, FSDP and activation checkpointing add to the names of modules.
bool is_wrapper(std::string_view part) {
  return part == "_orig_mod" || part == "module" || part == "_fsdp_wrapped_module" ||
         part == "_checkpoint_wrapped_module";
}

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t dot = name.find('.');
    if (const std::string_view part = name.substr(0, dot); !is_wrapper(part)) parts.push_back(part);
    if (dot == std::string_view::npos) return parts;
    name.remove_prefix(dot + 1);
  }
}

std::optional<std::int64_t> layer_of(std::string_view digits) {
  std::int64_t layer = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  const bool whole = error == std::errc() && end == digits.data() + digits.size();
  return whole && layer >= 0 && (digits.size() == 1 || digits.front() != '0') ? std::optional(layer) : std::nullopt;
}

// `lora_A.weight`, or `lora_A.default.weight` with the adapter's name in it, as a state_dict() has it.
bool is_factor_end(const std::vector<std::string_view>& parts, std::size_t at) {
  const std::size_t count = parts.size() - at;
  return (count == 2 || count == 3) && (parts[at] == "lora_A" || parts[at] == "lora_B") && parts.back() == "weight" &&
         !parts[at + 1].empty();
}

std::string why_unexpected(const std::string& name) {
  const auto has = [&](const char* text) { return name.find(text) != std::string::npos; };
  if (has("lora_magnitude_vector")) return " (DoRA, which is not supported)";
  if (has("lora_A") || has("lora_B") || has("lora_embedding")) return " (no linear of a layer of Mistral)";
  if (has("embed_tokens") || has("lm_head") || has("modules_to_save"))
    return " (a module trained as a whole, which is not supported)";
  return "";
}

// Each A has its B, with the same rank.
void add_pair_problems(const AdapterFile& adapter, std::vector<std::string>& problems) {
  for (const auto& [name, entry] : adapter.factors) {
    const FactorName other{name.layer, name.linear, !name.is_b};
    const auto found = adapter.factors.find(other);
    if (found == adapter.factors.end())
      problems.push_back(concat("missing: ", other.text()));
    else if (name.is_b && entry.shape[1] != found->second.shape[0])
      problems.push_back(concat("other rank than its lora_A: ", name.text()));
  }
}

AdapterFile open_file(const AdapterSource& source) {
  if (!source.is_checkpoint)
    return {SafetensorsFile::open(InputFile::open_in(source.folder, source.file, "E0511")), {}, {}};
  SealedFile checkpoint = open_checkpoint(source.folder, source.file, true);
  return {std::move(checkpoint.file), {}, std::move(checkpoint.manifest)};
}

}  // namespace

std::optional<FactorName> parse_factor_name(std::string_view name) {
  const std::vector<std::string_view> parts = parts_of(name);
  std::size_t at = 0;
  while (at < parts.size() && (parts[at] == "base_model" || parts[at] == "model")) ++at;
  if (at + 6 > parts.size() || parts[at] != "layers") return std::nullopt;
  const auto layer = layer_of(parts[at + 1]);
  const std::string path = concat(parts[at + 2], ".", parts[at + 3]);
  if (!layer || !is_factor_end(parts, at + 4)) return std::nullopt;
  for (const Linear linear : kLinears)
    if (path_of(linear) == path) return FactorName{*layer, linear, parts[at + 4] == "lora_B"};
  return std::nullopt;
}

std::string FactorName::text() const {
  return concat(kStart, layer, ".", path_of(linear), is_b ? ".lora_B.weight" : ".lora_A.weight");
}

AdapterFile open_adapter(const AdapterSource& source) {
  AdapterFile adapter = open_file(source);
  std::vector<std::string> problems;
  for (const TensorEntry& entry : adapter.file.tensors()) {
    const auto name = parse_factor_name(entry.name);
    // A checkpoint has the optimizer's arrays as well, and its factors have their own names.
    if (source.is_checkpoint && (!name || name->text() != entry.name)) {
      if (entry.name.starts_with("base_model.")) problems.push_back(concat("unexpected: ", escape_for_log(entry.name)));
      continue;
    }
    if (!name)
      problems.push_back(concat("unexpected: ", escape_for_log(entry.name, 200), why_unexpected(entry.name)));
    else if (entry.shape.size() != 2)
      problems.push_back(concat("not a matrix: ", escape_for_log(entry.name, 200)));
    else if (!adapter.factors.emplace(*name, entry).second)
      problems.push_back(concat("a second tensor for ", name->text(), ": ", escape_for_log(entry.name, 200)));
  }
  add_pair_problems(adapter, problems);
  if (problems.empty() && adapter.factors.empty()) problems.push_back("no LoRA tensor in the file");
  if (problems.empty()) return adapter;
  constexpr std::size_t kMaxShown = 10;
  Diagnostic diagnostic("E0511", "the file is not a LoRA adapter of a Mistral model");
  diagnostic.at(source.path());
  for (std::size_t i = 0; i < problems.size() && i < kMaxShown; ++i) diagnostic.note(problems[i]);
  if (problems.size() > kMaxShown) diagnostic.note(concat("and ", problems.size() - kMaxShown, " more"));
  throw Error(diagnostic.help("use an adapter that trains linears of the layers only"));
}

}  // namespace shori
