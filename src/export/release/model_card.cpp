#include "src/export/release/model_card.h"

#include <algorithm>
#include <array>
#include <set>

#include "shori/data/blockml.h"
#include "shori/util/build_info.h"
#include "shori/util/byte_size.h"
#include "shori/util/json_text.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

// Axolotl's names, in the order of its configs. Places and what only this machine needs are no part of a card.
constexpr std::array kHyperparameters = {"adapter",
                                         "load_in_4bit",
                                         "lora_r",
                                         "lora_alpha",
                                         "lora_dropout",
                                         "lora_target_modules",
                                         "sequence_len",
                                         "sample_packing",
                                         "pad_to_sequence_len",
                                         "excess_length_strategy",
                                         "micro_batch_size",
                                         "gradient_accumulation_steps",
                                         "num_epochs",
                                         "max_steps",
                                         "optimizer",
                                         "adam_beta1",
                                         "adam_beta2",
                                         "adam_epsilon",
                                         "lr_scheduler",
                                         "learning_rate",
                                         "warmup_steps",
                                         "weight_decay",
                                         "max_grad_norm",
                                         "train_on_inputs",
                                         "bf16",
                                         "val_set_size",
                                         "seed"};

std::string front_matter(const CardFacts& facts) {
  std::string text = "---\n";
  const CardLicense& license = facts.license;
  for (const auto& [key, value] : {std::pair("license", license.id), std::pair("license_name", license.name),
                                   std::pair("license_link", license.link)})
    if (!value.empty()) text += concat(key, ": ", yaml_scalar(value), "\n");
  text += "language:\n";
  for (const std::string& language : facts.languages) text += concat("- ", yaml_scalar(language), "\n");
  text += "pipeline_tag: text-generation\n";
  if (!facts.base_name.empty()) text += concat("base_model: ", yaml_scalar(facts.base_name), "\n");
  text += concat("library_name: ", facts.library, "\ntags:\n- lora\n- roleplay\n- blockml\n- shori-train\n");
  return text + (facts.adult ? "- not-for-all-audiences\n" : "") + "---\n\n";
}

// Values of the stages in their order, each once; empty where a stage does not record the key.
std::vector<std::string> values_of(const std::vector<StageRecord>& stages, const char* key) {
  std::vector<std::string> values;
  for (const StageRecord& stage : stages) values.push_back(stage.value(key));
  const bool same = std::ranges::all_of(values, [&](const std::string& value) { return value == values.front(); });
  if (same && !values.empty()) values.resize(1);
  return values;
}

std::string hyperparameters(const CardFacts& facts) {
  std::string text = "```yaml\n";
  if (!facts.base_name.empty()) text += concat("base_model: ", yaml_scalar(facts.base_name), "\n");
  for (const char* key : kHyperparameters) {
    std::string joined;
    for (const std::string& value : values_of(facts.stages, key)) {
      if (value.empty()) continue;
      joined += (joined.empty() ? "" : " -> ") + value;
    }
    if (!joined.empty()) text += concat(key, ": ", joined, "\n");
  }
  return text + "```\n";
}

std::string stage_names(const std::vector<StageRecord>& stages) {
  std::string names;
  for (const StageRecord& stage : stages) names += (names.empty() ? "" : " -> ") + stage.name;
  return names;
}

// Each different text once, in order.
template <typename Get>
std::string joined_once(const std::vector<StageRecord>& stages, const Get& get) {
  std::set<std::string> seen;
  std::string text;
  for (const StageRecord& stage : stages)
    if (const std::string value = get(stage); !value.empty() && seen.insert(value).second)
      text += (text.empty() ? "" : "; ") + value;
  return text;
}

std::string training(const CardFacts& facts) {
  if (facts.stages.empty()) return "";
  std::int64_t peak = 0;
  for (const StageRecord& stage : facts.stages) peak = std::max(peak, stage.memory_peak);
  std::string text =
      concat("\n## Training details\n- Stages: ", table_cell(stage_names(facts.stages)),
             "\n- Hardware: ", joined_once(facts.stages, [](const StageRecord& stage) { return stage.device; }));
  if (peak > 0) text += concat(", peak memory ", format_bytes(static_cast<std::uint64_t>(peak)));
  text += concat("\n- Software: shori-train ",
                 joined_once(facts.stages, [](const StageRecord& stage) { return stage.program; }), "\n");
  if (!facts.date.empty()) text += concat("- Date: ", facts.date, "\n");
  return text + "\nHyperparameters, in the names of Axolotl; values of the stages are joined by `->`:\n\n" +
         hyperparameters(facts);
}

