#include "src/cli/data/inputs.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <utility>

#include "shori/config/load_config.h"
#include "shori/data/data_options.h"
#include "shori/io/hf_model.h"
#include "shori/util/byte_size.h"
#include "shori/util/file.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/threads.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"
#include "src/cli/choice.h"
#include "src/cli/path_option.h"

namespace shori {
namespace {

constexpr std::uint64_t kConfigBytes = 1u << 20;
constexpr std::int64_t kMaxSample = 1 << 20;  // the largest sequence_len of a config

// A YAML file is a config if its mapping has a key that configs have and conversations do not. Of a file that does not
// parse, a line that begins with such a key decides.
bool is_config(const std::string& path) {
  constexpr std::array<const char*, 4> keys = {"base_model", "datasets", "stages", "output_dir"};
  if (!(path.ends_with(".yaml") || path.ends_with(".yml")) || !path_exists(path) || is_directory(path)) return false;
  const InputFile file = InputFile::open(path, "E0108");
  if (file.size() > kConfigBytes) return false;
  const std::string text = read_whole_file(file, kConfigBytes, "E0111"), lines = "\n" + text;
  Diagnostics problems;
  const std::optional<YamlDocument> yaml = parse_yaml(path, text, YamlLimits{}, problems);
  return std::any_of(keys.begin(), keys.end(), [&](const char* key) {
    return yaml ? yaml->root.find(key) != nullptr : lines.find(concat("\n", key, ":")) != std::string::npos;
  });
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::string& path, std::optional<std::int64_t> vocab_size) {
  const std::string file = is_directory(path) ? join_path(path, "tokenizer.model") : path;
  return std::make_shared<const Tokenizer>(Tokenizer::load(file, vocab_size));
}

// Rows of the embedding, if the folder has a config.json.
std::optional<std::int64_t> vocab_of_model(const std::string& folder) {
  const std::string path = join_path(folder, "config.json");
  if (!path_exists(path)) return std::nullopt;
  return parse_model_config(read_whole_file(InputFile::open(path), kConfigBytes, "E0204"), path).vocab_size;
}

InputSet files_as_set(const InputArguments& arguments) {
  InputSet set;
  for (const std::string& path : arguments.paths) {
    DataEntry entry;
    entry.path = path;
    entry.resolved_path = absolute_path(path);
    entry.type = arguments.type;
    set.entries.push_back(std::move(entry));
  }
  set.options.sequence_len = kMaxSample;
  set.options.vocab_size = std::numeric_limits<std::int32_t>::max();
  return set;
}

InputSet stage_as_set(const StageConfig& stage) {
  InputSet set;
  set.stage = stage.name;
  set.config = stage.config;
  set.entries = stage.config.datasets;
  set.test_entries = stage.config.test_datasets;
  set.options = data_options(stage.config, std::numeric_limits<std::int32_t>::max());
  return set;
}

// The stages of a config. A missing base model is reported only by commands that need it.
std::vector<InputSet> config_as_sets(const std::string& path, bool model_needed, bool& model_found) {
  Diagnostics diagnostics, model_problems;
  LoadedConfig config = load_config(path, {}, diagnostics);
  diagnostics.throw_if_errors();
  find_base_models(config, model_problems);
  if (model_needed) model_problems.throw_if_errors();
  model_found = !model_problems.has_errors();
  std::vector<InputSet> sets;
  for (const StageConfig& stage : config.stages) sets.push_back(stage_as_set(stage));
  return sets;
}

[[noreturn]] void refuse_without_tokenizer() {
  throw Error(Diagnostic("E0218", "no tokenizer given")
                  .note("tokens are counted with the tokenizer.model of the model that will be trained")
                  .help("--tokenizer models/Mistral-7B-Instruct-v0.2, or set the variable SHORI_TOKENIZER"));
}

}  // namespace

void add_type_option(CLI::App& command, std::string& type) {
  command.add_option("--type", type, "type of the data (default: by the extension of each file)")
      ->type_name(word_choices(kWords<DataType>));
}

void add_input_arguments(CLI::App& command, InputArguments& arguments) {
  as_path(command.add_option("PATH", arguments.paths, "files, folders or globs; or one training config"))->required();
  add_type_option(command, arguments.type);
  as_path(command.add_option("--tokenizer", arguments.tokenizer,
                             "tokenizer.model or model folder (default: that of the config, else $SHORI_TOKENIZER)"));
}

std::shared_ptr<const Tokenizer> open_tokenizer(const std::string& option) {
  if (!option.empty()) return load_tokenizer(option, std::nullopt);
  const char* path = std::getenv("SHORI_TOKENIZER");
  if (path == nullptr || *path == '\0') return nullptr;
  return load_tokenizer(expanded_path(path, "the variable `SHORI_TOKENIZER`"), std::nullopt);
}

std::vector<InputSet> open_inputs(const InputArguments& arguments, bool tokenizer_needed) {
  const bool named = !arguments.tokenizer.empty();
  const auto fallback = open_tokenizer(arguments.tokenizer);
  const bool config = arguments.paths.size() == 1 && is_config(arguments.paths.front());
  bool model_found = false;
  std::vector<InputSet> sets;
  if (config) {
    sets = config_as_sets(arguments.paths.front(), tokenizer_needed && fallback == nullptr, model_found);
  } else {
    sets.push_back(files_as_set(arguments));
  }
  for (InputSet& set : sets) {
    const std::string model = model_found ? set.config.base_model : "";
    const std::optional<std::int64_t> vocab = model.empty() ? std::nullopt : vocab_of_model(model);
    const bool has_tokenizer = !model.empty() && path_exists(join_path(model, "tokenizer.model"));
    set.tokenizer = named || !has_tokenizer ? fallback : load_tokenizer(model, vocab);
    if (set.tokenizer == nullptr && tokenizer_needed && !model.empty())
      load_tokenizer(model, vocab);  // says what is missing
    if (set.tokenizer == nullptr && tokenizer_needed) refuse_without_tokenizer();
    set.options.parse_only = set.tokenizer == nullptr;
    if (set.tokenizer != nullptr) set.options.vocab_size = set.tokenizer->vocab_size();
    if (vocab) set.options.vocab_size = std::max(*vocab, set.options.vocab_size);
    set.options.threads = static_cast<int>(set.config.threads.value_or(usable_cores()));
  }
  return sets;
}

Dataset load_with_progress(const InputSet& set, const std::function<void(const ReadConversation&)>& observe,
                           Diagnostics& diagnostics) {
  Progress progress(2);
  DataOptions options = set.options;
  options.observe = observe;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.live(concat("reading ", format_bytes(done), " of ", format_bytes(total)));
  };
  return load_datasets(set.entries, set.test_entries, options, set.tokenizer.get(), diagnostics);
}

}  // namespace shori
