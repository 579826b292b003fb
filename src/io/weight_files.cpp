#include "src/io/weight_files.h"

#include <algorithm>
#include <optional>
#include <set>

#include "shori/io/limits.h"
#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/json.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr char kDownloadAgain[] = "download the file again";
constexpr std::size_t kListed = 8;

using Names = std::vector<std::string>;

bool is_letter_or_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// A plain file name ending in .safetensors: no folder, no "..", no leading dot. Only this check keeps a shard inside
// the model folder.
bool is_plain_shard_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || !name.ends_with(".safetensors")) return false;
  if (name.find("..") != std::string_view::npos || !is_letter_or_digit(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-'; });
}

void check_shard_name(const JsonValue& shard, const SourceLocation& location) {
  if (shard.is_string() && is_plain_shard_name(shard.text)) return;
  throw Error(Diagnostic("E0201", "shard name is not a plain file name: \"" + escape_for_log(shard.text) + "\"")
                  .at(location)
                  .note("such a name could lead out of the model folder, so no shard was opened")
                  .help("download the model from its publisher again"));
}

std::string list_of(const Names& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kListed; ++i)
    text += concat(i == 0 ? "" : ", ", escape_for_log(names[i]));
  return names.size() > kListed ? concat(text, " and ", names.size() - kListed, " more") : text;
}

// The files that are not there, or are links to nothing, as an interrupted download leaves them in a cache.
Names missing_files(const std::string& folder, const Names& names) {
  Names missing;
  for (const std::string& name : names)
    if (!leads_to_something(join_path(folder, name))) missing.push_back(name);
  return missing;
}

// Number and count of `model-00002-of-00003.safetensors`; nullopt for another name.
std::optional<std::pair<std::size_t, std::size_t>> shard_number(std::string_view name) {
  constexpr std::string_view kStart = "model-", kOf = "-of-", kEnd = ".safetensors";
  if (!name.starts_with(kStart) || !name.ends_with(kEnd)) return std::nullopt;
  const std::string_view numbers = name.substr(kStart.size(), name.size() - kStart.size() - kEnd.size());
  const std::size_t of = numbers.find(kOf);
  if (of == std::string_view::npos) return std::nullopt;
  const auto number = parse_number<std::size_t>(numbers.substr(0, of));
  const auto count = parse_number<std::size_t>(numbers.substr(of + kOf.size()));
  if (!number || !count) return std::nullopt;
  return std::pair(*number, *count);
}

// Shards without their index; the numbers in the names say which shards are missing, too.
[[noreturn]] void refuse_without_index(const std::string& folder, const Names& shards) {
  const std::size_t count = std::min<std::size_t>(shard_number(shards.front())->second, kMaxShards);
  std::vector<bool> there(count + 1);
  for (const std::string& shard : shards)
    if (const std::size_t number = shard_number(shard)->first; number <= count) there[number] = true;
  Names missing = {kIndexName};
  for (std::size_t number = 1; number <= count; ++number) {
    if (there[number]) continue;
    const auto padded = [](std::size_t value) {
      const std::string digits = concat(value);
      return digits.size() < 5 ? std::string(5 - digits.size(), '0') + digits : digits;
    };
    missing.push_back(concat("model-", padded(number), "-of-", padded(count), ".safetensors"));
  }
  Diagnostic problem("E0203", concat("shards without ", kIndexName));
  problem.at(folder).note(concat("found: ", list_of(shards)));
  if (missing.size() > 1) problem.note(concat("missing: ", list_of(missing)));
  throw Error(problem.help(download_help(folder, missing)));
}

[[noreturn]] void refuse_without_weights(const std::string& folder) {
  Names shards, others;
  std::string pickle;
  for (const std::string& name : list_directory(folder)) {
    if (shard_number(name)) shards.push_back(name);
    if (name.ends_with(".safetensors") || name.ends_with(".gguf")) others.push_back(name);
    for (const char* ending : {".bin", ".pt", ".pth", ".ckpt", ".pkl"})
      if (pickle.empty() && name.ends_with(ending)) pickle = name;
  }
  if (!shards.empty()) refuse_without_index(folder, shards);
  if (!others.empty())
    throw Error(Diagnostic("E0203", concat("no ", kSingleName, " and no ", kIndexName, " in ", folder))
                    .note(concat("found: ", list_of(others), ", which are not named as Hugging Face names weights"))
                    .help(download_help(folder, {kSingleName})));
  if (!pickle.empty())
    throw Error(Diagnostic("E0202", "found " + escape_for_log(pickle) + ", no *.safetensors")
                    .at(folder)
                    .note("pickle files can run code when they are loaded, so they are never read")
                    .help("download the safetensors version of the model"));
  throw Error(
      Diagnostic("E0203", concat("no ", kSingleName, " and no ", kIndexName, " in ", folder))
          .help(snapshot_id(folder).empty() ? "give the folder of a Hugging Face model" : download_help(folder, {})));
}

