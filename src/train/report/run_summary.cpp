#include "src/train/report/run_summary.h"

#include <algorithm>
#include <cstdio>

#include "shori/util/number_text.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_record.h"

namespace shori {
namespace {

std::string four_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", value);
  return text;
}

std::string row(const std::string& stage, const std::string& steps, const std::string& tokens, const std::string& loss,
                const std::string& best, const std::string& time) {
  char text[512];
  std::snprintf(text, sizeof text, "%-12s %7s %12s  %-17s %-16s %s\n", stage.c_str(), steps.c_str(), tokens.c_str(),
                loss.c_str(), best.c_str(), time.c_str());
  return text;
}

std::string run_row(const RunRecord& run) {
  std::int64_t tokens = 0;
  double seconds = 0;
  for (const StepRecord& step : run.steps) tokens += step.tokens;
  for (const TimingRecord& timing : run.timings) seconds += timing.seconds;
  std::string loss = "none", best = "none";
  if (!run.steps.empty())
    loss = concat(four_digits(run.steps.front().loss), " to ", four_digits(run.steps.back().loss));
  if (!run.evals.empty()) {
    const EvalRecord& lowest = *std::ranges::min_element(run.evals, {}, &EvalRecord::loss);
    best = concat(four_digits(lowest.loss), ", step ", lowest.step);
  }
  return row(escape_for_log(run.stage), with_commas(static_cast<std::int64_t>(run.last_step())), with_commas(tokens),
             loss, best, run.timings.empty() ? "unknown" : format_duration(seconds));
}

}  // namespace

std::string summary_table(const std::vector<std::string>& folders) {
  std::string text = row("stage", "steps", "tokens", "loss", "best evaluation", "time");
  for (const std::string& folder : folders) text += run_row(read_run_record(folder));
  return text;
}

}  // namespace shori
