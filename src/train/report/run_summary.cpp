#include "src/train/report/run_summary.h"

#include <algorithm>
#include <cstdio>

#include "shori/train/run_folder.h"
#include "shori/util/byte_size.h"
#include "shori/util/number_text.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_record.h"

namespace shori {
namespace {

std::string row(const std::string& stage, const std::string& steps, const std::string& tokens, const std::string& loss,
                const std::string& time, const std::string& memory) {
  char text[512];
  std::snprintf(text, sizeof text, "%-12s %7s %12s  %-18s  %-12s  %s\n", stage.c_str(), steps.c_str(), tokens.c_str(),
                loss.c_str(), time.c_str(), memory.c_str());
  return text;
}

std::string run_row(const RunRecord& run) {
  const std::int64_t memory = run.memory_peak_bytes();
  return row(escape_for_log(run.stage), with_commas(static_cast<std::int64_t>(run.last_step())),
             with_commas(run.tokens()), run.loss_span(),
             run.timings.empty() ? "unknown" : format_duration(run.seconds()),
             memory > 0 ? format_bytes(static_cast<std::uint64_t>(memory)) : "unknown");
}

// "  test.jsonl: loss 9.8123 at step 8, lowest 9.7012 at step 6; message 9.1204, ooc 8.2031"
std::string evaluation_line(const std::string& dataset, const std::vector<const EvalRecord*>& evals) {
  const auto lower = [](const EvalRecord* a, const EvalRecord* b) { return a->loss < b->loss; };
  const EvalRecord &last = *evals.back(), &best = **std::ranges::min_element(evals, lower);
  std::string text = concat("  ", escape_for_log(dataset, 60), ": loss ", loss_text(last.loss), " at step ", last.step);
  if (best.step != last.step) text += concat(", lowest ", loss_text(best.loss), " at step ", best.step);
  std::string roles;
  for (const auto& [role, loss] : last.by_role)
    roles += concat(roles.empty() ? "; " : ", ", escape_for_log(role, 40), " ", loss_text(loss));
  return text + roles + "\n";
}

std::string evaluation_lines(const RunRecord& run) {
  std::string text;
  for (const auto& [dataset, evals] : run.evals_by_dataset()) text += evaluation_line(dataset, evals);
  return text.empty() ? text : concat("evaluation of ", escape_for_log(run.stage), "\n", text);
}

}  // namespace

std::string summary_table(const std::vector<std::string>& folders) {
  std::vector<RunRecord> runs;
  for (const std::string& folder : folders) runs.push_back(read_run_record(folder));
  std::string text = row("stage", "steps", "tokens", "loss, first to last", "time", "peak memory");
  for (const RunRecord& run : runs) text += run_row(run);
  for (const RunRecord& run : runs) text += evaluation_lines(run);
  for (const RunRecord& run : runs)
    text += concat("adapter of ", escape_for_log(run.stage), ": ", escape_for_log(RunFolder(run.folder).adapter(), 400),
                   "\n");
  return text;
}

}  // namespace shori
