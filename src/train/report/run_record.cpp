#include "src/train/report/run_record.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <span>

#include "shori/data/pack_plan.h"
#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// The last steps, by which the time of one is judged.
std::span<const TimingRecord> recent(const RunRecord& record) {
  return std::span(record.timings).last(std::min<std::size_t>(20, record.timings.size()));
}

double number_in(const JsonValue& line, std::string_view key) {
  const JsonValue* value = line.find(key);
  return value ? value->as_double().value_or(0) : 0;
}

std::int64_t count_in(const JsonValue& line, std::string_view key) {
  const JsonValue* value = line.find(key);
  return value ? value->as_integer().value_or(0) : 0;
}

std::uint64_t step_in(const JsonValue& line) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, count_in(line, "step")));
}

std::string text_in(const JsonValue& line, std::string_view key) {
  const JsonValue* value = line.find(key);
  return value && !value->is_null() ? value->text : std::string();
}

std::vector<std::pair<std::string, double>> numbers_in(const JsonValue& line, std::string_view key) {
  std::vector<std::pair<std::string, double>> numbers;
  const JsonValue* object = line.find(key);
  if (!object || !object->is_object()) return numbers;
  for (const auto& [name, value] : object->members)
    if (const auto number = value.as_double()) numbers.emplace_back(name, *number);
  return numbers;
}

template <typename Use>
void for_each_line(const std::string& path, const Use& use) {
  if (is_directory(path)) return;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    JsonProblem problem;
    const auto value = parse_json(line, {}, problem);
    if (value && value->is_object()) use(*value);
  }
}

void add_line(const JsonValue& line, RunRecord& record) {
  const std::string type = text_in(line, "type");
  const std::uint64_t step = step_in(line);
  if (type == "step") {
    record.steps.push_back({step, number_in(line, "epoch"), number_in(line, "loss"), number_in(line, "grad_norm"),
                            number_in(line, "learning_rate"), count_in(line, "tokens"), count_in(line, "targets")});
  } else if (type == "eval") {
    record.evals.push_back({step, text_in(line, "dataset"), number_in(line, "loss"), number_in(line, "perplexity"),
                            numbers_in(line, "loss_by_role"), numbers_in(line, "loss_by_category")});
  } else if (type == "sample") {
    record.samples.push_back({step, text_in(line, "prompt"), text_in(line, "preset"), text_in(line, "text")});
  } else if (type == "end") {
    record.adapter_sha256 = text_in(line, "adapter_sha256");
  }
}

std::uint64_t planned_steps(const std::string& path) {
  char head[kPackPlanHeadBytes] = {};
  std::ifstream in(path, std::ios::binary);
  in.read(head, sizeof head);
  return planned_steps_of({head, static_cast<std::size_t>(in.gcount())}).value_or(0);
}

void read_timings(const std::string& path, RunRecord& record) {
  std::map<std::uint64_t, TimingRecord> by_step;
  for_each_line(path, [&](const JsonValue& line) {
    const double trained = number_in(line, "seconds"), rate = number_in(line, "tokens_per_second");
    TimingRecord& timing = by_step[step_in(line)];
    timing = {step_in(line), trained + number_in(line, "checkpoint_seconds"), rate, trained * rate};
    timing.memory_peak_bytes = count_in(line, "memory_peak_bytes");
    timing.gpu_memory_bytes = count_in(line, "gpu_memory_bytes");
    timing.gpu_memory_peak_bytes = count_in(line, "gpu_memory_peak_bytes");
    timing.share_of_peak = number_in(line, "share_of_peak");
  });
  for (const auto& [step, timing] : by_step) record.timings.push_back(timing);
}

std::string adapter_of(const std::string& folder) {
  const auto done = RunFolder(folder).read_done();
  const JsonValue* files = done ? done->find("adapter") : nullptr;
  return files ? text_in(*files, "adapter_model.safetensors") : "";
}

std::string parent_of(const std::string& folder) {
  const auto run = RunFolder(folder).read_run();
  return run ? text_in(*run, "parent") : "";
}

