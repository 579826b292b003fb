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
constexpr auto kNotDone = ForeignKey::Kind::kNotDone;
constexpr auto kSame = ForeignKey::Kind::kSame;

constexpr std::string_view kOneGpu = "it would share the work between GPUs; this program runs on one";
constexpr std::string_view kTransport = "it would tune the exchange between GPUs; this program runs on one";
constexpr std::string_view kKernelPlugins =
    "axolotl.integrations.liger.LigerPlugin|axolotl.integrations.liger.plugin.LigerPlugin|"
    "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin";
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
    {"gradient_checkpointing_kwargs", kDecided, "it would tune gradient checkpointing; the activation plan decides",
     ""},
    {"xformers_attention", kDecided, kOneAttention, ""},
    {"sdp_attention", kDecided, kOneAttention, ""},
    {"eager_attention", kDecided, kOneAttention, ""},
    {"flex_attention", kDecided, kOneAttention, ""},
    {"s2_attention", kAxolotl, "it would train with shifted sparse attention", ""},
    {"landmark_attention", kAxolotl, "it would train with landmark tokens", ""},
    {"flash_attn_*", kDecided, kOneAttention, ""},
    {"flash_optimum", kDecided, kOneAttention, ""},
    {"load_in_8bit", kAxolotl, kBase16, "`load_in_4bit: true` with `adapter: qlora`"},
    {"gptq*", kAxolotl, kBase16, ""},
    {"bnb_config_kwargs", kAxolotl, kBase16, ""},
    {"bfloat16", kAxolotl, "it would load everything in bfloat16", "`bf16: true`"},
    {"float16", kAxolotl, "it would load everything in float16", "`bf16: true`"},
    {"group_by_length", kAxolotl, "it would sort samples by length; packing makes that needless", ""},
    {"max_packed_sequence_len", kAxolotl, "it would pack without regard to sample boundaries",
     "`sample_packing: true`"},
    {"sample_packing_*", kDecided, "it would tune the packer; the plan here is exact", ""},
    {"total_num_tokens", kDecided, "it would give the size of the data, which is counted here", ""},
    {"total_supervised_tokens", kDecided, "it would give the size of the data, which is counted here", ""},
    {"deepspeed", kAxolotl, kOneGpu, ""},
    {"fsdp", kAxolotl, kOneGpu, ""},
    {"fsdp_*", kAxolotl, kOneGpu, ""},
    {"ddp*", kAxolotl, kOneGpu, ""},
    {"ddp_timeout", kDecided, kTransport, ""},
    {"ddp_bucket_cap_mb", kDecided, kTransport, ""},
    {"ddp_broadcast_buffers", kDecided, kTransport, ""},
    {"local_rank", kAxolotl, kOneGpu, ""},
    {"world_size", kSame, kOneGpu, "", "1"},
    {"device_map", kSame, kOneGpu, "`device: cuda` or `device: cpu`", "auto"},
    {"max_memory", kAxolotl, kOneGpu, ""},
    {"qlora_sharded_model_loading", kDecided, kOneGpu, ""},
    {"wandb_*", kNotDone, kNoTracker, ""},
    {"use_wandb", kNotDone, kNoTracker, ""},
    {"mlflow_*", kNotDone, kNoTracker, ""},
    {"use_mlflow", kNotDone, kNoTracker, ""},
    {"comet_*", kNotDone, kNoTracker, ""},
    {"use_comet", kNotDone, kNoTracker, ""},
    {"use_tensorboard", kNotDone, kNoTracker, ""},
    {"report_to", kNotDone, kNoTracker, ""},
    {"hub_*", kNotDone, kNoHub, ""},
    {"push_dataset_to_hub", kNotDone, kNoHub, ""},
    {"push_to_hub*", kNotDone, kNoHub, ""},
    {"hf_use_auth_token", kNotDone, kNoHub, ""},
    {"model_revision", kAxolotl, kNoHub, "`base_model` with the folder of that snapshot"},
    {"revision_of_model", kAxolotl, kNoHub, "`base_model` with the folder of that snapshot"},
    {"trust_remote_code", kDecided, "it would run Python code of the model folder; nothing there is run", ""},
    {"base_model_config", kSame, kModelFile, ""},
    {"base_model_ignore_patterns", kAxolotl, kNoHub, ""},
    {"model_type", kSame, kModelFile, "", "MistralForCausalLM|AutoModelForCausalLM"},
    {"model_config", kAxolotl, kModelFile, ""},
    {"model_kwargs", kAxolotl, kModelFile, ""},
    {"model_config_type", kSame, kModelFile, "", "mistral"},
    {"overrides_of_model_*", kAxolotl, kModelFile, ""},
    {"is_mistral_derived_model", kSame, kModelFile, "", "true"},
    {"is_llama_derived_model", kAxolotl, kModelFile, ""},
    {"is_falcon_derived_model", kAxolotl, kModelFile, ""},
    {"is_qwen_derived_model", kAxolotl, kModelFile, ""},
    {"rope_scaling", kAxolotl, kModelFile, ""},
    {"rope_theta", kAxolotl, kModelFile, ""},
    {"tokenizer_config", kSame, kTokenizerFile, ""},
    {"tokenizer_type", kSame, kTokenizerFile, "", "LlamaTokenizer|LlamaTokenizerFast|AutoTokenizer"},
    {"tokenizer_use_fast", kDecided, kTokenizerFile, ""},
    {"tokenizer_legacy", kAxolotl, kTokenizerFile, ""},
    {"tokenizer_use_mistral_common", kAxolotl, kTokenizerFile, ""},
    {"special_tokens", kSame, kTokenizerFile, ""},
    {"tokens", kAxolotl, "it would add tokens and grow the embedding", ""},
    {"added_tokens_overrides", kAxolotl, kTokenizerFile, ""},
    {"resize_token_embeddings_to_32x", kAxolotl, "it would pad the vocabulary to a multiple of 32", ""},
    {"embeddings_skip_upcast", kDecided, "it would change the precision of the embedding", ""},
    {"chat_template*", kAxolotl, kNoPrompts, ""},
    {"default_system_message", kAxolotl, kNoPrompts, ""},
    {"lora_model_dir", kAxolotl, "it would start from that adapter and use its saved settings", "`init_from`"},
    {"lora_out_dir", kAxolotl, "it would name a folder for the adapter", "`output_dir`; `shori-export adapter`"},
    {"lora_fan_in_fan_out", kAxolotl, "it would adapt transposed (Conv1D) weights; Mistral has none", ""},
    {"lora_modules_to_save", kAxolotl, "it would train whole modules in addition to the adapter", ""},
    {"lora_target_parameters", kAxolotl, kPlainLora, ""},
    {"lora_layers_to_transform", kAxolotl, kPlainLora, ""},
    {"lora_on_cpu", kDecided, "it would merge on the CPU; `shori-export merged` always does", ""},
    {"lora_mlp_kernel", kDecided, "it would choose a kernel; there is one", ""},
    {"lora_qkv_kernel", kDecided, "it would choose a kernel; there is one", ""},
    {"lora_o_kernel", kDecided, "it would choose a kernel; there is one", ""},
    {"peft*", kAxolotl, kPlainLora, ""},
    {"loraplus_*", kAxolotl, "it would give lora_B a rate of its own", ""},
    {"relora_*", kAxolotl, "it would merge and restart the adapter during the run", ""},
    {"merge_lora", kAxolotl, "it would merge after training", "`shori-export merged`"},
    {"unfrozen_parameters", kAxolotl, "it would train weights of the base model", ""},
    {"noisy_embedding_alpha", kAxolotl, "it would add noise to the embeddings", ""},
    {"neftune_noise_alpha", kAxolotl, "it would add noise to the embeddings", ""},
    {"torch_compile*", kDecided, "it would compile the PyTorch model; no Python runs here", ""},
    {"unsloth_*", kDecided, "it would choose kernels of Unsloth", ""},
    {"liger_*", kDecided, "it would choose kernels of Liger", ""},
    {"plugins", kSame, "it would load Python plugins; only those that choose kernels change nothing", "",
     kKernelPlugins},
    {"strict", kDecided, "it would check the shapes of loaded weights; they are always checked", ""},
    {"debug", kDecided, "it would print samples; `--check` prints the ledger", ""},
    {"profiler_steps", kNotDone, "it would record a profile; see timing.jsonl in output_dir", ""},
    {"include_tokens_per_second", kNotDone, "it would log the speed; see timing.jsonl in output_dir", ""},
    {"include_num_input_tokens_seen", kNotDone, "it would log token counts; see metrics.jsonl in output_dir", ""},
    {"early_stopping_patience", kAxolotl, "it would stop when evaluation no longer improves", "`max_steps`"},
    {"resume_from_checkpoint", kAxolotl, "it would continue an earlier run",
     "the command line `shori-train CONFIG --resume`"},
    {"auto_resume_from_checkpoints", kAxolotl, "it would continue an earlier run by itself",
     "the command line `shori-train CONFIG --resume`"},
    {"save_strategy", kDecided, "it would choose when checkpoints are written", "`save_steps`"},
    {"save_only_model", kDecided, "it would write checkpoints that cannot be resumed", ""},
    {"saves_per_epoch", kAxolotl, "it would write so many checkpoints per epoch", "`save_steps`"},
    {"evals_per_epoch", kAxolotl, "it would evaluate so many times per epoch",
     "`eval_steps`, a count or a share of the whole run"},
    {"evaluation_strategy", kDecided, "it would choose when to evaluate", "`eval_steps`"},
    {"eval_strategy", kDecided, "it would choose when to evaluate", "`eval_steps`"},
    {"eval_table_size", kNotDone, "it would write sampled answers to a tracking service", ""},
    {"eval_table_max_new_tokens", kNotDone, "it would write sampled answers to a tracking service", ""},
    {"eval_max_new_tokens", kNotDone, "it would generate answers while evaluating", ""},
    {"eval_causal_lm_metrics", kNotDone, "it would generate answers while evaluating", ""},
    {"do_causal_lm_eval", kNotDone, "it would generate answers while evaluating", ""},
    {"do_bench_eval", kNotDone, "it would run a benchmark while evaluating", ""},
    {"bench_*", kNotDone, "it would run a benchmark while evaluating", ""},
    {"metric_for_best_model", kSame,
     "it would choose the best checkpoint; it is the one with the lowest evaluation loss", "", "eval_loss|loss"},
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
    {"torchdistx_path", kDecided, "it would name a Python package for another optimizer", ""},
    {"data_seed", kSame, "it would give the order of data a seed of its own", "`seed`"},
    {"dataset_processes", kDecided, kLoader, "`threads`"},
    {"dataset_keep_in_memory", kDecided, kLoader, ""},
    {"dataset_exact_deduplication", kAxolotl, "it would drop equal samples", "`dedupe`"},
    {"dataset_shard_*", kAxolotl, "it would train on a part of the data", ""},
    {"dataloader_*", kDecided, kLoader, ""},
    {"shuffle_merged_datasets", kDecided, "samples are shuffled in every epoch", ""},
    {"remove_unused_columns", kDecided, kLoader, ""},
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
    {"attn_implementation", kDecided, kOneAttention, ""},
    {"cut_cross_entropy", kDecided, "it would choose a kernel of the loss; there is one", ""},
    {"dataloader_drop_last", kAxolotl, "it would leave out the last packs of an epoch", ""},
    {"torch_dtype", kSame, "it would choose the type of the base; bf16 chooses between bfloat16 and fp32",
     "`bf16: true`", "auto|bfloat16|torch.bfloat16"},
    {"load_in_16bit", kAxolotl, kBase16, "`load_in_4bit: true` with `adapter: qlora`"},
    {"bnb_4bit_quant_type", kSame, kBase16, "", "nf4"},
    {"bnb_4bit_use_double_quant", kSame, "absmax values are always quantized a second time", "", "true"},
    {"bnb_4bit_compute_dtype", kSame, "`bf16` chooses the type of products", "`bf16: true`",
     "bfloat16|torch.bfloat16|bf16"},
    {"use_auth_token", kNotDone, kNoHub, ""},
    {"logging_dir", kNotDone, kNoTracker, ""},
    {"logging_first_step", kNotDone, "the progress of every step is in metrics.jsonl", ""},
    {"run_name", kNotDone, kNoTracker, ""},
    {"gc_steps", kDecided, "it would collect Python's garbage; no Python runs here", ""},
    {"ddp_find_unused_parameters", kDecided, kOneGpu, ""},
    {"sandbox", kLater, "it would confine the program by the kernel", ""},
});

