#include "src/train/files/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <numeric>
#include <optional>

#include "shori/config/config_text.h"
#include "shori/util/error.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "src/train/files/io_policy.h"

namespace shori {
namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.", kWriter = ".shori.";

double wall_clock() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The seconds in the name of one of our files; nullopt for any other name.
std::optional<std::uint64_t> seconds_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || name.find(kWriter) == std::string_view::npos) return std::nullopt;
  const char *begin = name.data() + kPrefix.size(), *end = name.data() + name.find(kWriter);
  std::uint64_t seconds = 0;
  const auto result = std::from_chars(begin, end, seconds);
  return result.ec == std::errc() && result.ptr == end ? std::optional(seconds) : std::nullopt;
}

std::string events_folder(const std::string& run_folder) { return join_path(run_folder, "events"); }

std::vector<std::string> event_files(const std::string& folder) {
  std::vector<std::string> names;
  if (!is_directory(folder) || is_symlink(folder)) return names;
  for (const std::string& name : list_directory(folder))
    if (seconds_of(name)) names.push_back(name);
  return names;
}

std::string new_name(const std::string& folder) {
  auto seconds = static_cast<std::uint64_t>(wall_clock());
  for (const std::string& name : event_files(folder)) seconds = std::max(seconds, *seconds_of(name) + 1);
  std::string digits = concat(seconds);
  if (digits.size() < 10) digits.insert(0, 10 - digits.size(), '0');
  return concat(kPrefix, digits, kWriter, getpid(), ".0");
}

std::optional<JsonValue> parse_line(std::string_view line) {
  JsonProblem problem;
  auto value = parse_json(line, {}, problem);
  return value && value->is_object() ? std::move(value) : std::nullopt;
}

std::string_view text_of(const JsonValue& line, std::string_view key) {
  const JsonValue* value = line.find(key);
  return value && value->is_string() ? std::string_view(value->text) : std::string_view();
}

std::uint64_t step_of(const JsonValue& line) {
  const JsonValue* step = line.find("step");
  return step ? step->as_unsigned().value_or(0) : 0;
}

bool is_true(const JsonValue* value) { return value && value->kind == JsonValue::Kind::kBool && value->boolean; }

// Equal texts or numbers; nothing equals a value that is absent.
bool same_value(const JsonValue* a, const JsonValue* b) {
  return a && b && !a->is_null() && a->kind == b->kind && a->text == b->text;
}

}  // namespace

std::map<std::string, HyperParameter> hyperparameters(const TrainConfig& config) {
  std::map<std::string, HyperParameter> values;
  const auto json = parse_line(canonical_config(config, ConfigScope::kPortable));
  SHORI_CHECK(json, "a config is a JSON object");
  for (const auto& [key, value] : json->members) {
    if (value.kind == JsonValue::Kind::kBool) values[key] = value.boolean;
    if (value.kind == JsonValue::Kind::kNumber) values[key] = value.as_double().value_or(0);
    if (!value.is_string()) continue;
    const auto real = double_from_bits_hex(value.text);
    values[key] = real ? HyperParameter(*real) : HyperParameter(value.text);
  }
  return values;
}

