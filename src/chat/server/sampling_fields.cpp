#include "src/chat/server/sampling_fields.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
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
enum Step : std::uint8_t { kPenalties, kTopK, kTopP, kMinP, kTemperature };

struct StepRow {
  const char *name, *other_name;
  bool cuts;  // takes tokens out
  bool (*is_on)(const SamplerSettings& settings);
  void (*turn_off)(SamplerSettings& settings);
};
constexpr SamplerSettings kOff;
// By Step.
constexpr StepRow kSteps[] = {
    {.name = "penalties",
     .other_name = "penalties",
     .cuts = false,
     .is_on =
         [](const SamplerSettings& s) {
           return s.penalty_window != 0 &&
                  (s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0);
         },
     .turn_off = [](SamplerSettings& s) { s.penalty_window = 0; }},
    {.name = "top_k",
     .other_name = "top-k",
     .cuts = true,
     .is_on = [](const SamplerSettings& s) { return s.top_k > 0; },
     .turn_off = [](SamplerSettings& s) { s.top_k = kOff.top_k; }},
    {.name = "top_p",
     .other_name = "top-p",
     .cuts = true,
     .is_on = [](const SamplerSettings& s) { return s.top_p < 1; },
     .turn_off = [](SamplerSettings& s) { s.top_p = kOff.top_p; }},
    {.name = "min_p",
     .other_name = "min-p",
     .cuts = true,
     .is_on = [](const SamplerSettings& s) { return s.min_p > 0; },
     .turn_off = [](SamplerSettings& s) { s.min_p = kOff.min_p; }},
    {.name = "temperature",
     .other_name = "temp",
     .cuts = false,
     .is_on = [](const SamplerSettings& s) { return s.temperature != 1; },
     .turn_off = [](SamplerSettings& s) { s.temperature = kOff.temperature; }},
};
static_assert(std::size(kSteps) == kTemperature + 1);

std::optional<Step> step_named(std::string_view name) {
  const auto* row =
      std::ranges::find_if(kSteps, [&](const StepRow& each) { return name == each.name || name == each.other_name; });
  return row == std::end(kSteps) ? std::nullopt : std::optional(static_cast<Step>(row - kSteps));
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

bool cuts(Step step) { return kSteps[step].cuts; }

// Whether temperature follows all of `steps` that cut.
bool is_temperature_last(const std::vector<Step>& steps) {
  const auto after = std::find(steps.begin(), steps.end(), kTemperature);
  return std::none_of(after, steps.end(), cuts);
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
  const SamplerSettings given = into.settings;
  for (std::size_t i = 0; i < std::size(kSteps); ++i) {
    const bool is_listed = std::ranges::find(listed, static_cast<Step>(i)) != listed.end();
    if (is_listed || !kSteps[i].is_on(given)) continue;
    kSteps[i].turn_off(into.settings);
    into.ignored.push_back(concat(kSteps[i].name, " (not in samplers)"));
  }
  std::vector<Step> active;
  for (const Step step : listed)
    if (kSteps[step].is_on(given)) active.push_back(step);
  check_order(active);
  const bool matters = kSteps[kTemperature].is_on(given) && std::any_of(active.begin(), active.end(), cuts);
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
