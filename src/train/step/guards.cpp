#include "src/train/step/guards.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// With the digits that the lines of the steps have.
std::string numbers(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

constexpr double kDecay = 0.98;
constexpr std::uint64_t kWarmUpValues = 20;
constexpr double kSpikeSigmas = 6;
// In units of the learning rate. With exact moments an update is at most 3.2.
constexpr double kLargeUpdate = 100, kImpossibleUpdate = 1000;

double read_real(const JsonValue& state, const char* key) {
  const JsonValue* value = state.find(key);
  const auto number = value && value->is_string() ? double_from_bits_hex(value->text) : std::nullopt;
  if (!number) throw Error(Diagnostic("E0503", concat("the checkpoint's guard state lacks `", key, "`")));
  return *number;
}

std::uint64_t read_count(const JsonValue& state, const char* key) {
  const JsonValue* value = state.find(key);
  const auto number = value ? value->as_unsigned() : std::nullopt;
  if (!number) throw Error(Diagnostic("E0503", concat("the checkpoint's guard state lacks `", key, "`")));
  return *number;
}

bool differs_from_decayed(const FactorState& factor, std::span<const float> decay) {
  for (std::size_t i = 0; i < factor.now.size(); ++i) {
    float expected = factor.start[i];
    for (const float step : decay) expected *= step;
    if (factor.now[i] != expected) return true;
  }
  return false;
}

bool has_non_zero(std::span<const float> values) {
  return std::any_of(values.begin(), values.end(), [](float value) { return value != 0.0f; });
}

}  // namespace

bool SpikeAverage::add(double value, std::uint64_t count_before) {
  const bool spike = count_before >= kWarmUpValues && value - mean > kSpikeSigmas * std::sqrt(variance);
  const double weight = count_before == 0 ? 1.0 : 1.0 - kDecay;
  const double difference = value - mean;
  mean += weight * difference;
  variance = (1.0 - weight) * (variance + weight * difference * difference);
  return spike;
}

void Guards::check_step(std::uint64_t step, double loss, double grad_norm, double update_max, double learning_rate,
                        const std::string& where) {
  const bool loss_spike = loss_.add(loss, count_);
  const bool norm_spike = log_norm_.add(std::log(std::max(grad_norm, 1e-30)), count_);
  ++count_;
  if (loss_spike || norm_spike)
    log_warning(Diagnostic("W0601", concat(loss_spike ? "loss" : "gradient norm", " spike at step ", step))
                    .note(concat(numbers("loss %.4f", loss), numbers(", gradient norm %.4g", grad_norm))));
  if (learning_rate > 0) {
    moving_steps = std::min<std::uint64_t>(moving_steps + 1, 3);
    const double times = update_max / learning_rate;
    const std::string text = concat("an update of ", std::llround(times), " x learning rate at step ", step);
    if (times > kImpossibleUpdate)
      throw Error(Diagnostic("E0604", text).note(where).note("the step before it is safe"));
    if (times > kLargeUpdate) log_warning(Diagnostic("W0602", text).note(where));
  }
  if (!settings_.loss_watchdog_threshold) return;
  above_threshold_ = loss > *settings_.loss_watchdog_threshold ? above_threshold_ + 1 : 0;
  if (above_threshold_ >= settings_.loss_watchdog_patience)
    throw Error(Diagnostic("E0602", concat("loss above `loss_watchdog_threshold` ",
                                           format_double(*settings_.loss_watchdog_threshold), " for ", above_threshold_,
                                           " steps, the last is step ", step))
                    .note(numbers("loss %.4f", loss))
                    .help("lower `learning_rate`, or look at the data of these steps"));
}

Json Guards::state() const {
  Json json = {{"loss_mean", loss_.mean},
               {"loss_variance", loss_.variance},
               {"log_norm_mean", log_norm_.mean},
               {"log_norm_variance", log_norm_.variance},
               {"count", count_},
               {"above_threshold", above_threshold_},
               {"moving_steps", moving_steps},
               {"best_eval", best_eval ? Json(*best_eval) : Json()},
               {"best_step", best_step ? Json(*best_step) : Json()},
               {"evaluated_step", evaluated_step ? Json(*evaluated_step) : Json()}};
  if (sampled_step) json["sampled_step"] = *sampled_step;  // runs without samples have the bytes of earlier versions
  return json;
}

void Guards::restore(const JsonValue& state) {
  loss_ = {read_real(state, "loss_mean"), read_real(state, "loss_variance")};
  log_norm_ = {read_real(state, "log_norm_mean"), read_real(state, "log_norm_variance")};
  count_ = read_count(state, "count");
  above_threshold_ = static_cast<std::int64_t>(read_count(state, "above_threshold"));
  moving_steps = read_count(state, "moving_steps");
  const JsonValue* best = state.find("best_eval");
  if (best && !best->is_null()) best_eval = read_real(state, "best_eval");
  const JsonValue* best_at = state.find("best_step");
  if (best_at && !best_at->is_null()) best_step = read_count(state, "best_step");
  const JsonValue* evaluated = state.find("evaluated_step");
  if (evaluated && !evaluated->is_null()) evaluated_step = read_count(state, "evaluated_step");
  if (state.find("sampled_step") != nullptr) sampled_step = read_count(state, "sampled_step");
}

void check_adapter_alive(std::span<const FactorState> factors, std::span<const float> decay, bool fresh) {
  std::vector<std::string> dead;
  for (const FactorState& factor : factors) {
    const bool alive = fresh && factor.is_b ? has_non_zero(factor.now) : differs_from_decayed(factor, decay);
    if (!alive) dead.push_back(factor.name);
  }
  if (dead.empty()) return;
  Diagnostic diagnostic(
      "E0603", concat(dead.size(), " of ", factors.size(), " LoRA factors have not learnt anything in two steps"));
  for (const std::string& name : dead) diagnostic.note(name);
  throw Error(diagnostic.help("report it with run.json"));
}

}  // namespace shori
