// Every key of a training config: YAML name, default, allowed values, class and meaning, one row per key.
//
// The three row lists below are the only place where a key is named. They declare the fields of TrainConfig and drive
// parsing, `--help-keys`, the printed config, the config hash and the proposals for misspelt keys.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shori/config/data_entry.h"
#include "shori/config/vocabulary.h"

namespace shori {

// What may happen to a key between the start of a run and its `--resume`.
enum class KeyClass {
  kNumeric,  // decides the numbers: part of the config hash, a change is E0504
  kOutput,   // what is written or watched: a change is allowed
  kPlace,    // where something lies; the contents are guarded by hashes of their own
};

// The mapping `lint`.
struct LintConfig {
  std::array<std::optional<LintLevel>, kLintRuleCount> levels{};  // empty: the default of the rule
  std::string usernames, resolved_usernames;                      // file of names, one per line
  std::vector<std::string> internal_hosts;
};

using Integer = std::int64_t;
using OptionalInteger = std::optional<std::int64_t>;
using OptionalReal = std::optional<double>;
using TextList = std::vector<std::string>;
using DatasetList = std::vector<DataEntry>;

}  // namespace shori

// X(type, key, default, class, rule, meaning). Rules (src/config/config_keys.h): between [a, b], above (a, b], below
// [a, b), inside (a, b).
// clang-format off
#define SHORI_TRAIN_KEYS(X)                                                                                            \
  X(std::string, name, "", kPlace, any(), "name of the stage; otherwise the last part of output_dir")                  \
  X(std::string, base_model, "", kPlace, path().needed(),                                                              \
    "model folder, or an id org/name of the local Hugging Face cache")                                                 \
  X(DatasetList, datasets, {}, kPlace, required(), "training data: list of {path, type, field, category}")             \
  X(DatasetList, test_datasets, {}, kPlace, any(), "data for evaluation only, entries like those of datasets")         \
  X(TextList, category_order, {}, kPlace, any(),                                                                       \
    "order of the stages that categories make with rates a -> b; else low mid high top top-pg13, or of first use")     \
  X(double, val_set_size, 0.0, kNumeric, share_or_count(),                                                             \
    "conversations held out of datasets: share below 1, or count")                                                     \
  X(std::string, output_dir, "", kPlace, path().needed(), "run folder; a recipe's stage writes to <output_dir>/<name>")\
  X(std::string, dataset_prepared_path, "", kPlace, path(),                                                            \
    "folder that keeps tokenized data for the next start; otherwise .prepared beside output_dir")                      \
  X(std::string, init_from, "", kPlace, path(), "run folder, adapter folder or checkpoint that a new run begins from") \
  X(OptimizerStart, optimizer_state, OptimizerStart::kFresh, kNumeric, any(),                                          \
    "under init_from: carry keeps moments and step count")                                                             \
  X(AdapterKind, adapter, AdapterKind::kQlora, kNumeric, any(), "qlora: LoRA on 4-bit weights; lora: on bf16 weights") \
  X(bool, load_in_4bit, true, kNumeric, any(), "quantize the base model to NF4 (with adapter: qlora)")                 \
  X(Integer, lora_r, 20, kNumeric, between(1, 1024), "rank of the adapter")                                            \
  X(Integer, lora_alpha, 16, kNumeric, between(1, 65536), "the adapter is scaled by lora_alpha / lora_r")              \
  X(double, lora_dropout, 0.0, kNumeric, below(0, 1), "share of adapter inputs dropped in training")                   \
  X(bool, lora_target_linear, true, kNumeric, any(), "an adapter on all seven linear modules of a layer")              \
  X(TextList, lora_target_modules, all_lora_modules(), kNumeric, words(kLoraModules),                                  \
    "modules with an adapter, if not all")                                                                             \
  X(Integer, sequence_len, 2048, kNumeric, between(2, 1048576), "maximum number of tokens of a sample and of a pack")  \
  X(bool, sample_packing, true, kNumeric, any(), "several samples in one pack, which cannot attend to each other")     \
  X(bool, pad_to_sequence_len, false, kNumeric, any(), "pad every pack to sequence_len, not just to a multiple of 64") \
  X(OverlongPolicy, excess_length_strategy, OverlongPolicy::kRaise, kNumeric, any(),                                   \
    "conversations longer than sequence_len")                                                                          \
  X(TextList, skip_samples, {}, kNumeric, path(), "conversations left out by name, [path:line, ...]")                  \
  X(bool, dedupe, false, kNumeric, any(), "train only the first of exact copies in datasets")                          \
  X(bool, allow_overlap, false, kOutput, any(),                                                                        \
    "conversations in both training and evaluation data: a warning, no error")                                         \
  X(bool, train_on_inputs, false, kNumeric, any(), "every token is a target; false: only those of roles_to_train")     \
  X(TextList, roles_to_train, {"message"}, kNumeric, words(kWords<Role>), "blocks whose tokens are targets")           \
  X(TrainOnEos, train_on_eos, TrainOnEos::kAll, kNumeric, any(), "none: the end-of-text token is not a target")        \
  X(Integer, micro_batch_size, 1, kNumeric, between(1, 4096), "packs in one forward and backward pass")                \
  X(Integer, gradient_accumulation_steps, 1, kNumeric, between(1, 65536), "micro-batches in one optimizer step")       \
  X(Integer, num_epochs, 1, kNumeric, between(0, 100000), "passes over the data")                                      \
  X(OptionalInteger, max_steps, {}, kNumeric, between(0, 1000000000),                                                  \
    "optimizer steps of the run; epochs are repeated until then if num_epochs is not set")                             \
  X(double, learning_rate, 0.0, kNumeric, above(0, 0.01).needed(),                                                     \
    "a rate, or rates `a -> b -> c` for the stages of a recipe")                                                       \
  X(LrScheduler, lr_scheduler, LrScheduler::kConstant, kNumeric, any(),                                                \
    "as transformers defines them; Axolotl's default is cosine")                                                       \
  X(Integer, warmup_steps, 0, kNumeric, between(0, 1000000000), "steps over which the rate rises (linear and cosine)") \
  X(double, weight_decay, 0.0, kNumeric, between(0, 1), "decay of every adapter weight, multiplied by the rate")       \
  X(double, max_grad_norm, 1.0, kNumeric, above(0, 1e9), "maximum norm of the gradient; a larger one is scaled down")  \
  X(double, adam_beta1, 0.9, kNumeric, below(0, 1), "decay of the first moment")                                       \
  X(double, adam_beta2, 0.999, kNumeric, inside(0, 1), "decay of the second moment")                                   \
  X(double, adam_epsilon, 1e-8, kNumeric, above(0, 1), "added to the root of the second moment")                       \
  X(bool, adam_zero_gradient_guard, true, kNumeric, any(), "no update where the second moment is exactly 0")           \
  X(bool, bf16, true, kNumeric, any(), "compute in bfloat16; false: in fp32")                                          \
  X(Integer, seed, 42, kNumeric, between(0, 4294967295),                                                               \
    "of the adapter's first values, the order of data, and dropout")                                                   \
  X(CompatMode, compat, CompatMode::kNone, kNumeric, any(),                                                            \
    "axolotl-2024: packing, loss and 8-bit blocks of early 2024")                                                      \
  X(bool, axolotl_step_estimate, false, kNumeric, any(), "with compat: Axolotl's estimate cuts the last epoch short")  \
  X(DeviceChoice, device, DeviceChoice::kAuto, kPlace, any(),                                                          \
    "where it runs; auto: the GPU in a CUDA build, else the CPU; emulated: for tests")                                 \
  X(MatmulKernel, matmul, MatmulKernel::kAuto, kNumeric, any(),                                                        \
    "GPU products with NF4 weights: the faster by a test at the start, or one for runs that must agree")             \
  X(ActivationMemory, activation_memory, ActivationMemory::kAuto, kOutput, any(),                                      \
    "activations kept for the backward pass; auto: what fits in memory. Does not affect results")                     \
  X(std::string, gpu_memory_limit, "", kOutput, any(), "maximum GPU memory to use, such as 22GiB; otherwise all")      \
  X(std::string, nf4_cache, "auto", kPlace, path(),                                                                    \
    "where to keep the quantized base: auto (beside a large base), off, or a folder. Does not affect results")         \
  X(OptionalInteger, threads, {}, kOutput, between(1, 1024),                                                           \
    "CPU threads; otherwise one per core. Does not affect results")                                                    \
  X(OptionalReal, eval_steps, {}, kOutput, share_or_count().positive(),                                                \
    "steps, or share of the run below 1; else at epoch ends. The last step always")                                    \
  X(TextList, sample_prompts, {}, kOutput, path(),                                                                     \
    "text files that end in an open message, continued at each evaluation. Does not affect results")                   \
  X(OptionalInteger, sample_steps, {}, kOutput, between(1, 1000000000),                                                \
    "steps between samples; without sample_prompts, of the first held-out conversation")                               \
  X(Integer, sample_max_tokens, 512, kOutput, between(1, 1048576), "maximum number of tokens of a sample")             \
  X(Integer, save_steps, 1, kOutput, between(1, 1000000000), "steps between checkpoints")                              \
  X(Integer, save_total_limit, 2, kOutput, between(2, 1000000),                                                        \
    "newest checkpoints that are kept, and newest epoch ends in pinned/, beside the best evaluation")                  \
  X(Integer, logging_steps, 1, kOutput, between(1, 1000000000), "steps between lines of a log, if unset more than 1 from 1,000 steps on; metrics.jsonl has all") \
  X(OptionalReal, loss_watchdog_threshold, {}, kOutput, above(0, 1e6), "stop when the loss stays above this")          \
  X(Integer, loss_watchdog_patience, 3, kOutput, between(1, 1000000), "steps above the threshold before it stops")     \
  X(bool, warnings_as_errors, false, kOutput, any(), "a warning ends the program like an error")                       \
  X(LintConfig, lint, {}, kOutput, any(),                                                                              \
    "levels of rules about style, order and privacy: {RULE: off|info|warn|error}")                                     \
  X(OtherBuild, resume_on_other_build, OtherBuild::kError, kOutput, any(),                                             \
    "warn: --resume with another build or device")

