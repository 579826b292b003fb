#include "shori/chat/chat_model.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>

#include "shori/export/export_base.h"
#include "shori/infer/cached_model.h"
#include "shori/io/hf_model.h"
#include "shori/model/load_mistral.h"
#include "shori/model/lora_adapter.h"
#include "shori/model/mistral.h"
#include "shori/util/byte_size.h"
#include "shori/util/device_arena.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/chat/model/device_support.h"

namespace shori {
namespace {

constexpr std::int64_t kDefaultContext = 8192;

bool is_model_folder(const std::string& path) { return path_exists(join_path(path, "config.json")); }

std::optional<ExportSource> open_adapter_of(const ChatModelOptions& options) {
  if (!is_model_folder(options.source.run)) return open_export_source(options.source);
  if (!options.base.empty() || options.source.step || options.source.best)
    throw Error(Diagnostic("E0510", "a whole model has no base and no steps: " + quoted_path(options.source.run))
                    .help("leave out `--base`, `--step` and `--best`"));
  return std::nullopt;
}

// As given, in the words of the run: "shori-top-pg13" of runs/shori/top-pg13.
std::string name_of(const ChatModelOptions& options, const std::optional<ExportSource>& source) {
  const std::string run = source ? run_folder_of(*source) : "";
  const std::string folder = absolute_path(run.empty() ? options.source.run : run);
  const std::string parent = file_name(parent_path(folder));
  return run.empty() || parent.empty() ? file_name(folder) : concat(parent, "-", file_name(folder));
}

std::int64_t context_of(const ChatModelOptions& options, const HfModelConfig& config) {
  const std::int64_t most = config.max_position_embeddings;
  if (options.context == 0) return std::min(kDefaultContext, most);
  if (options.context <= most) return options.context;
  throw Error(Diagnostic("E0116", concat("`--context ", options.context, "`: the model was made for ", most, " tokens"))
                  .help(concat("--context ", most)));
}

DType activation_of(BaseType type) { return type == BaseType::kF32 ? DType::kF32 : DType::kBf16; }

// Made in this order, whether it is run or only counted.
struct Network {
  std::unique_ptr<LoraAdapter> adapter;
  std::unique_ptr<Mistral> mistral;
  std::unique_ptr<CachedModel> cached;

