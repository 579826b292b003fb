#include "src/config/foreign_keys.h"

#include <algorithm>
#include <array>
#include <span>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr auto kAxolotl = ForeignKey::Kind::kAxolotl;
constexpr auto kDecided = ForeignKey::Kind::kDecided;
constexpr auto kLater = ForeignKey::Kind::kLater;

constexpr std::string_view kOneGpu = "it would share the work between GPUs; this program runs on one";
constexpr std::string_view kNoHub =
    "it would reach the Hugging Face Hub; this program reaches nothing over the network";
constexpr std::string_view kOneAttention = "it would choose an attention kernel; there is one here, packed and exact";
constexpr std::string_view kModelFile = "it would override what config.json of the model says";
constexpr std::string_view kTokenizerFile = "it would change the tokenizer; tokenizer.model is used as it is";
constexpr std::string_view kPlainLora = "it would change how the adapter is built; this program trains plain LoRA";
constexpr std::string_view kNoTracker = "it would send metrics to a tracking service; see metrics.jsonl in output_dir";
constexpr std::string_view kNoPrompts = "it would choose a prompt template; the data say how their text looks";
constexpr std::string_view kLoader =
    "it would tune the reading of data; everything is tokenized and packed before step 1";
constexpr std::string_view kBase16 = "NF4 is the only quantization, of a base in 16 bits";
constexpr std::string_view kOtherJob = "it would train something else than the prediction of the next token";

