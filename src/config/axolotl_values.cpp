#include "src/config/axolotl_values.h"

#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "src/config/foreign_keys.h"

namespace shori {
namespace {

struct Meaning {
  std::string_view key, value, meant;
};

// Results are the same: paged states only lie elsewhere in memory, and `auto` is what every GPU that can train takes.
constexpr auto kSameMeaning = std::to_array<Meaning>({
    {"bf16", "auto", "true"},
    {"tf32", "auto", "false"},
    {"fp16", "auto", "false"},
    {"optimizer", "paged_adamw_8bit", "adamw_bnb_8bit"},
    {"optimizer", "adamw_8bit", "adamw_bnb_8bit"},
});

// What is nearest to a value that would give other results. `*` stands for every other value of the key.
constexpr auto kNearest = std::to_array<Meaning>({
    {"optimizer", "*", "write `optimizer: adamw_bnb_8bit`: AdamW with states in 8 bits, the only one here"},
    {"bf16", "full", "write `bf16: true`: products in bfloat16, adapter weights in fp32"},
    {"fp16", "*", "write `fp16: false` and `bf16: true`"},
    {"lr_scheduler", "constant_with_warmup", "write `lr_scheduler: constant` without a warm-up, or `linear` with one"},
    {"lr_scheduler", "*", "write `lr_scheduler: cosine`, `linear` or `constant`"},
    {"adapter", "*", "write `adapter: qlora`; whole models are not trained here"},
    {"max_grad_norm", "0", "write `max_grad_norm: 1e9`, which never scales a gradient down"},
    {"max_grad_norm", "0.0", "write `max_grad_norm: 1e9`, which never scales a gradient down"},
    {"num_epochs", "*", "write a whole number, such as `num_epochs: 2`; `max_steps` ends a run inside an epoch"},
    {"lora_target_modules", "*", "write `lora_target_linear: true`, or a list such as `[q_proj, v_proj]`"},
    {"save_total_limit", "1", "write `save_total_limit: 2`: one checkpoint stays while the next one is written"},
});

struct Alias {
  std::string_view name, key;
};

constexpr auto kAliases = std::to_array<Alias>({
    {"lora_rank", "lora_r"},
    {"rank", "lora_r"},
    {"r", "lora_r"},
    {"network_dim", "lora_r"},
    {"alpha", "lora_alpha"},
    {"network_alpha", "lora_alpha"},
    {"dropout", "lora_dropout"},
    {"target_modules", "lora_target_modules"},
    {"lora_target", "lora_target_modules"},
    {"lora_modules", "lora_target_modules"},
    {"epochs", "num_epochs"},
    {"epoch", "num_epochs"},
    {"n_epochs", "num_epochs"},
    {"max_epochs", "num_epochs"},
    {"num_train_epochs", "num_epochs"},
    {"batch_size", "micro_batch_size"},
    {"train_batch_size", "micro_batch_size"},
    {"per_device_train_batch_size", "micro_batch_size"},
    {"per_device_batch_size", "micro_batch_size"},
    {"device_batch_size", "micro_batch_size"},
    {"mini_batch_size", "micro_batch_size"},
    {"per_device_eval_batch_size", "eval_batch_size"},
    {"grad_accum", "gradient_accumulation_steps"},
    {"grad_accumulation", "gradient_accumulation_steps"},
    {"gradient_accumulation", "gradient_accumulation_steps"},
    {"accumulation_steps", "gradient_accumulation_steps"},
    {"accumulate_grad_batches", "gradient_accumulation_steps"},
    {"lr", "learning_rate"},
    {"base_lr", "learning_rate"},
    {"max_lr", "learning_rate"},
    {"lora_lr", "learning_rate"},
    {"lr_scheduler_type", "lr_scheduler"},
    {"scheduler", "lr_scheduler"},
    {"schedule", "lr_scheduler"},
    {"lr_schedule", "lr_scheduler"},
    {"warmup", "warmup_steps"},
    {"num_warmup_steps", "warmup_steps"},
    {"lr_warmup_steps", "warmup_steps"},
    {"max_seq_length", "sequence_len"},
    {"max_seq_len", "sequence_len"},
    {"max_sequence_length", "sequence_len"},
    {"max_length", "sequence_len"},
    {"max_len", "sequence_len"},
    {"sequence_length", "sequence_len"},
    {"seq_len", "sequence_len"},
    {"seq_length", "sequence_len"},
    {"seqlen", "sequence_len"},
    {"context_length", "sequence_len"},
    {"context_len", "sequence_len"},
    {"ctx_len", "sequence_len"},
    {"n_ctx", "sequence_len"},
    {"cutoff_len", "sequence_len"},
    {"block_size", "sequence_len"},
    {"model_max_length", "sequence_len"},
    {"model_max_len", "sequence_len"},
    {"max_tokens", "sequence_len"},
    {"max_train_steps", "max_steps"},
    {"train_steps", "max_steps"},
    {"total_steps", "max_steps"},
    {"num_steps", "max_steps"},
    {"num_train_steps", "max_steps"},
    {"iters", "max_steps"},
    {"max_iters", "max_steps"},
    {"model", "base_model"},
    {"model_name", "base_model"},
    {"model_path", "base_model"},
    {"model_id", "base_model"},
    {"model_name_or_path", "base_model"},
    {"base_model_name_or_path", "base_model"},
    {"pretrained_model", "base_model"},
    {"pretrained_model_name_or_path", "base_model"},
    {"data", "datasets"},
    {"data_path", "datasets"},
    {"dataset_path", "datasets"},
    {"dataset_name", "datasets"},
    {"train_data", "datasets"},
    {"train_file", "datasets"},
    {"training_data", "datasets"},
    {"train_dataset", "datasets"},
    {"eval_dataset", "test_datasets"},
    {"eval_datasets", "test_datasets"},
    {"eval_data", "test_datasets"},
    {"validation_file", "test_datasets"},
    {"val_data", "test_datasets"},
    {"val_size", "val_set_size"},
    {"eval_split", "val_set_size"},
    {"validation_split", "val_set_size"},
    {"test_size", "val_set_size"},
    {"output", "output_dir"},
    {"out_dir", "output_dir"},
    {"output_path", "output_dir"},
    {"output_folder", "output_dir"},
    {"save_dir", "output_dir"},
    {"run_dir", "output_dir"},
    {"optim", "optimizer"},
    {"packing", "sample_packing"},
    {"random_seed", "seed"},
    {"grad_clip", "max_grad_norm"},
    {"gradient_clipping", "max_grad_norm"},
    {"clip_grad_norm", "max_grad_norm"},
    {"wd", "weight_decay"},
    {"adam_eps", "adam_epsilon"},
    {"eps", "adam_epsilon"},
    {"beta1", "adam_beta1"},
    {"beta2", "adam_beta2"},
    {"save_every", "save_steps"},
    {"save_interval", "save_steps"},
    {"checkpoint_every", "save_steps"},
    {"eval_every", "eval_steps"},
    {"eval_interval", "eval_steps"},
    {"log_every", "logging_steps"},
    {"keep_last_n_checkpoints", "save_total_limit"},
    {"num_threads", "threads"},
    {"num_workers", "threads"},
    {"quantization", "load_in_4bit"},
    {"use_4bit", "load_in_4bit"},
    {"4bit", "load_in_4bit"},
    {"quantization_bit", "load_in_4bit"},
    {"bits", "load_in_4bit"},
    {"mixed_precision", "bf16"},
    {"precision", "bf16"},
    {"train_on_prompt", "train_on_inputs"},
    {"train_on_responses_only", "train_on_inputs"},
    {"mask_prompt", "train_on_inputs"},
    {"resume_adapter", "init_from"},
    {"adapter_path", "init_from"},
    {"lora_path", "init_from"},
    {"max_memory_mb", "gpu_memory_limit"},
    {"deduplicate", "dedupe"},
});

constexpr auto kEntryAliases = std::to_array<Alias>({
    {"file", "path"},
    {"files", "path"},
    {"folder", "path"},
    {"dir", "path"},
    {"data_dir", "path"},
    {"data_path", "path"},
    {"dataset", "path"},
    {"source", "path"},
    {"kind", "type"},
    {"data_type", "type"},
    {"text_column", "field"},
    {"text_field", "field"},
    {"column", "field"},
    {"quality", "category"},
    {"stage", "category"},
    {"ratings", "rating"},
});

std::string_view find_alias(std::span<const Alias> aliases, std::string_view name) {
  std::string plain = lower_ascii(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  const auto found =
      std::find_if(aliases.begin(), aliases.end(), [&](const Alias& alias) { return alias.name == plain; });
  return found == aliases.end() ? "" : found->key;
}

// `2.0`, `300.` or `1e1` without its fraction; empty if the text is no such number.
std::string whole_number(const YamlNode& value) {
  ScalarProblem problem;
  const auto number = parse_yaml_float(value, problem);
  const bool whole = number && *number == static_cast<double>(static_cast<long long>(*number));
  return whole && value.text.find_first_of(".eE") != std::string::npos ? concat(static_cast<long long>(*number)) : "";
}

// Counts of epochs and steps, which generated files hold as reals.
bool counts_progress(const KeyInfo& key) { return key.name == "num_epochs" || key.name.ends_with("_steps"); }

bool is_integer_key(const ConfigField& field) {
  return std::holds_alternative<Integer*>(field) || std::holds_alternative<OptionalInteger*>(field);
}

// Keys that are off by their default, so that leaving the value empty turns them off.
bool is_off_by_default(const KeyInfo& key, const ConfigField& field) {
  if (key.rule.required) return false;
  if (const auto* real = std::get_if<double*>(&field)) return **real == 0;
  if (const auto* integer = std::get_if<Integer*>(&field)) return **integer == 0;
  if (const auto* text = std::get_if<std::string*>(&field)) return (*text)->empty();
  return std::holds_alternative<OptionalInteger*>(field) || std::holds_alternative<OptionalReal*>(field) ||
         std::holds_alternative<DatasetList*>(field) || std::holds_alternative<TextList*>(field);
}

// Steps between two events: 0 and off are Axolotl's "not set".
bool is_interval(std::string_view key) {
  return key == "save_steps" || key == "eval_steps" || key == "logging_steps" || key == "save_total_limit";
}

// The plain text of a value that is off, of a key that can be off: `null` for its default, or `false`. Empty otherwise.
std::string off_value(const KeyInfo& key, const YamlNode& value) {
  TrainConfig defaults;
  const ConfigField field = key.field(defaults);
  if (value.kind == YamlNode::Kind::kNull || !is_empty_value(value)) return "";
  const bool number = value.kind == YamlNode::Kind::kScalar && value.text.find_first_of("0123456789") == 0;
  if (std::holds_alternative<bool*>(field)) {
    ScalarProblem problem;  // `no` and `off` stay: its help names the word to write
    parse_yaml_bool(value, problem);
    return problem.code.empty() || !problem.help.empty() ? "" : "false";
  }
  if (is_interval(key.name)) return "null";
  if (key.name == "nf4_cache") return value.text == "off" ? "" : "off";
  if (key.name == "lora_target_modules") return value.kind == YamlNode::Kind::kScalar ? "null" : "";
  if (number && !value.quoted && key.name != "loss_watchdog_threshold") return "";
  return is_off_by_default(key, field) && key.name != "roles_to_train" && key.name != "name" ? "null" : "";
}

std::string meant_value(const KeyInfo& key, const YamlNode& value) {
  for (const Meaning& row : kSameMeaning) {
    if (row.key == key.name && lower_ascii(value.text) == row.value) return std::string(row.meant);
  }
  TrainConfig scratch;
  if (key.name == "max_steps" && value.text == "-1") return "null";
  if (counts_progress(key) && is_integer_key(key.field(scratch)) && value.kind == YamlNode::Kind::kScalar) {
    if (std::string whole = whole_number(value); !whole.empty()) return whole;
  }
  return off_value(key, value);
}

}  // namespace

void read_axolotl_value(const KeyInfo& key, Setting& setting) {
  const std::string meant = meant_value(key, setting.value);
  if (meant.empty()) return;
  setting.written = concat(setting.key, ": ", value_text(setting.value));
  YamlNode value;
  value.kind = meant == "null" ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar;
  value.text = meant == "null" ? "" : meant;
  value.line = setting.value.line;
  value.column = setting.value.column;
  setting.value = std::move(value);
}

std::string nearest_value(std::string_view key, std::string_view value) {
  for (const Meaning& row : kNearest) {
    if (row.key == key && (row.value == "*" || row.value == lower_ascii(value))) return std::string(row.meant);
  }
  return "";
}

std::string_view key_by_meaning(std::string_view name) { return find_alias(kAliases, name); }
std::string_view entry_key_by_meaning(std::string_view name) { return find_alias(kEntryAliases, name); }

}  // namespace shori
