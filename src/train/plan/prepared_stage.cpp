#include "shori/train/prepared_stage.h"

#include <algorithm>
#include <limits>
#include <map>

#include "shori/data/data_options.h"
#include "shori/data/pack_plan.h"
#include "shori/train/checkpoint.h"
#include "shori/util/byte_size.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/math.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "src/train/plan/data_changes.h"
#include "src/train/plan/run_length.h"
#include "src/train/plan/sample_prompts.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

// One file per stage in .prepared/ beside the run folder or the folder of the recipe. The hash keeps stages with the same
// name apart; whether the file fits the data is part of its content.
std::string prepared_path(const LoadedConfig& loaded, const TrainConfig& config) {
  const std::string folder =
      config.dataset_prepared_path.empty()
          ? join_path(parent_path(loaded.is_recipe ? loaded.output_dir : config.output_dir), ".prepared")
          : config.dataset_prepared_path;
  const std::string output = absolute_path(config.output_dir);
  return join_path(folder, concat(file_name(output), "-", sha256_hex(output).substr(0, 8), ".bin"));
}

bool needs_tokenizer(const TrainConfig& config) {
  const auto needs = [](const DataEntry& entry) { return entry.type != "tokenized"; };
  return has_samples(config) || std::any_of(config.datasets.begin(), config.datasets.end(), needs) ||
         std::any_of(config.test_datasets.begin(), config.test_datasets.end(), needs);
}

// Rows that no text reaches belong to added tokens, or pad the vocabulary. Hundreds of them are a reason to look: Mistral 7B
// v0.3 has 768 rows more than v0.1, and other pieces.
void report_unused_rows(const std::string& folder, std::int64_t rows, std::int64_t pieces) {
  constexpr std::int64_t kUsual = 512;
  if (rows <= pieces) return;
  const std::string text =
      concat("rows ", pieces, " - ", rows - 1,
             " of the embedding have no piece in tokenizer.model: no text reaches them, they are kept");
  if (rows - pieces < kUsual) return log_info(text);
  log_warning(Diagnostic("W0203", text)
                  .at(join_path(folder, "tokenizer.model"))
                  .note("added tokens and padding are rarely that many")
                  .help("make sure that tokenizer.model belongs to these weights"));
}

// Model and tokenizer are tried both, so that one start names the problems of both. nullptr after a problem.
std::shared_ptr<BaseModel> open_base(const std::string& folder, bool with_tokenizer, Diagnostics& diagnostics) {
  auto base = std::make_shared<BaseModel>();
  base->folder = folder;
  bool good = true;
  const auto attempt = [&](const auto& open) {
    try {
      open();
    } catch (const Error& error) {
      good = false;
      diagnostics.add(error);
    }
  };
  attempt([&] { base->model = std::make_unique<HfModel>(HfModel::open(folder)); });
  const std::string path = join_path(folder, "tokenizer.model");
  // Of a folder that is no model at all nothing else is missing.
  const bool is_adapter =
      path_exists(join_path(folder, "adapter_config.json")) && !path_exists(join_path(folder, "config.json"));
  if ((with_tokenizer && !is_adapter) || path_exists(path))
    attempt([&] {
      const std::optional rows = base->model ? std::optional(base->model->config().vocab_size) : std::nullopt;
      base->tokenizer = std::make_unique<Tokenizer>(Tokenizer::load(path, rows));
      if (rows) report_unused_rows(folder, *rows, base->tokenizer->vocab_size());
    });
  return good ? base : nullptr;
}

// Without the base's tokenizer, or with a config that has mistakes: whether the files exist and have the right form.
void check_data_form(const TrainConfig& config, Diagnostics& diagnostics) {
  if (config.datasets.empty()) return;
  DataOptions options;
  options.parse_only = true;
  options.sequence_len = options.vocab_size = std::numeric_limits<std::int32_t>::max();
  options.threads = static_cast<int>(usable_cores());
  try {
    (void)load_datasets(config.datasets, config.test_datasets, options, nullptr, diagnostics);
  } catch (const Error& error) {
    diagnostics.add(error);
  }
}

// Opens each distinct base folder once. A folder that does not exist has been reported.
std::map<std::string, std::shared_ptr<BaseModel>> open_bases(const LoadedConfig& config, Diagnostics& diagnostics) {
  std::map<std::string, bool> wanted;
  for (const StageConfig& stage : config.stages) wanted[stage.config.base_model] |= needs_tokenizer(stage.config);
  std::map<std::string, std::shared_ptr<BaseModel>> bases;
  for (const auto& [folder, with_tokenizer] : wanted) {
    if (!is_directory(folder)) continue;
    if (auto base = open_base(folder, with_tokenizer, diagnostics)) bases[folder] = std::move(base);
  }
  return bases;
}

// Of the run in the folder. What cannot be read is reported when the state of the stage is found.
std::vector<RecordedFile> files_of_run(const RunFolder& folder) {
  try {
    if (!is_directory(folder.path())) return {};
    auto record = folder.read_done();
    if (!record) record = record_to_resume(folder);
    return record ? recorded_files(*record) : std::vector<RecordedFile>();
  } catch (const Error&) {
    return {};
  }
}

// The plan, and the keys that follow from it: the epochs of a run that repeats them, and shares of the run as steps.
void make_plan(PreparedStage& prepared) {
  PlanOptions options = plan_options(prepared.config);
  options.repeat_epochs = prepared.repeat_epochs;
  prepared.plan = make_pack_plan(sample_costs(prepared.data.train), options);
  if (prepared.repeat_epochs) {
    prepared.config.num_epochs = prepared.plan.options.num_epochs;
    prepared.origins["num_epochs"].kind = ValueOrigin::Kind::kDerived;
  }
  const auto steps = static_cast<std::int64_t>(prepared.total_steps());
  const auto first_epoch = prepared.plan.last_step_of_epoch(0);
  resolve_shares(prepared, steps, first_epoch ? static_cast<std::int64_t>(*first_epoch) : steps);
  prepared.config_hash = shori::config_hash(prepared.config);
}