// model.safetensors.index.json: which shard holds which tensor.
WeightFiles read_index(const std::string& folder) {
  WeightFiles files;
  const std::string path = join_path(folder, kIndexName);
  files.index_json = read_whole_file(InputFile::open_in(folder, kIndexName, "E0203"), kMaxJsonFile, "E0214");
  const auto location = [&](std::size_t offset) { return location_of(path, files.index_json, offset); };
  JsonProblem problem;
  const auto root = parse_json(files.index_json, {.bytes = kMaxJsonFile, .depth = kMaxIndexDepth}, problem);
  if (!root) throw Error(Diagnostic("E0214", problem.message).at(location(problem.offset)).help(kDownloadAgain));
  const JsonValue* map = root->find("weight_map");
  if (!map || !map->is_object() || map->members.empty())
    throw Error(Diagnostic("E0204", "the index has no `weight_map`").at(location(0)).help(kDownloadAgain));
  for (const auto& [tensor, shard] : map->members) {
    check_shard_name(shard, location(shard.offset));
    files.weight_map[tensor] = shard.text;
  }
  const JsonValue* metadata = root->find("metadata");
  if (const JsonValue* total = metadata ? metadata->find("total_size") : nullptr) files.total_size = *total;
  std::set<std::string> names;
  for (const auto& [tensor, shard] : files.weight_map) names.insert(shard);
  if (names.size() > kMaxShards) throw Error(Diagnostic("E0204", concat("more than ", kMaxShards, " shards")).at(path));
  files.names = {names.begin(), names.end()};
  return files;
}

// There is a model.safetensors and an index. The index counts if that file is all it names.
WeightFiles choose_between(const std::string& folder) {
  const std::string ignored = concat(kIndexName, " in ", folder);
  WeightFiles files;
  try {
    files = read_index(folder);
  } catch (const Error& error) {
    log_warning(Diagnostic("W0202", concat(kSingleName, " is used, ", ignored, " cannot be read"))
                    .note(error.diagnostics().front().message)
                    .help(concat("delete the index: `rm ", shell_word(join_path(folder, kIndexName)), "`")));
    return {.names = {kSingleName}};
  }
  if (files.names == Names{kSingleName}) return files;
  if (missing_files(folder, files.names).empty())
    log_warning(Diagnostic("W0202", concat(kSingleName, " is used, and not the shards of ", ignored))
                    .note("transformers takes the same one when a folder has both")
                    .help(concat("delete the one that is not wanted: `rm ", shell_word(join_path(folder, kIndexName)),
                                 "`, or `rm ", shell_word(join_path(folder, kSingleName)), "`")));
  else
    log_info(concat(kSingleName, " is used: the shards of ", ignored, " are gone"));
  return {.names = {kSingleName}};
}

}  // namespace

void refuse_without_config(const std::string& folder) {
  const auto has = [&](const char* name) { return path_exists(join_path(folder, name)); };
  Diagnostic problem("E0203", concat(quoted_path(join_path(folder, "config.json")), " does not exist"));
  if (has("adapter_config.json")) {
    problem.note("the folder holds a PEFT adapter, not a model");
    problem.help("name the adapter with `init_from`, and its base with `base_model`");
  } else if (has("params.json")) {
    problem.note("params.json and consolidated files are Mistral's own form of the model");
    problem.help("use the files of the same model in Hugging Face's form: config.json and model*.safetensors");
  } else {
    problem.help(download_help(folder, {"config.json"}));
  }
  throw Error(problem);
}

void check_total_size(const std::string& folder, const WeightFiles& files, std::uint64_t bytes) {
  if (!files.total_size || files.total_size->as_unsigned() == bytes) return;
  log_warning(Diagnostic("W0201", concat("`metadata.total_size` is ", escape_for_log(files.total_size->text),
                                         ", the tensors have ", bytes, " bytes"))
                  .at(location_of(join_path(folder, kIndexName), files.index_json, files.total_size->offset)));
}

WeightFiles find_weight_files(const std::string& folder) {
  const bool index = path_exists(join_path(folder, kIndexName));
  if (path_exists(join_path(folder, kSingleName)))
    return index ? choose_between(folder) : WeightFiles{.names = {kSingleName}};
  if (!index) refuse_without_weights(folder);
  WeightFiles files = read_index(folder);
  const Names missing = missing_files(folder, files.names);
  if (missing.empty()) return files;
  throw Error(Diagnostic("E0203", concat(missing.size(), " of the ", files.names.size(), " files that ", kIndexName,
                                         " names ", missing.size() == 1 ? "is" : "are", " missing"))
                  .at(folder)
                  .note(concat("missing: ", list_of(missing)))
                  .help(download_help(folder, missing)));
}

}  // namespace shori