constexpr auto kForeignKeys = std::to_array<ForeignKey>({
    {"gradient_checkpointing", kDecided, "it would trade time for memory; the activation plan decides this", ""},
    {"flash_attention", kDecided, kOneAttention, ""},
    {"eval_sample_packing", kDecided, "evaluation packs by the rule of training, without an effect on the loss", ""},
    {"save_safetensors", kDecided, "it would choose the file format; it is always safetensors", ""},
    {"gradient_checkpointing_kwargs", kAxolotl, "it would tune gradient checkpointing; the activation plan decides",
     ""},
    {"xformers_attention", kAxolotl, kOneAttention, ""},
    {"sdp_attention", kAxolotl, kOneAttention, ""},
    {"eager_attention", kAxolotl, kOneAttention, ""},
    {"flex_attention", kAxolotl, kOneAttention, ""},
    {"s2_attention", kAxolotl, "it would train with shifted sparse attention", ""},
    {"landmark_attention", kAxolotl, "it would train with landmark tokens", ""},
    {"flash_attn_*", kAxolotl, kOneAttention, ""},
    {"flash_optimum", kAxolotl, kOneAttention, ""},
    {"load_in_8bit", kAxolotl, kBase16, "`load_in_4bit: true` with `adapter: qlora`"},
    {"gptq*", kAxolotl, kBase16, ""},
    {"bnb_config_kwargs", kAxolotl, kBase16, ""},
    {"bfloat16", kAxolotl, "it would load everything in bfloat16", "`bf16: true`"},
    {"float16", kAxolotl, "it would load everything in float16", "`bf16: true`"},
    {"group_by_length", kAxolotl, "it would sort samples by length; packing makes that needless", ""},
    {"max_packed_sequence_len", kAxolotl, "it would pack without regard to sample boundaries",
     "`sample_packing: true`"},
    {"sample_packing_*", kAxolotl, "it would tune the packer; the plan here is exact", ""},
    {"total_num_tokens", kAxolotl, "it would give the size of the data, which is counted here", ""},
    {"total_supervised_tokens", kAxolotl, "it would give the size of the data, which is counted here", ""},
    {"deepspeed", kAxolotl, kOneGpu, ""},
    {"fsdp", kAxolotl, kOneGpu, ""},
    {"fsdp_*", kAxolotl, kOneGpu, ""},
    {"ddp*", kAxolotl, kOneGpu, ""},
    {"local_rank", kAxolotl, kOneGpu, ""},
    {"world_size", kAxolotl, kOneGpu, ""},
    {"device_map", kAxolotl, kOneGpu, "`device: cuda` or `device: cpu`"},
    {"max_memory", kAxolotl, kOneGpu, ""},
    {"qlora_sharded_model_loading", kAxolotl, kOneGpu, ""},
    {"wandb_*", kAxolotl, kNoTracker, ""},
    {"use_wandb", kAxolotl, kNoTracker, ""},
    {"mlflow_*", kAxolotl, kNoTracker, ""},
    {"use_mlflow", kAxolotl, kNoTracker, ""},
    {"comet_*", kAxolotl, kNoTracker, ""},
    {"use_comet", kAxolotl, kNoTracker, ""},
    {"use_tensorboard", kAxolotl, kNoTracker, ""},
    {"report_to", kAxolotl, kNoTracker, ""},
    {"hub_*", kAxolotl, kNoHub, ""},
    {"push_dataset_to_hub", kAxolotl, kNoHub, ""},
    {"push_to_hub*", kAxolotl, kNoHub, ""},
    {"hf_use_auth_token", kAxolotl, kNoHub, ""},
    {"model_revision", kAxolotl, kNoHub, "`base_model` with the folder of that snapshot"},
    {"revision_of_model", kAxolotl, kNoHub, "`base_model` with the folder of that snapshot"},
    {"trust_remote_code", kAxolotl, "it would run Python code of the model folder; nothing there is run", ""},
    {"base_model_config", kAxolotl, kModelFile, ""},
    {"base_model_ignore_patterns", kAxolotl, kNoHub, ""},
    {"model_type", kAxolotl, kModelFile, ""},
    {"model_config", kAxolotl, kModelFile, ""},
    {"model_kwargs", kAxolotl, kModelFile, ""},
    {"model_config_type", kAxolotl, kModelFile, ""},
    {"overrides_of_model_*", kAxolotl, kModelFile, ""},
    {"is_mistral_derived_model", kAxolotl, kModelFile, ""},
    {"is_llama_derived_model", kAxolotl, kModelFile, ""},
    {"is_falcon_derived_model", kAxolotl, kModelFile, ""},
    {"is_qwen_derived_model", kAxolotl, kModelFile, ""},
    {"rope_scaling", kAxolotl, kModelFile, ""},
    {"rope_theta", kAxolotl, kModelFile, ""},
    {"tokenizer_config", kAxolotl, kTokenizerFile, ""},
    {"tokenizer_type", kAxolotl, kTokenizerFile, ""},
    {"tokenizer_use_fast", kAxolotl, kTokenizerFile, ""},
    {"tokenizer_legacy", kAxolotl, kTokenizerFile, ""},
    {"tokenizer_use_mistral_common", kAxolotl, kTokenizerFile, ""},
    {"special_tokens", kAxolotl, kTokenizerFile, ""},
    {"tokens", kAxolotl, "it would add tokens and grow the embedding", ""},
    {"added_tokens_overrides", kAxolotl, kTokenizerFile, ""},
    {"resize_token_embeddings_to_32x", kAxolotl, "it would pad the vocabulary to a multiple of 32", ""},
    {"embeddings_skip_upcast", kAxolotl, "it would change the precision of the embedding", ""},
    {"chat_template*", kAxolotl, kNoPrompts, ""},
    {"default_system_message", kAxolotl, kNoPrompts, ""},
    {"lora_model_dir", kAxolotl, "it would start from that adapter and use its saved settings", "`init_from`"},
    {"lora_out_dir", kAxolotl, "it would name a folder for the adapter", "`output_dir`; `shori-export adapter`"},
    {"lora_fan_in_fan_out", kAxolotl, "it would adapt transposed (Conv1D) weights; Mistral has none", ""},
    {"lora_modules_to_save", kAxolotl, "it would train whole modules in addition to the adapter", ""},
    {"lora_target_parameters", kAxolotl, kPlainLora, ""},
    {"lora_layers_to_transform", kAxolotl, kPlainLora, ""},
    {"lora_on_cpu", kAxolotl, "it would merge on the CPU; `shori-export merged` always does", ""},
    {"lora_mlp_kernel", kAxolotl, "it would choose a kernel; there is one", ""},
    {"lora_qkv_kernel", kAxolotl, "it would choose a kernel; there is one", ""},
    {"lora_o_kernel", kAxolotl, "it would choose a kernel; there is one", ""},
    {"peft*", kAxolotl, kPlainLora, ""},
    {"loraplus_*", kAxolotl, "it would give lora_B a rate of its own", ""},
    {"relora_*", kAxolotl, "it would merge and restart the adapter during the run", ""},
    {"merge_lora", kAxolotl, "it would merge after training", "`shori-export merged`"},
    {"unfrozen_parameters", kAxolotl, "it would train weights of the base model", ""},
    {"noisy_embedding_alpha", kAxolotl, "it would add noise to the embeddings", ""},
    {"neftune_noise_alpha", kAxolotl, "it would add noise to the embeddings", ""},
    {"torch_compile*", kAxolotl, "it would compile the PyTorch model; no Python runs here", ""},
    {"unsloth_*", kAxolotl, "it would choose kernels of Unsloth", ""},
    {"liger_*", kAxolotl, "it would choose kernels of Liger", ""},
    {"plugins", kAxolotl, "it would load Python plugins", ""},
    {"strict", kAxolotl, "it would check the shapes of loaded weights; they are always checked", ""},
    {"debug", kAxolotl, "it would print samples; `--check` prints the ledger", ""},
    {"profiler_steps", kAxolotl, "it would record a profile; see timing.jsonl in output_dir", ""},
    {"include_tokens_per_second", kAxolotl, "it would log the speed; see timing.jsonl in output_dir", ""},
    {"include_num_input_tokens_seen", kAxolotl, "it would log token counts; see metrics.jsonl in output_dir", ""},
    {"early_stopping_patience", kAxolotl, "it would stop when evaluation no longer improves", "`max_steps`"},
    {"resume_from_checkpoint", kAxolotl, "it would continue an earlier run",
     "the command line `shori-train CONFIG --resume`"},
    {"auto_resume_from_checkpoints", kAxolotl, "it would continue an earlier run by itself",
     "the command line `shori-train CONFIG --resume`"},
    {"save_strategy", kAxolotl, "it would choose when checkpoints are written", "`save_steps`"},
    {"save_only_model", kAxolotl, "it would write checkpoints that cannot be resumed", ""},
    {"saves_per_epoch", kAxolotl, "it would write so many checkpoints per epoch", "`save_steps`"},
    {"evals_per_epoch", kAxolotl, "it would evaluate so many times per epoch",
     "`eval_steps`, a count or a share of the whole run"},
    {"evaluation_strategy", kAxolotl, "it would choose when to evaluate", "`eval_steps`"},
    {"eval_strategy", kAxolotl, "it would choose when to evaluate", "`eval_steps`"},
    {"eval_table_size", kAxolotl, "it would write sampled answers to a tracking service", ""},
    {"eval_table_max_new_tokens", kAxolotl, "it would write sampled answers to a tracking service", ""},
    {"eval_max_new_tokens", kAxolotl, "it would generate answers while evaluating", ""},
    {"eval_causal_lm_metrics", kAxolotl, "it would generate answers while evaluating", ""},
    {"do_causal_lm_eval", kAxolotl, "it would generate answers while evaluating", ""},
    {"do_bench_eval", kAxolotl, "it would run a benchmark while evaluating", ""},
    {"bench_*", kAxolotl, "it would run a benchmark while evaluating", ""},
    {"metric_for_best_model", kAxolotl,
     "it would choose the best checkpoint; it is the one with the lowest evaluation loss", ""},
    {"load_best_model_at_end", kAxolotl, "it would export the best checkpoint, not the last", ""},
    {"greater_is_better", kAxolotl,
     "it would choose the best checkpoint; it is the one with the lowest evaluation loss", ""},
    {"warmup_ratio", kAxolotl, "it would warm up over a share of the run", "`warmup_steps`"},
    {"cosine_*", kAxolotl, "it would change the cosine schedule", ""},
    {"lr_quadratic_warmup", kAxolotl, "it would change the warm-up", ""},
    {"lr_scheduler_kwargs", kAxolotl, "it would tune the schedule", ""},
    {"lr_div_factor", kAxolotl, "it would tune a one-cycle schedule", ""},
    {"log_sweep_*", kAxolotl, "it would tune a sweep of rates", ""},
    {"embedding_lr*", kAxolotl, "it would give the embedding a rate of its own; it is not trained", ""},
    {"lr_groups", kAxolotl, "it would give modules rates of their own", ""},
    {"optim_args", kAxolotl, "it would tune the optimizer", "`adam_beta1`, `adam_beta2`, `adam_epsilon`"},
    {"optim_target_modules", kAxolotl, "it would choose what GaLore trains", ""},
    {"torchdistx_path", kAxolotl, "it would name a Python package for another optimizer", ""},
    {"data_seed", kAxolotl, "it would give the order of data a seed of its own", "`seed`"},
    {"dataset_processes", kAxolotl, kLoader, "`threads`"},
    {"dataset_keep_in_memory", kAxolotl, kLoader, ""},
    {"dataset_exact_deduplication", kAxolotl, "it would drop equal samples", "`dedupe`"},
    {"dataset_shard_*", kAxolotl, "it would train on a part of the data", ""},
    {"dataloader_*", kAxolotl, kLoader, ""},
    {"shuffle_merged_datasets", kDecided, "samples are shuffled in every epoch", ""},
    {"remove_unused_columns", kAxolotl, kLoader, ""},
    {"pretraining_dataset", kAxolotl, "it would stream data of unknown length", "`datasets` with `type: completion`"},
    {"pretrain_*", kAxolotl, "it would stream data of unknown length", "`datasets` with `type: completion`"},
    {"min_sample_len", kAxolotl, "it would drop short samples", ""},
    {"rl", kAxolotl, kOtherJob, ""},
    {"rl_beta", kAxolotl, kOtherJob, ""},
    {"dpo_*", kAxolotl, kOtherJob, ""},
    {"orpo_*", kAxolotl, kOtherJob, ""},
    {"kto_*", kAxolotl, kOtherJob, ""},
    {"reward_model", kAxolotl, kOtherJob, ""},
    {"process_reward_model", kAxolotl, kOtherJob, ""},
    {"kd_*", kAxolotl, kOtherJob, ""},
    {"sandbox", kLater, "it would confine the program by the kernel", ""},
});

