#include "src/chat/server/sampling_fields.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "shori/util/text.h"
#include "src/chat/server/http/request_error.h"

namespace shori {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();

float number_from(const RequestFields& fields, FieldNames names, float least, float most, float otherwise,
                  const char* demand) {
  const auto value = fields.number(names);
  if (value && (*value < least || *value > most)) refuse_field(*names.begin(), demand);
  return value.value_or(otherwise);
}

// Names: SillyTavern sends those of several servers at once, with equal values.
SamplerSettings read_settings(const RequestFields& fields) {
  constexpr float kAny = std::numeric_limits<float>::max();
  constexpr const char* kShare = "has to be at least 0 and at most 1";
  constexpr const char* kNotNegative = "has to be at least 0";
  const SamplerSettings off;
  SamplerSettings settings;
  settings.temperature = number_from(fields, {"temperature"}, 0, kAny, off.temperature, kNotNegative);
  settings.top_k = fields.integer({"top_k"}, -1, kMost).value_or(off.top_k);
  settings.top_p = number_from(fields, {"top_p"}, 0, 1, off.top_p, kShare);
  settings.min_p = number_from(fields, {"min_p"}, 0, 1, off.min_p, kShare);
  settings.repetition_penalty =
      number_from(fields, {"repeat_penalty", "repetition_penalty", "rep_pen"}, std::numeric_limits<float>::min(), kAny,
                  off.repetition_penalty, "has to be above 0");
  settings.presence_penalty =
      number_from(fields, {"presence_penalty"}, -kAny, kAny, off.presence_penalty, "has to be a number");
  settings.frequency_penalty =
      number_from(fields, {"frequency_penalty"}, -kAny, kAny, off.frequency_penalty, "has to be a number");
  settings.penalty_window = fields.integer({"repeat_last_n", "repetition_penalty_range", "rep_pen_range"}, -1, kMost)
                                .value_or(off.penalty_window);
  settings.mirostat_tau = number_from(fields, {"mirostat_tau"}, 0, kAny, off.mirostat_tau, kNotNegative);
  settings.mirostat_eta = number_from(fields, {"mirostat_eta"}, 0, kAny, off.mirostat_eta, kNotNegative);
  const std::int64_t mirostat = fields.integer({"mirostat", "mirostat_mode"}, 0, 2).value_or(0);
  if (mirostat == 1) refuse_field("mirostat", "version 1 does not exist here: send 2, or 0 for off");
  settings.mirostat = static_cast<int>(mirostat);
  return settings;
}

// The steps that exist here, in the order of llama.cpp's default list; temperature last.
enum Step : std::uint8_t { kPenalties, kTopK, kTopP, kMinP, kTemperature, kSteps };

std::optional<Step> step_named(std::string_view name) {
  if (name == "penalties") return kPenalties;
  if (name == "top_k" || name == "top-k") return kTopK;
  if (name == "top_p" || name == "top-p") return kTopP;
  if (name == "min_p" || name == "min-p") return kMinP;
  if (name == "temperature" || name == "temp") return kTemperature;
  return std::nullopt;
}

std::array<bool, kSteps> steps_on(const SamplerSettings& settings) {
  std::array<bool, kSteps> on{};
  on[kPenalties] = settings.penalty_window != 0 && (settings.repetition_penalty != 1 ||
                                                    settings.presence_penalty != 0 || settings.frequency_penalty != 0);
  on[kTopK] = settings.top_k > 0;
  on[kTopP] = settings.top_p < 1;
  on[kMinP] = settings.min_p > 0;
  on[kTemperature] = settings.temperature != 1;
  return on;
}

void turn_off(SamplerSettings& settings, Step step) {
  const SamplerSettings off;
  if (step == kPenalties) settings.penalty_window = 0;
  if (step == kTopK) settings.top_k = off.top_k;
  if (step == kTopP) settings.top_p = off.top_p;
  if (step == kMinP) settings.min_p = off.min_p;
  if (step == kTemperature) settings.temperature = off.temperature;
}

std::vector<Step> listed_steps(const JsonValue& list) {
  constexpr const char* kDemand = "has to be a list of sampler names";
  std::vector<Step> steps;
  if (!list.is_array()) refuse_field("samplers", kDemand);
  for (const JsonValue& item : list.items) {
    if (!item.is_string()) refuse_field("samplers", kDemand);
    const auto step = step_named(item.text);
    if (step && std::find(steps.begin(), steps.end(), *step) == steps.end()) steps.push_back(*step);
  }
  return steps;
}

bool is_cutter(Step step) { return step == kTopK || step == kTopP || step == kMinP; }

// Whether temperature follows all of `steps` that cut.
bool is_temperature_last(const std::vector<Step>& steps) {
  const auto after = std::find(steps.begin(), steps.end(), kTemperature);
  return std::none_of(after, steps.end(), is_cutter);
}

// The steps that are on have to be in one of the two orders that exist.
void check_order(const std::vector<Step>& active) {
  std::vector<int> first;  // the place of each step where temperature follows the penalties
  first.reserve(active.size());
  for (const Step step : active) first.push_back(step == kTemperature ? 2 * kPenalties + 1 : 2 * step);
  if (std::is_sorted(active.begin(), active.end()) || std::is_sorted(first.begin(), first.end())) return;
  refuse_field("samplers",
               "this order does not exist here: penalties first, then top_k, top_p, min_p in this order, and "
               "temperature before or after these three");
}

// Applies the list `samplers`.
void read_order(const JsonValue& list, SamplingFields& into) {
  const std::vector<Step> listed = listed_steps(list);
  const auto on = steps_on(into.settings);
  constexpr std::array<const char*, kSteps> kNames{"penalties", "top_k", "top_p", "min_p", "temperature"};
  for (int i = 0; i < kSteps; ++i) {
    const auto step = static_cast<Step>(i);
    if (!on[static_cast<std::size_t>(i)] || std::find(listed.begin(), listed.end(), step) != listed.end()) continue;
    turn_off(into.settings, step);
    into.ignored.push_back(concat(kNames[static_cast<std::size_t>(i)], " (not in samplers)"));
  }
  std::vector<Step> active;
  for (const Step step : listed)
    if (on[step]) active.push_back(step);
  check_order(active);
  const bool matters = on[kTemperature] && std::any_of(active.begin(), active.end(), is_cutter);
  into.settings.temperature_last = is_temperature_last(matters ? active : listed);
}

// Samplers of other programs and the value that turns each off.
struct ForeignSampler {
  const char* name;
  double off;
};
constexpr ForeignSampler kForeign[] = {
    {"dry_multiplier", 0},
    {"dynatemp_range", 0},
    {"epsilon_cutoff", 0},
    {"eta_cutoff", 0},
    {"guidance_scale", 1},
    {"min_length", 0},
    {"min_tokens", 0},
    {"no_repeat_ngram_size", 0},
    {"penalty_alpha", 0},
    {"smoothing_factor", 0},
    {"tfs", 1},
    {"tfs_z", 1},
    {"top_a", 0},
    {"top_n_sigma", 0},
    {"nsigma", 0},
    {"typical_p", 1},
    {"xtc_probability", 0},
};

void note_foreign(const RequestFields& fields, std::vector<std::string>& ignored) {
  for (const auto& [name, off] : kForeign) {
    const JsonValue* field = fields.find(name);
    const auto value = field && field->kind == JsonValue::Kind::kNumber ? field->as_double() : std::nullopt;
    if (value && *value != off && *value >= 0) ignored.emplace_back(name);  // -1 is off, too
  }
}

}  // namespace

SamplingFields read_sampling_fields(const RequestFields& fields, bool temperature_last) {
  SamplingFields read;
  read.settings = read_settings(fields);
  read.settings.temperature_last = fields.boolean("temperature_last").value_or(temperature_last);
  if (read.settings.mirostat == 0) {
    if (const JsonValue* list = fields.find("samplers")) read_order(*list, read);
  }
  note_foreign(fields, read.ignored);
  return read;
}

}  // namespace shori