  Network(MistralWeights weights, const std::optional<LoraSettings>& lora, std::int64_t context, DeviceMemory* memory) {
    if (lora) adapter = std::make_unique<LoraAdapter>(weights.config, *lora, weights.activation, memory);
    mistral = std::make_unique<Mistral>(std::move(weights), adapter.get(), memory);
    cached = std::make_unique<CachedModel>(*mistral, context);
  }
};

// Memory of the device for a network. E0401 if there is not enough.
std::unique_ptr<DeviceMemory> reserve_memory(const HfModel& model, const ChatModelOptions& options,
                                             const std::optional<LoraSettings>& lora, std::int64_t context) {
  DeviceMemory plan = DeviceMemory::planning();
  const WeightFormat format =
      weight_format(model, activation_of(options.base_type), options.base_type == BaseType::kNf4);
  {
    const Network counted(allocate_weights(model.config(), format, &plan.device), lora, context, &plan);
  }
  const std::size_t device = plan.device.peak_bytes(), pinned = plan.pinned.peak_bytes();
  log_info(concat("memory of the GPU: ", format_bytes(device)));
  return std::make_unique<DeviceMemory>(DeviceMemory{{ArenaKind::kDevice, device}, {ArenaKind::kPinned, pinned}});
}

MistralWeights load_weights(const HfModel& model, const ChatModelOptions& options, int threads, DeviceMemory* memory) {
  Progress progress(5);
  LoadOptions load;
  load.activation = activation_of(options.base_type);
  load.quantize = options.base_type == BaseType::kNf4;
  load.threads = threads;
  load.arena = memory != nullptr ? &memory->device : nullptr;
  load.nf4_cache = load.quantize ? "auto" : "off";
  load.progress = [&progress](std::uint64_t done, std::uint64_t total) {
    progress.live(concat("loading the model: ", format_bytes(done), " of ", format_bytes(total)));
  };
  MistralWeights weights = load_mistral(model, load);
  progress.finish(concat("model loaded: ", format_bytes(weights.bytes())));
  return weights;
}

void check_base_type(const HfModel& model, const ChatModelOptions& options) {
  if (options.base_type == BaseType::kNf4 || !model.config().is_nf4) return;
  throw Error(Diagnostic("E0216", concat("`--base-type ", word_of(options.base_type),
                                         "` needs 16-bit weights, this base is NF4 already"))
                  .at(model.folder())
                  .help("`--base-type nf4`, or the folder of the 16-bit base"));
}

void check_base_of(const ExportSource& source, const std::string& folder, const std::string& fingerprint) {
  if (source.base_fingerprint().empty() || source.base_fingerprint() == fingerprint) return;
  throw Error(Diagnostic("E0805", "the adapter was trained on another base")
                  .at(folder)
                  .note(concat("base fingerprint ", fingerprint.substr(0, 8), ", the adapter was trained on ",
                               source.base_fingerprint().substr(0, 8)))
                  .help("name the folder of that base with `--base`"));
}

Tokenizer load_tokenizer(const std::string& folder, const HfModelConfig& config,
                         const std::optional<ExportSource>& source) {
  Tokenizer tokenizer = Tokenizer::load(join_path(folder, "tokenizer.model"), config.vocab_size);
  const std::string trained = source ? source->tokenizer_sha256() : "";
  if (!trained.empty() && trained != tokenizer.sha256())
    throw Error(Diagnostic("E0805", "the adapter was trained with another tokenizer.model")
                    .at(folder)
                    .help("name the folder of the base that it was trained on with `--base`"));
  return tokenizer;
}

std::optional<LoraSettings> lora_settings_of(const std::optional<ExportSource>& source) {
  if (!source) return std::nullopt;
  return LoraSettings{.rank = source->settings.rank,
                      .alpha = source->settings.alpha,
                      .targets = lora_targets(source->settings.target_modules)};
}

void fill_adapter(const ExportSource& source, LoraAdapter& adapter, const OpContext& ops) {
  const auto misfit = [&](const std::string& name) {
    return Error(Diagnostic("E0511", concat("`", name, "` does not fit the base")).at(source.file.path()));
  };
  if (source.tensors.size() != adapter.factors().size()) throw misfit(source.file.file);
  for (LoraFactor& factor : adapter.factors()) {
    const auto tensor = std::ranges::find(source.tensors, factor.name, &NamedArray::name);
    if (tensor == source.tensors.end()) throw misfit(factor.name);
    if (tensor->shape != std::vector{factor.value.host().rows(), factor.value.host().cols()}) throw misfit(factor.name);
    std::ranges::copy(tensor->values<float>(), factor.values().begin());
  }
  adapter.upload(ops);
}

}  // namespace

struct ChatModel::Loaded {
  std::unique_ptr<DeviceMemory> memory;  // null: the host's
  std::optional<Network> network;
};

ChatModel::ChatModel(std::unique_ptr<Loaded> loaded, Tokenizer tokenizer, std::string name)
    : loaded_(std::move(loaded)), tokenizer_(std::move(tokenizer)), name_(std::move(name)) {}
ChatModel::ChatModel(ChatModel&&) noexcept = default;
ChatModel::~ChatModel() = default;

LanguageModel& ChatModel::language_model() { return *loaded_->network->cached; }

ChatModel ChatModel::open(const ChatModelOptions& options) {
  const bool on_device = open_device_of(options);
  const int threads = options.threads > 0 ? options.threads : usable_cores();
  at::set_num_threads(threads);
  const std::optional<ExportSource> source = open_adapter_of(options);
  const std::string folder = source ? find_base_of(*source, options.base) : options.source.run;
  const HfModel model = HfModel::open(folder);
  check_base_type(model, options);
  const std::int64_t context = context_of(options, model.config());
  Tokenizer tokenizer = load_tokenizer(folder, model.config(), source);
  const std::optional<LoraSettings> lora = lora_settings_of(source);
  if (on_device) check_device_shape(model, lora);
  auto loaded = std::make_unique<Loaded>();
  if (on_device) loaded->memory = reserve_memory(model, options, lora, context);
  DeviceMemory* memory = loaded->memory.get();
  MistralWeights weights = load_weights(model, options, threads, memory);
  if (source) check_base_of(*source, folder, weights.fingerprint);
  loaded->network.emplace(std::move(weights), lora, context, memory);
  if (source) fill_adapter(*source, *loaded->network->adapter, loaded->network->mistral->ops());
  return ChatModel(std::move(loaded), std::move(tokenizer), name_of(options, source));
}

}  // namespace shori