// By names first, then each stage after the one whose adapter it began from.
std::vector<std::string> in_order(std::vector<std::string> folders) {
  std::vector<std::string> ordered;
  std::vector<std::string> adapters;
  for (const std::string& folder : folders) adapters.push_back(adapter_of(folder));
  while (!folders.empty()) {
    const auto comes_first = [&](const std::string& folder) {
      const std::string parent = parent_of(folder);
      return parent.empty() || std::ranges::find(adapters, parent) == adapters.end();
    };
    auto next = std::ranges::find_if(folders, comes_first);
    if (next == folders.end()) next = folders.begin();
    std::erase(adapters, adapter_of(*next));
    ordered.push_back(*next);
    folders.erase(next);
  }
  return ordered;
}

}  // namespace

std::uint64_t RunRecord::last_step() const {
  std::uint64_t last = steps.empty() ? 0 : steps.back().step;
  return done ? std::max(last, step_in(*done)) : last;
}

std::map<std::string, std::vector<const EvalRecord*>> RunRecord::evals_by_dataset() const {
  std::map<std::string, std::vector<const EvalRecord*>> sets;
  for (const EvalRecord& eval : evals) sets[eval.dataset].push_back(&eval);
  return sets;
}

std::int64_t RunRecord::tokens() const {
  std::int64_t sum = 0;
  for (const StepRecord& step : steps) sum += step.tokens;
  return sum;
}

double RunRecord::seconds() const {
  double sum = 0;
  for (const TimingRecord& timing : timings) sum += timing.seconds;
  return sum;
}

std::int64_t RunRecord::memory_peak_bytes() const {
  std::int64_t process = 0, gpu = 0;
  for (const TimingRecord& timing : timings) {
    process = std::max(process, timing.memory_peak_bytes);
    gpu = std::max(gpu, timing.gpu_memory_bytes);
  }
  return gpu > 0 ? gpu : process;
}

const EvalRecord* RunRecord::best_evaluation() const {
  const auto best = std::ranges::min_element(evals, {}, &EvalRecord::loss);
  return best == evals.end() ? nullptr : &*best;
}

std::string RunRecord::loss_span() const {
  return steps.empty() ? "none" : concat(loss_text(steps.front().loss), " to ", loss_text(steps.back().loss));
}

std::string loss_text(double loss) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", loss);
  return text;
}

double RunRecord::seconds_per_step() const {
  double sum = 0;
  for (const TimingRecord& timing : recent(*this)) sum += timing.seconds;
  return timings.empty() ? 0 : sum / static_cast<double>(recent(*this).size());
}

double RunRecord::tokens_per_second() const {
  double seconds = 0, tokens = 0;
  for (const TimingRecord& timing : recent(*this)) {
    seconds += timing.seconds;
    tokens += timing.tokens;
  }
  return seconds > 0 ? tokens / seconds : 0;
}

std::optional<double> seconds_per_token_of(const std::string& folder) {
  RunRecord record;
  read_timings(RunFolder(folder).file("timing.jsonl"), record);
  const double rate = record.tokens_per_second();
  return rate > 0 ? std::optional(1 / rate) : std::nullopt;
}

RunRecord read_run_record(const std::string& folder) {
  RunRecord record;
  const RunFolder files(folder);
  record.folder = folder;
  record.run = files.read_run();
  record.done = files.read_done();
  record.stage = record.run ? text_in(*record.run, "stage") : "";
  if (record.stage.empty()) record.stage = file_name(absolute_path(folder));
  record.total_steps = planned_steps(files.file("pack_plan.bin"));
  for_each_line(files.file("metrics.jsonl"), [&](const JsonValue& line) { add_line(line, record); });
  read_timings(files.file("timing.jsonl"), record);
  return record;
}

std::vector<std::string> run_folders_in(const std::string& path) {
  if (is_run_folder(path)) return {path};
  std::vector<std::string> folders = stage_folders_in(path);
  if (folders.empty())
    throw Error(Diagnostic("E0510", concat("no run in ", quoted_path(path)))
                    .note("neither the folder nor one in it has a run.json")
                    .help("name the `output_dir` of a config, or the folder of one of its stages"));
  return in_order(std::move(folders));
}

}  // namespace shori