void plan_stage(PreparedStage& prepared, Diagnostics& diagnostics) {
  const TrainConfig& config = prepared.config;
  if (prepared.data.train.empty()) {
    diagnostics.add(Diagnostic("E0306", concat("stage `", prepared.name, "` has no sample to train on"))
                        .at(config.datasets.front().location)
                        .help("check `datasets`, `val_set_size`, `skip_samples` and `roles_to_train`"));
    return;
  }
  make_plan(prepared);
  check_run_length(prepared, diagnostics);
  if (prepared.plan.steps.empty())
    diagnostics.add(Diagnostic("E0115", concat("stage `", prepared.name, "` trains 0 steps"))
                        .at(config.datasets.front().location)
                        .note(concat(prepared.data.train.size(), " samples, `num_epochs` ", config.num_epochs))
                        .help("`num_epochs: 1` or more, no `max_steps: 0`"));
  prepared.plan_bytes = serialize_pack_plan(prepared.plan);
  prepared.plan_sha256 = sha256_hex(prepared.plan_bytes);
  prepared.ledger = build_ledger(prepared.data, prepared.plan);
}

// E0404 if the program does not have the device that the config names.
void check_device_choice(const StageConfig& stage, Diagnostics& diagnostics) {
  const DeviceChoice choice = stage.config.device;
  const bool named = choice == DeviceChoice::kCuda || choice == DeviceChoice::kEmulated;
  if (!named || word_of(choice) == device_backend()) return;
  Diagnostic diagnostic("E0404", choice == DeviceChoice::kCuda
                                     ? "`device: cuda`: this program was built without CUDA"
                                     : "`device: emulated`: only a program of the tests has this device");
  diagnostics.add(diagnostic.at(stage.origin("device").location)
                      .help("`device: cpu` (or `auto`) runs tiny models; a build with CUDA trains the real ones"));
}

// E0216 if 16-bit weights are wanted and the base has none.
void check_base_precision(const StageConfig& stage, const HfModel& base, Diagnostics& diagnostics) {
  if (stage.config.load_in_4bit || !base.config().is_nf4) return;
  diagnostics.add(Diagnostic("E0216", "`load_in_4bit: false` needs 16-bit weights, this base is NF4 already")
                      .at(stage.origin("base_model").location)
                      .note(base.folder())
                      .help("write `load_in_4bit: true` and `adapter: qlora`, or name the 16-bit base"));
}

}  // namespace

PreparedStage::PreparedStage(StageConfig stage)
    : StageConfig(std::move(stage)),
      folder(run_folder_path(config.output_dir)),
      config_hash(shori::config_hash(config)) {}

std::uint64_t PreparedStage::log_interval() const {
  return std::max<std::uint64_t>(1, ceil_div<std::uint64_t>(total_steps(), 1000));
}

std::vector<PreparedStage> prepare_stages(const LoadedConfig& config, Diagnostics& diagnostics) {
  std::vector<PreparedStage> stages;
  for (const StageConfig& stage : config.stages) check_device_choice(stage, diagnostics);
  check_folders(config, diagnostics);
  const auto bases = open_bases(config, diagnostics);
  for (const StageConfig& stage : config.stages) {
    const auto base = bases.find(stage.config.base_model);
    if (base == bases.end()) {
      check_data_form(stage.config, diagnostics);
      continue;
    }
    check_base_precision(stage, *base->second->model, diagnostics);
    PreparedStage prepared(stage);
    prepared.base = base->second;
    DataOptions options = data_options(stage.config, base->second->model->config().vocab_size);
    options.prepared_path = prepared_path(config, stage.config);
    options.recorded_files = files_of_run(prepared.folder);
    Progress progress(2);
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
      progress.update(
          concat("reading data of stage ", stage.name, ": ", format_bytes(done), " of ", format_bytes(total)));
    };
    if (stage_device(stage.config) == Device::kCuda) check_device_support(prepared, diagnostics);
    const std::size_t errors_before = diagnostics.error_count();
    prepared.data = load_datasets(stage.config.datasets, stage.config.test_datasets, options,
                                  base->second->tokenizer.get(), diagnostics);
    if (diagnostics.error_count() == errors_before) plan_stage(prepared, diagnostics);
    if (diagnostics.error_count() == errors_before)
      prepared.sample_prompts = read_sample_prompts(prepared, diagnostics);
    stages.push_back(std::move(prepared));
  }
  return stages;
}

void check_stage_inputs(const LoadedConfig& config, Diagnostics& diagnostics) {
  for (const StageConfig& stage : config.stages) check_device_choice(stage, diagnostics);
  (void)open_bases(config, diagnostics);
  for (const StageConfig& stage : config.stages) check_data_form(stage.config, diagnostics);
}

void check_devices(const LoadedConfig& config, Diagnostics& diagnostics) {
  const auto needs_device = [](const StageConfig& stage) {
    const DeviceChoice choice = stage.config.device;
    const bool is_ours = choice == DeviceChoice::kAuto || word_of(choice) == device_backend();
    return is_ours && stage_device(stage.config) == Device::kCuda;
  };
  const auto stage = std::ranges::find_if(config.stages, needs_device);
  if (stage == config.stages.end()) return;
  try {
    (void)open_device();
  } catch (const Error& error) {
    diagnostics.add(error);
  }
}

}  // namespace shori
