#include "src/train/screen/start_screen.h"

#include <algorithm>
#include <cstdio>

#include "shori/config/config_text.h"
#include "shori/train/run_identity.h"
#include "shori/util/build_info.h"
#include "shori/util/command.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_summary.h"
#include "src/train/screen/log_lines.h"

namespace shori {
namespace {

constexpr std::size_t kWidth = 79, kMostRows = 6;

// "key: value" of each line of the resolved config that was chosen and fits a screen: no default, no list, no comment.
std::vector<std::string> chosen_settings(const PreparedStage& stage) {
  std::vector<std::string> settings;
  const std::string text = resolved_config_text(stage);
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const std::size_t comment = line.find(" # ");
    const bool is_default = comment != std::string_view::npos && line.substr(comment + 3).starts_with("default");
    const bool is_nested = line.empty() || line.front() == '#' || line.front() == ' ' || line.ends_with(':');
    const bool is_shown_above = line.starts_with("base_model:") || line.starts_with("output_dir:") ||
                                line.starts_with("adapter:") || line.starts_with("lora_r:") ||
                                line.starts_with("lora_alpha:");
    if (!is_default && !is_nested && !is_shown_above)
      settings.push_back(escape_for_log(trim(line.substr(0, comment)), 60));
  }
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

}  // namespace

void show_start(const std::vector<PreparedStage>& stages) {
  const PreparedStage& first = stages.front();
  log_screen(concat("shori-train ", version()));
  log_screen(concat("base       ", escape_for_log(base_model_name(*first.base), 60)));
  log_screen(concat("adapter    ", word_of(first.config.adapter), ", rank ", first.config.lora_r, ", alpha ",
                    first.config.lora_alpha));
  show_settings(chosen_settings(first));
  if (stages.size() > 1)
    log_screen(concat("           (stage ", escape_for_log(first.name), "; each run folder has its resolved.yaml)"));
  log_screen("");
}

void log_end(const LoadedConfig& config, const std::vector<PreparedStage>& stages) {
  std::vector<std::string> folders;
  for (const PreparedStage& stage : stages)
    if (stage.state == StageState::kDone) folders.push_back(stage.folder.path());
  if (folders.empty()) return;
  log_lines(summary_table(folders));
  const std::string last = shell_word(folders.back()),
                    report = config.is_recipe ? run_folder_path(config.output_dir) : folders.back();
  log_info(concat("report: ", escape_for_log(join_path(report, "report.html"), 400)));
  log_info(concat("next:   ", program_command("shori-export"), " merged ", last, " --base ",
                  shell_word(stages.back().base->folder), " --out ",
                  shell_word(concat(file_name(absolute_path(folders.back())), "-merged"))));
}

}  // namespace shori
