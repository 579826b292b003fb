#include "src/train/screen/start_screen.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include "shori/config/config_text.h"
#include "shori/train/memory_plan.h"
#include "shori/train/run_identity.h"
#include "shori/util/build_info.h"
#include "shori/util/byte_size.h"
#include "shori/util/command.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_summary.h"
#include "src/train/screen/log_lines.h"

namespace shori {
namespace {

constexpr std::size_t kWidth = 79, kMostRows = 6;

// "key: value" of each setting that was chosen; other lines have some of them.
std::vector<std::string> settings_of(const PreparedStage& stage) {
  constexpr std::string_view kShownElsewhere[] = {"name",    "base_model", "output_dir",
                                                  "adapter", "lora_r",     "lora_alpha"};
  std::vector<std::string> settings;
  for (const auto& [key, value] : chosen_settings(stage))
    if (std::ranges::find(kShownElsewhere, key) == std::end(kShownElsewhere))
      settings.push_back(escape_for_log(concat(key, ": ", value), 60));
  return settings;
}

// Rows of at most kWidth columns; what does not fit is counted.
void show_settings(const std::vector<std::string>& settings) {
  std::string row;
  std::size_t rows = 0, shown = 0;
  for (const std::string& setting : settings) {
    if (!row.empty() && 11 + count_code_points(row) + 2 + count_code_points(setting) > kWidth) {
      log_screen(concat(rows == 0 ? "settings   " : "           ", row));
      row.clear();
      if (++rows == kMostRows) break;
    }
    row += concat(row.empty() ? "" : ", ", setting);
    ++shown;
  }
  if (!row.empty()) log_screen(concat(rows == 0 ? "settings   " : "           ", row));
  if (shown < settings.size()) log_screen(concat("           and ", settings.size() - shown, " more"));
}

// "linears 3.9 GiB, saved activations 5.1 GiB, other 1.2 GiB": the largest parts of a plan that fit a row, by the words
// before the details.
std::string largest_parts(const MemoryPlan& plan) {
  constexpr std::size_t kOther = 18;  // ", other 1023.9 MiB"
  std::map<std::string_view, std::size_t> bytes_of;
  for (const DeviceArena::Line& line : plan.lines) {
    const std::string_view name = line.category;
    bytes_of[trim(name.substr(0, name.find_first_of(":,(")))] += line.bytes;
  }
  std::vector<std::pair<std::string_view, std::size_t>> parts(bytes_of.begin(), bytes_of.end());
  std::ranges::stable_sort(parts, std::ranges::greater(), &std::pair<std::string_view, std::size_t>::second);
  std::size_t rest = 0;
  std::string text;
  for (const auto& [name, bytes] : parts) {
    const std::string more = concat(text, text.empty() ? "" : ", ", name, " ", format_bytes(bytes));
    const bool fits = rest == 0 && 11 + count_code_points(more) + kOther <= kWidth;
    if (fits) text = more;
    rest += fits ? 0 : bytes;
  }
  return rest == 0 ? text : concat(text, ", other ", format_bytes(rest));
}

bool is_open(const PreparedStage& stage) { return stage.state != StageState::kDone; }

}  // namespace

void show_start(const std::vector<PreparedStage>& stages) {
  const PreparedStage& first = stages.front();
  log_screen(concat("shori-train ", version()));
  log_screen(concat("base       ", escape_for_log(base_model_name(*first.base), 60)));
  log_screen(concat("adapter    ", word_of(first.config.adapter), ", rank ", first.config.lora_r, ", alpha ",
                    first.config.lora_alpha));
  show_settings(settings_of(first));
  if (stages.size() > 1)
    log_screen(concat("           (stage ", escape_for_log(first.name), "; each run folder has its resolved.yaml)"));
  log_screen("");
}

void show_memory(std::span<PreparedStage* const> stages, std::string_view device, std::size_t available) {
  const PreparedStage* most = *std::ranges::max_element(
      stages, {}, [](const PreparedStage* stage) { return stage->planned_memory()->total_bytes; });
  const MemoryPlan& plan = *most->planned_memory();
  const std::string of_stage = stages.size() > 1 ? concat(" of stage ", escape_for_log(most->name)) : "";
  log_screen("");
  log_screen(concat("device     ", device));
  log_screen(concat("memory     ", format_bytes(plan.total_bytes), " planned", of_stage, ", ", format_bytes(available),
                    " are free"));
  log_screen(concat("           ", largest_parts(plan)));
  log_screen(concat("           backward pass: ", checkpointing_text(plan.checkpointing)));
}

void log_end(const LoadedConfig& config, const std::vector<PreparedStage>& stages, const std::string& rest_command) {
  std::vector<std::string> folders;
  for (const PreparedStage& stage : stages)
    if (stage.state == StageState::kDone) folders.push_back(stage.folder.path());
  if (folders.empty()) return;
  log_lines(summary_table(folders));
  const std::string run = folders.back(), last = shell_word(run), name = file_name(absolute_path(run)),
                    base = concat(" --base ", shell_word(stages.back().base->folder)),
                    report = config.is_recipe ? run_folder_path(config.output_dir) : run;
  const auto export_command = [&](std::string_view kind) {
    return concat(program_command("shori-export"), " ", kind, " ", last, base, " --out ",
                  shell_word(concat(name, "-", kind)));
  };
  log_info(concat("report: ", escape_for_log(join_path(report, "report.html"), 400)));
  if (stages.back().base->tokenizer) log_info(concat("talk:   ", program_command("shori-chat"), " ", last, base));
  log_info(concat("export: ", export_command("merged")));
  log_info(concat("        ", export_command("release"), "   (a folder to publish)"));
  log_info(
      concat("next:   ", std::ranges::any_of(stages, is_open)
                             ? rest_command
                             : concat("a stage with `init_from: ", escape_for_log(run, 400), "` goes on from here")));
}

}  // namespace shori