EventFile::EventFile(const std::string& run_folder, const TrainConfig& config) : folder_(events_folder(run_folder)) {
  make_directories(folder_);
  name_ = new_name(folder_);
  const FileDescriptor directory = open_directory(folder_);
  fd_ = FileDescriptor(
      ::openat(directory.get(), name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd_.valid())
    throw Error(
        Diagnostic("E0513", concat("cannot write ", quoted_path(join_path(folder_, name_)), ": ", error_text(errno))));
  time_.wall_time = wall_clock();
  pending_ = version_record(time_.wall_time);
  hyperparameters_ = hyperparameters_record(time_.wall_time, hyperparameters(config));
}

EventFile EventFile::create(const std::string& run_folder, const TrainConfig& config) {
  const std::string folder = events_folder(run_folder);
  for (const std::string& name : event_files(folder)) (void)::unlink(join_path(folder, name).c_str());
  EventFile file(run_folder, config);
  file.pending_ += file.hyperparameters_;
  file.write();
  return file;
}

EventFile EventFile::resume(const std::string& run_folder, const TrainConfig& config, std::uint64_t step) {
  const bool is_first = event_files(events_folder(run_folder)).empty();
  EventFile file(run_folder, config);
  file.time_.step = step + 1;
  file.pending_ += session_start_record(file.time_);
  if (is_first) {
    file.pending_ += file.hyperparameters_;
    std::ifstream metrics(join_path(run_folder, "metrics.jsonl"));
    for (std::string line; std::getline(metrics, line);) file.add_metrics(line);
  }
  file.write();
  return file;
}

void EventFile::add_scalar(const JsonValue& line, std::string_view key, std::string_view tag) {
  const JsonValue* value = line.find(key);
  if (const auto number = value ? value->as_double() : std::nullopt) pending_ += scalar_record(time_, tag, *number);
}

void EventFile::add_step(const JsonValue& line) {
  for (const std::string_view key : {"loss", "grad_norm", "learning_rate", "epoch", "tokens", "update_max"})
    add_scalar(line, key, concat("train/", key));
}

void EventFile::add_eval(const JsonValue& line) {
  const std::string tag = concat("eval/", text_of(line, "dataset"), "/");
  add_scalar(line, "loss", tag + "loss");
  add_scalar(line, "perplexity", tag + "perplexity");
  const JsonValue* roles = line.find("loss_by_role");
  if (!roles || !roles->is_object()) return;
  for (const auto& [role, loss] : roles->members)
    if (const auto number = loss.as_double()) pending_ += scalar_record(time_, concat(tag, "loss_", role), *number);
}

void EventFile::add_sample(const JsonValue& line) {
  sample_step_ = time_.step;
  const auto tag_part = [&line](std::string_view key) {
    const JsonValue* value = line.find(key);
    return value ? value->text : std::string();
  };
  pending_ +=
      text_record(time_, concat("sample/", tag_part("prompt"), "/", tag_part("preset")), fenced(text_of(line, "text")));
  sample_values_["sample/stop_rate"].push_back(text_of(line, "stop") == "block_end" ? 1 : 0);
  sample_values_["sample/hint_match_rate"].push_back(same_value(line.find("bucket"), line.find("hint")) ? 1 : 0);
  sample_values_["sample/impersonation_rate"].push_back(is_true(line.find("impersonated")) ? 1 : 0);
  const JsonValue* repetition = line.find("repetition");
  if (const auto number = repetition ? repetition->as_double() : std::nullopt)
    sample_values_["sample/repetition"].push_back(*number);
}

void EventFile::end_samples() {
  for (const auto& [tag, values] : sample_values_) {
    const double sum = std::accumulate(values.begin(), values.end(), 0.0);
    pending_ += scalar_record({time_.wall_time, sample_step_}, tag, sum / static_cast<double>(values.size()));
  }
  sample_values_.clear();
}

void EventFile::add_metrics(std::string_view line) {
  const auto json = parse_line(line);
  if (!json) return;
  const std::string_view type = text_of(*json, "type");
  if (type != "sample" || step_of(*json) != sample_step_) end_samples();
  time_ = {wall_clock(), step_of(*json)};
  if (type == "step") add_step(*json);
  if (type == "eval") add_eval(*json);
  if (type == "sample") add_sample(*json);
}

void EventFile::add_timing(std::string_view line) {
  const auto json = parse_line(line);
  if (!json) return;
  end_samples();
  time_ = {wall_clock(), step_of(*json)};
  add_scalar(*json, "tokens_per_second", "speed/tokens_per_second");
  add_scalar(*json, "share_of_peak", "speed/share_of_peak");
  add_scalar(*json, "memory_peak_bytes", "memory/peak_bytes");
}

void EventFile::write() {
  end_samples();
  if (pending_.empty()) return;
  const IoTask task{join_path("events", name_), folder_, pending_.size(), "the last saved step is safe"};
  const auto attempt = [&] {
    if (::lseek(fd_.get(), static_cast<off_t>(bytes_), SEEK_SET) < 0) throw IoFailure{"lseek", errno};
    if (const IoResult result = write_all(fd_.get(), pending_.data(), pending_.size()); result.error)
      throw IoFailure{"write", result.error};
  };
  run_io_task(task, attempt, [&] { (void)!::ftruncate(fd_.get(), static_cast<off_t>(bytes_)); });
  bytes_ += pending_.size();
  pending_.clear();
}

}  // namespace shori