constexpr std::string_view kTextAsItIs =
    "it would build prompts from fields; the text is trained as it stands in the data";

constexpr auto kForeignDatasetKeys = std::to_array<ForeignKey>({
    {"ds_type", kSame, "it would name the file format; it is seen by the extension", "", "json|jsonl|text"},
    {"data_files", kAxolotl, "it would choose files of a data set", "`path`, a file, folder or glob"},
    {"name", kAxolotl, "it would choose a configuration of a Hub data set", ""},
    {"split", kSame, "it would choose a part of a Hub data set", "", "train"},
    {"train_on_split", kSame, "it would choose a part of a Hub data set", "", "train"},
    {"revision", kAxolotl, kNoHub, ""},
    {"shards", kSame, "it would train on a part of the data", "", "1"},
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

bool is_zero(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0.+-") == std::string::npos && text.find('0') != std::string::npos;
}

// Whether `text` is one of the values in `list`, which are joined by `|`. Case and quotes do not matter.
bool is_listed(std::string_view list, std::string_view text) {
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find('|', begin), list.size());
    if (lower_ascii(list.substr(begin, end - begin)) == lower_ascii(text)) return true;
    begin = end + 1;
  }
  return false;
}

bool are_listed(std::string_view list, const std::vector<YamlNode>& items) {
  return std::all_of(items.begin(), items.end(), [list](const YamlNode& item) {
    return item.kind == YamlNode::Kind::kScalar && is_listed(list, item.text);
  });
}