constexpr std::string_view kTextAsItIs =
    "it would build prompts from fields; the text is trained as it stands in the data";

constexpr auto kForeignDatasetKeys = std::to_array<ForeignKey>({
    {"ds_type", kAxolotl, "it would name the file format; it is seen by the extension", ""},
    {"data_files", kAxolotl, "it would choose files of a data set", "`path`, a file, folder or glob"},
    {"name", kAxolotl, "it would choose a configuration of a Hub data set", ""},
    {"split", kAxolotl, "it would choose a part of a Hub data set", ""},
    {"train_on_split", kAxolotl, "it would choose a part of a Hub data set", ""},
    {"revision", kAxolotl, kNoHub, ""},
    {"shards", kAxolotl, "it would train on a part of the data", ""},
    {"shards_idx", kAxolotl, "it would train on a part of the data", ""},
    {"conversation", kAxolotl, kNoPrompts, ""},
    {"chat_template*", kAxolotl, kNoPrompts, ""},
    {"prompt_style", kAxolotl, kNoPrompts, ""},
    {"field_*", kAxolotl, kTextAsItIs, "`field`, the one member that holds the text"},
    {"message_*", kAxolotl, kTextAsItIs, ""},
    {"roles", kAxolotl, kTextAsItIs, "`roles_to_train`"},
    {"roles_to_train", kAxolotl, "it would choose targets for one data set",
     "the key of the same name outside `datasets`"},
    {"train_on_eos", kAxolotl, "it would choose targets for one data set",
     "the key of the same name outside `datasets`"},
    {"format", kAxolotl, kTextAsItIs, ""},
    {"no_input_format", kAxolotl, kTextAsItIs, ""},
    {"system_*", kAxolotl, kTextAsItIs, ""},
    {"trust_remote_code", kAxolotl, "it would run Python code of a data set", ""},
    {"preprocess_shards", kAxolotl, kLoader, ""},
});