// Keys of published configs that the program decides by itself: they are accepted, but no value that they take changes
// anything. Class output, so that a change of such a line never stops a resume.
#define SHORI_DECIDED_KEYS(X)                                                                                          \
  X(OptimizerKind, optimizer, OptimizerKind::kAdamwBnb8bit, kOutput, any(), "AdamW with 8-bit states in blocks")       \
  X(bool, fp16, false, kOutput, any(), "float16 is not offered; bf16 chooses between bfloat16 and fp32")               \
  X(bool, tf32, false, kOutput, any(), "products in fp32 never use TensorFloat-32")                                    \
  X(Integer, eval_batch_size, 1, kOutput, between(1, 4096), "evaluation takes one pack at a time")

// Keys under `blockml:`, the project's own.
#define SHORI_BLOCKML_KEYS(X)                                                                                          \
  X(EosRule, eos, EosRule::kEnd, kNumeric, any(),                                                                      \
    "end-of-text token: every sample, a conversation's last, or never")                                                \
  X(bool, bos, true, kNumeric, any(), "a begin-of-text token at the start of every sample")                            \
  X(bool, train_on_speaker, true, kNumeric, any(), "the speaker's name before a message is a target")                  \
  X(bool, repeat_scenario, false, kNumeric, any(), "with split: later parts repeat the scenario as well")              \
  X(LengthHint, default_length, LengthHint::kNone, kNumeric, any(),                                                    \
    "length word of YAML messages without one; auto: by their length")                                                 \
  X(LengthBounds, length_buckets, kDefaultLengthBounds, kNumeric, any(),                                               \
    "maximum length of each length word")                                                                              \
  X(LengthUnit, length_unit, LengthUnit::kTokens, kNumeric, any(), "unit of message lengths")
// clang-format on

namespace shori {

inline TextList all_lora_modules() { return TextList(kLoraModules.begin(), kLoraModules.end()); }

#define SHORI_DECLARE_FIELD(type, key, default_value, ...) type key = default_value;

struct BlockmlConfig {
  SHORI_BLOCKML_KEYS(SHORI_DECLARE_FIELD)
};

// One stage. After load_config: paths include the config file's folder, lora_target_modules and roles_to_train are
// in the order of kLoraModules and of the roles without repeats, lora_target_linear says whether all seven modules
// are named.
struct TrainConfig {
  SHORI_TRAIN_KEYS(SHORI_DECLARE_FIELD)
  SHORI_DECIDED_KEYS(SHORI_DECLARE_FIELD)
  BlockmlConfig blockml;
};

#undef SHORI_DECLARE_FIELD

}  // namespace shori