// The tokens that every tokenizer of Mistral has for these names. Padding is never seen by the model.
std::string_view own_tokens(std::string_view name) {
  if (name == "bos_token") return "<s>";
  if (name == "eos_token") return "</s>";
  if (name == "unk_token") return "<unk>";
  return name == "pad_token" ? "<s>|</s>|<unk>" : "";
}

bool are_own_tokens(const YamlNode& tokens) {
  return tokens.kind == YamlNode::Kind::kMapping &&
         std::all_of(tokens.members.begin(), tokens.members.end(), [](const auto& member) {
           return is_empty_value(member.second) || is_listed(own_tokens(member.first.text), member.second.text);
         });
}

// The value of another key in the same mapping.
std::string text_of(const YamlNode& mapping, std::string_view key, const char* otherwise) {
  const YamlNode* value = mapping.find(key);
  return value == nullptr || value->kind != YamlNode::Kind::kScalar ? otherwise : value->text;
}

// Whether the value says what this program does anyway.
bool means_the_same(const ForeignKey& key, const Setting& setting) {
  const YamlNode& root = setting.document->root;
  if (key.kind == kDecided || key.kind == kNotDone) return true;
  if (key.name == "special_tokens") return are_own_tokens(setting.value);
  if (setting.value.kind == YamlNode::Kind::kSequence) return are_listed(key.same, setting.value.items);
  if (setting.value.kind != YamlNode::Kind::kScalar) return false;
  if (key.name == "base_model_config" || key.name == "tokenizer_config")
    return setting.value.text == text_of(root, "base_model", "");
  if (key.name == "data_seed") return setting.value.text == text_of(root, "seed", "42");
  return is_listed(key.same, setting.value.text);
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
  return value.text.empty() || is_zero(value.text) || is_listed("false|none|null|no|off", value.text);
}

