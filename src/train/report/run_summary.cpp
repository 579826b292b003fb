#include "src/train/report/run_summary.h"

#include <cstdio>

#include "shori/util/number_text.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_record.h"

namespace shori {
namespace {

std::string row(const std::string& stage, const std::string& steps, const std::string& tokens, const std::string& loss,
                const std::string& best, const std::string& time) {
  char text[512];
  std::snprintf(text, sizeof text, "%-12s %7s %12s  %-17s %-16s %s\n", stage.c_str(), steps.c_str(), tokens.c_str(),
                loss.c_str(), best.c_str(), time.c_str());
  return text;
}

std::string run_row(const RunRecord& run) {
  const EvalRecord* best = run.best_evaluation();
  return row(escape_for_log(run.stage), with_commas(static_cast<std::int64_t>(run.last_step())),
             with_commas(run.tokens()), run.loss_span(),
             best ? concat(loss_text(best->loss), ", step ", best->step) : "none",
             run.timings.empty() ? "unknown" : format_duration(run.seconds()));
}

}  // namespace

std::string summary_table(const std::vector<std::string>& folders) {
  std::string text = row("stage", "steps", "tokens", "loss", "best evaluation", "time");
  for (const std::string& folder : folders) text += run_row(read_run_record(folder));
  return text;
}

}  // namespace shori
