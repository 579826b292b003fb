#include "src/train/screen/stage_table.h"

#include <algorithm>
#include <array>

#include "shori/util/error.h"
#include "shori/util/json_text.h"
#include "shori/util/number_text.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/report/run_record.h"

namespace shori {
namespace {

constexpr std::size_t kColumns = 8, kTime = 6;
using Cells = std::array<std::string, kColumns>;

std::string state_text(const PreparedStage& stage) {
  switch (stage.state) {
    case StageState::kToTrain:
      return "to train";
    case StageState::kDone:
      return "done";
    case StageState::kInterrupted:
      return concat("interrupted at step ", stage.step);
    case StageState::kChanged:
      return "changed: " + stage.changes.front().message;
  }
  internal_error(__FILE__, __LINE__, "unknown stage state");
}

Cells row_of(const PreparedStage& stage, const std::optional<double>& rate) {
  const auto packs = stage.plan.epochs.empty() ? 0 : stage.plan.epochs.front().row_count;
  const bool is_left = rate && stage.state != StageState::kDone;
  return {stage.name,
          with_commas(std::ssize(stage.data.conversations)),
          with_commas(stage.ledger.total.tokens_packed),
          with_commas(static_cast<std::int64_t>(packs)),
          with_commas(static_cast<std::int64_t>(stage.total_steps())),
          format_double(stage.config.learning_rate),
          is_left ? concat("~", format_duration(seconds_left(stage, *rate))) : "",
          state_text(stage)};
}

// The first column and the last are flush left, numbers flush right. A column of times without any is left out.
std::string aligned(const std::vector<Cells>& rows) {
  std::array<std::size_t, kColumns> widths{};
  for (const Cells& row : rows)
    for (std::size_t i = 0; i < kColumns; ++i) widths[i] = std::max(widths[i], count_code_points(row[i]));
  const bool has_times =
      std::any_of(rows.begin() + 1, rows.end(), [](const Cells& row) { return !row[kTime].empty(); });
  std::string text;
  for (const Cells& row : rows) {
    for (std::size_t i = 0; i + 1 < kColumns; ++i) {
      if (i == kTime && !has_times) continue;
      const std::string space(widths[i] - count_code_points(row[i]), ' ');
      text += concat(i == 0 ? row[i] + space : space + row[i], "  ");
    }
    text += row.back() + "\n";
  }
  return text;
}

}  // namespace

double seconds_left(const PreparedStage& stage, double seconds_per_token) {
  const bool goes_on = stage.state == StageState::kInterrupted;
  std::int64_t tokens = 0;
  for (std::size_t i = goes_on ? stage.step : 0; i < stage.plan.steps.size(); ++i) tokens += stage.plan.steps[i].tokens;
  return seconds_per_token * static_cast<double>(tokens);
}

std::vector<std::optional<double>> seconds_per_token(std::span<const PreparedStage> stages) {
  std::vector<std::optional<double>> rates;
  for (const PreparedStage& stage : stages) {
    auto rate = seconds_per_token_of(stage.folder.path());
    if (!rate && !rates.empty()) rate = rates.back();
    rates.push_back(rate);
  }
  return rates;
}

std::string stage_table(const std::vector<PreparedStage>& stages) {
  std::vector<Cells> rows{{"stage", "conversations", "tokens", "packs", "steps", "rate", "time left", "state"}};
  const auto rates = seconds_per_token(stages);
  for (std::size_t i = 0; i < stages.size(); ++i) rows.push_back(row_of(stages[i], rates[i]));
  return aligned(rows);
}

}  // namespace shori