bool check_foreign_value(const ForeignKey& key, const Setting& setting, const std::string& what,
                         Diagnostics& diagnostics) {
  if (is_empty_value(setting.value) || means_the_same(key, setting)) return true;
  const std::string reason =
      key.kind == kLater  ? " is not in this version of shori-train"
      : key.kind == kSame ? concat(" has a value that shori-train does not offer: `", value_text(setting.value), "`")
                          : " is an Axolotl key that shori-train does not have";
  Diagnostic diagnostic("E0112", what + reason);
  diagnostic.at(setting.key_location()).note(std::string(key.effect));
  if (key.name == "lora_model_dir") {
    diagnostic.help(
        concat("write `init_from: ", value_text(setting.value), "`: a new run from that adapter's weights"));
  } else if (key.name == "special_tokens") {
    diagnostic.help("delete the line: `<s>`, `</s>` and `<unk>` are used, and padding is never seen by the model");
  } else {
    diagnostic.help(key.instead.empty() ? "delete the line" : concat("use ", key.instead));
  }
  diagnostics.add(std::move(diagnostic));
  return false;
}

std::vector<std::string> accepted_keys_notes(const std::vector<Setting>& without_effect) {
  struct Group {
    std::string_view text;
    std::vector<std::string> names;
  };
  std::array<Group, 4> groups = {{{"accepted, but decided by the program: ", {}},
                                  {"accepted, as it says what the model or this program is: ", {}},
                                  {"accepted, but not done here (nothing is sent or logged to a service): ", {}},
                                  {"accepted because they are empty, without a meaning here: ", {}}}};
  for (const Setting& setting : without_effect) {
    const ForeignKey* foreign = find_foreign_key(setting.key);
    const bool is_decided = foreign == nullptr || foreign->kind == kDecided;
    const std::size_t group = is_decided ? 0 : is_empty_value(setting.value) ? 3 : foreign->kind == kNotDone ? 2 : 1;
    const std::string name = escape_for_log(setting.key);
    auto& list = groups[group].names;
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  }
  std::vector<std::string> notes;
  for (const Group& group : groups) {
    if (!group.names.empty()) notes.push_back(concat(group.text, join_words(group.names)));
  }
  return notes;
}

}  // namespace shori