std::string dataset(const CardFacts& facts) {
  if (facts.statistics == nullptr) return "";
  return concat("\n## Dataset\n```\n", facts.statistics->category_text(), "```\n\n## Stats\n```\n",
                facts.statistics->card_text(), "```\n\n![Message lengths](message-lengths.svg)\n\n```\n",
                facts.statistics->message_lengths_text(), "```\n");
}

std::string row(const std::string& what, const std::string& value) {
  return value.empty() ? "" : concat("| ", table_cell(what), " | ", table_cell(value), " |\n");
}

std::string provenance(const CardFacts& facts) {
  std::string text = "\n## Provenance\n\n| | |\n|---|---|\n";
  text += row("base model", facts.base_name) + row("fingerprint of the base", facts.base_fingerprint);
  for (const StageRecord& stage : facts.stages) {
    text += row(concat("stage ", stage.name, ": adapter SHA-256"), stage.adapter_sha256);
    if (stage.steps > 0) text += row(concat("stage ", stage.name, ": steps"), concat(stage.steps));
    text += row(concat("stage ", stage.name, ": config"), stage.config_hash) +
            row(concat("stage ", stage.name, ": data"), stage.data_fingerprint);
  }
  if (!facts.stages.empty()) text += row("first stage began from the adapter", facts.stages.front().parent);
  if (facts.adapter != nullptr) text += row("exported adapter file, SHA-256", facts.adapter->sha256);
  text += row("merged onto", facts.merge_base) + row("exported by", concat("shori-export ", version()));
  text += "\n| file | SHA-256 |\n|---|---|\n";
  for (const auto& [name, digest] : facts.files) text += concat("| ", table_cell(name), " | ", digest, " |\n");
  return text;
}

LengthBounds bounds_of(const std::vector<StageRecord>& stages) {
  LengthBounds bounds = kDefaultLengthBounds;
  const JsonValue* recorded = stages.empty() ? nullptr : stages.back().config.find("blockml.length_buckets");
  if (recorded == nullptr) return bounds;
  for (std::size_t i = 0; i < bounds.size(); ++i)
    if (const JsonValue* value = recorded->find(kBoundedLengths[i]))
      bounds[i] = value->as_integer().value_or(bounds[i]);
  return bounds;
}

}  // namespace

std::string yaml_scalar(const std::string& text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::string_view kRest = "0123456789-_./";
  // Words that YAML 1.1 reads as a bool or null; a date or number begins with a digit.
  constexpr std::array kWords = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"};
  const bool letters = std::ranges::all_of(text, [&](char c) {
    return kLetters.find(c) != std::string_view::npos || kRest.find(c) != std::string_view::npos;
  });
  const bool plain = !text.empty() && kLetters.find(text.front()) != std::string_view::npos && letters &&
                     std::ranges::find(kWords, lower_ascii(text)) == kWords.end();
  return plain ? text : json_quote(text);
}

std::string table_cell(const std::string& text) {
  std::string cell;
  for (const char c : escape_for_log(text, text.size() + 1)) {
    if (std::string_view("|\\`*_<[]").find(c) != std::string_view::npos) cell += '\\';
    cell += c;
  }
  return cell;
}

std::string model_card(const CardFacts& facts) {
  const std::string base = facts.base_name.empty() ? "" : concat(" of ", table_cell(facts.base_name));
  const std::string what =
      facts.library == "peft" ? concat("A LoRA adapter", base) : concat("A fine-tuned version", base);
  return concat(front_matter(facts), "# ", table_cell(facts.title), "\n", what,
                " for roleplay with many characters, made with shori-train.\n",
                facts.summary.empty() ? "" : concat("\n", facts.summary, "\n"), usage_sections(bounds_of(facts.stages)),
                dataset(facts), training(facts), provenance(facts));
}

}  // namespace shori
