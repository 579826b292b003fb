#include "shori/infer/sampler.h"

#include <algorithm>
#include <cmath>

#include "src/infer/candidates.h"

namespace shori {
namespace {

std::span<const std::int32_t> window_of(std::span<const std::int32_t> context, std::int64_t size) {
  if (size < 0) return context;
  return context.last(std::min(context.size(), static_cast<std::size_t>(size)));
}

// What is left for the draw where Mirostat is off.
void filter(Candidates& candidates, const SamplerSettings& settings) {
  if (!settings.temperature_last) candidates.apply_temperature(settings.temperature);
  candidates.keep_top_k(settings.top_k);
  candidates.keep_top_p(static_cast<double>(settings.top_p));
  candidates.keep_min_p(settings.min_p);
  if (settings.temperature_last) candidates.apply_temperature(settings.temperature);
}

}  // namespace

std::optional<SettingProblem> find_setting_problem(const SamplerSettings& settings) {
  constexpr const char* kFinite = "a finite number";
  if (!std::isfinite(settings.temperature)) return SettingProblem{"temperature", kFinite};
  if (!(settings.top_p >= 0 && settings.top_p <= 1)) return SettingProblem{"top_p", "at least 0 and at most 1"};
  if (!std::isfinite(settings.min_p)) return SettingProblem{"min_p", kFinite};
  if (!(std::isfinite(settings.repetition_penalty) && settings.repetition_penalty > 0))
    return SettingProblem{"repetition_penalty", "a finite number above 0"};
  if (!std::isfinite(settings.presence_penalty)) return SettingProblem{"presence_penalty", kFinite};
  if (!std::isfinite(settings.frequency_penalty)) return SettingProblem{"frequency_penalty", kFinite};
  if (settings.penalty_window < -1) return SettingProblem{"penalty_window", "a number of tokens, or -1 for all"};
  if (settings.mirostat != 0 && settings.mirostat != 2) return SettingProblem{"mirostat", "0 or 2"};
  if (!std::isfinite(settings.mirostat_tau)) return SettingProblem{"mirostat_tau", kFinite};
  if (!std::isfinite(settings.mirostat_eta)) return SettingProblem{"mirostat_eta", kFinite};
  return std::nullopt;
}

Sampler::Sampler(const SamplerSettings& settings, std::uint64_t seed, std::uint32_t reply)
    : settings_(settings), seed_(seed), reply_(reply), mu_(2.0 * static_cast<double>(settings.mirostat_tau)) {}

std::int32_t Sampler::next(std::span<const float> logits, std::span<const std::int32_t> context) {
  const double u = uniform(seed_, reply_, token_++);
  if (settings_.mirostat == 2) {
    Candidates candidates(logits);
    candidates.apply_temperature(settings_.temperature);
    Mirostat mirostat(static_cast<double>(settings_.mirostat_tau), static_cast<double>(settings_.mirostat_eta), mu_);
    const std::int32_t id = mirostat.draw(candidates, u).id;
    mu_ = mirostat.mu();
    return id;
  }
  logits_.assign(logits.begin(), logits.end());
  penalize(logits_, window_of(context, settings_.penalty_window),
           {settings_.repetition_penalty, settings_.presence_penalty, settings_.frequency_penalty});
  Candidates candidates(logits_);
  filter(candidates, settings_);
  return candidates.draw(u).id;
}

}  // namespace shori