const ForeignKey* find_row(std::span<const ForeignKey> rows, std::string_view name) {
  const ForeignKey* by_prefix = nullptr;
  for (const ForeignKey& row : rows) {
    if (row.name == name) return &row;
    const std::string_view prefix = row.name.substr(0, row.name.size() - 1);
    if (row.name.back() == '*' && by_prefix == nullptr && name.substr(0, prefix.size()) == prefix) by_prefix = &row;
  }
  return by_prefix;
}

bool is_flag(const YamlNode& value) {
  ScalarProblem problem;
  return value.kind == YamlNode::Kind::kScalar && parse_yaml_bool(value, problem).has_value();
}

}  // namespace

const ForeignKey* find_foreign_key(std::string_view name) { return find_row(kForeignKeys, name); }
const ForeignKey* find_foreign_dataset_key(std::string_view name) { return find_row(kForeignDatasetKeys, name); }

bool is_empty_value(const YamlNode& value) {
  switch (value.kind) {
    case YamlNode::Kind::kNull:
      return true;
    case YamlNode::Kind::kSequence:
      return value.items.empty();
    case YamlNode::Kind::kMapping:
      return value.members.empty();
    case YamlNode::Kind::kScalar:
      break;
  }
  ScalarProblem problem;
  return value.text.empty() || (is_flag(value) && !*parse_yaml_bool(value, problem));
}

