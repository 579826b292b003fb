#include "src/train/step/evaluation.h"

#include <algorithm>
#include <cmath>

#include "shori/ops/packed_batch.h"
#include "shori/util/error.h"
#include "shori/util/ignored_label.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/train/plan/make_batch.h"

namespace shori {
namespace {

struct LossSum {
  double sum = 0;
  std::int64_t targets = 0;
  void add(double loss) {
    sum += loss;
    ++targets;
  }
  double mean() const { return sum / static_cast<double>(targets); }
};

struct SetSums {
  LossSum total;
  std::map<std::string, LossSum> by_role, by_category;
};

// A training step may never meet what is in held-out data alone, and the first evaluation comes before the first step.
void check_losses(const PackedBatch& batch, std::span<const float> losses, const HeldOutSet& set, const Dataset& data,
                  std::uint64_t step) {
  const auto bad = std::ranges::find_if(losses, [](float loss) { return !std::isfinite(loss); });
  if (bad == losses.end()) return;
  const auto segment_end = std::ranges::upper_bound(batch.cu_seqlens, bad - losses.begin());
  const auto segment = static_cast<std::size_t>(segment_end - batch.cu_seqlens.begin()) - 1;
  const std::string sample = data.location_of(set.samples.at(batch.samples.at(segment)));
  throw Error(Diagnostic("E0601", concat("loss of the held-out data `", escape_for_log(set.name, 200),
                                         "` is not finite ", step == 0 ? "before step 1" : concat("after step ", step)))
                  .note(concat("sample ", sample))
                  .help(concat("`skip_samples: [\"", sample, "\"]` leaves it out")));
}

void add_losses(const PackedBatch& batch, std::span<const float> losses, const Dataset& data, SetSums& sums) {
  for (std::size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == kIgnoredLabel) continue;
    sums.total.add(losses[i]);
    const auto role = static_cast<TokenRole>(batch.roles[i]);
    if (role != TokenRole::kOther) sums.by_role[std::string(token_role_name(role))].add(losses[i]);
    const std::string& category = data.conversations[batch.conversations[i]].category;
    if (!category.empty()) sums.by_category[category].add(losses[i]);
  }
}

std::map<std::string, double> means(const std::map<std::string, LossSum>& sums) {
  std::map<std::string, double> result;
  for (const auto& [name, sum] : sums) result[name] = sum.mean();
  return result;
}

}  // namespace

std::optional<std::vector<EvalMetrics>> evaluate(Mistral& model, const PreparedStage& stage, std::uint64_t step,
                                                 double epoch) {
  std::vector<EvalMetrics> result;
  Progress progress;
  for (const HeldOutSet& set : stage.data.held_out) {
    SetSums sums;
    const auto rows = make_eval_rows(set.samples, stage.plan.options);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Row& row = rows[i];
      progress.live(concat("evaluating ", escape_for_log(set.name, 40), ": pack ", i + 1, " of ", rows.size()));
      const PackedBatch batch = make_eval_batch(set.samples, std::span(&row, 1), stage.plan.options);
      const auto losses = model.evaluate(batch);
      if (!losses) return std::nullopt;
      check_losses(batch, *losses, set, stage.data, step);
      add_losses(batch, *losses, stage.data, sums);
    }
    if (sums.total.targets == 0) continue;
    result.push_back({stage.name, step, epoch, set.name, static_cast<std::int64_t>(set.samples.size()),
                      sums.total.targets, sums.total.mean(), means(sums.by_role), means(sums.by_category)});
  }
  return result;
}

bool samples_due(const PreparedStage& stage, std::uint64_t step) {
  if (stage.sample_prompts.empty()) return false;
  const auto every = stage.config.sample_steps;
  if (!every) return evaluation_due(stage, step);
  return step == stage.total_steps() || step % static_cast<std::uint64_t>(*every) == 0;
}

bool evaluation_due(const PreparedStage& stage, std::uint64_t step) {
  if (stage.data.held_out.empty()) return false;
  if (step == 0 || step == stage.total_steps()) return true;
  if (const auto every = stage.config.eval_steps) {
    const double steps = *every < 1 ? std::ceil(*every * static_cast<double>(stage.total_steps())) : *every;
    return step % std::max<std::uint64_t>(1, static_cast<std::uint64_t>(steps)) == 0;
  }
  for (std::size_t epoch = 0; epoch < stage.plan.epochs.size(); ++epoch)
    if (stage.plan.last_step_of_epoch(epoch) == step) return true;
  return false;
}

}  // namespace shori