bool check_foreign_value(const ForeignKey& key, const Setting& setting, const std::string& what,
                         Diagnostics& diagnostics) {
  if (is_empty_value(setting.value) || (key.kind == kDecided && is_flag(setting.value))) return true;
  const std::string reason = key.kind == kLater ? " is not in this version of shori-train"
                                                : " is an Axolotl key that shori-train does not have";
  Diagnostic diagnostic("E0112", what + reason);
  diagnostic.at(setting.key_location()).note(std::string(key.effect));
  if (key.name == "lora_model_dir") {
    diagnostic.help(
        concat("write `init_from: ", value_text(setting.value), "`: a new run from that adapter's weights"));
  } else {
    diagnostic.help(key.instead.empty() ? "delete the line" : concat("use ", key.instead));
  }
  diagnostics.add(std::move(diagnostic));
  return false;
}

std::vector<std::string> accepted_keys_notes(const std::vector<Setting>& without_effect) {
  std::vector<std::string> decided, empty;
  for (const Setting& setting : without_effect) {
    const ForeignKey* foreign = find_foreign_key(setting.key);
    auto& list = foreign == nullptr || foreign->kind == kDecided ? decided : empty;
    const std::string name = escape_for_log(setting.key);
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  }
  std::vector<std::string> notes;
  if (!decided.empty()) notes.push_back("accepted, but decided by the program: " + join_words(decided));
  if (!empty.empty()) notes.push_back("accepted because they are empty, without a meaning here: " + join_words(empty));
  return notes;
}

}  // namespace shori
