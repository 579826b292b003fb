#include "shori/chat/chat_settings.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

using S = SamplerSettings;

constexpr SettingFlag kFlags[] = {
    {"temp", "temperature", "temperature; 0 and below: always the most likely token", &S::temperature},
    {"temperature-last", "temperature_last", "true: temperature after the other samplers", &S::temperature_last},
    {"top-k", "top_k", "keep that many tokens; 0: off", &S::top_k},
    {"top-p", "top_p", "keep the most likely tokens that reach this probability; 1: off", &S::top_p},
    {"min-p", "min_p", "keep tokens that reach this share of the largest probability; 0: off", &S::min_p},
    {"rep-pen", "repetition_penalty", "repetition penalty, a factor; 1: off", &S::repetition_penalty},
    {"presence-pen", "presence_penalty", "presence penalty; 0: off", &S::presence_penalty},
    {"freq-pen", "frequency_penalty", "frequency penalty; 0: off", &S::frequency_penalty},
    {"rep-pen-range", "penalty_window", "last tokens that penalties count; 0: none, -1: all", &S::penalty_window},
    {"mirostat-mode", "mirostat", "2: Mirostat 2, with temperature and nothing else; 0: off", &S::mirostat},
    {"mirostat-tau", "mirostat_tau", "surprise that Mirostat aims at", &S::mirostat_tau},
    {"mirostat-eta", "mirostat_eta", "how fast Mirostat follows", &S::mirostat_eta}};

// `out_of_range`: a number, but none that the type holds.
template <typename Number>
std::optional<Number> read_number(std::string_view text, bool& out_of_range) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  out_of_range = error == std::errc::result_out_of_range && end == text.data() + text.size();
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <>
std::optional<bool> read_number<bool>(std::string_view text, bool&) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return std::nullopt;
}

constexpr const char* demand_of(float) { return "a number"; }
constexpr const char* demand_of(bool) { return "true or false"; }
constexpr const char* demand_of(std::int64_t) { return "a whole number"; }
constexpr const char* demand_of(int) { return "a whole number"; }

[[noreturn]] void refuse(std::string_view as, std::string_view text, const char* demand, const std::string& now) {
  throw Error(
      Diagnostic("E0116", concat("`", as, " ", escape_for_log(text), "`: not ", demand)).help(concat(as, " ", now)));
}

std::string text_of(float value) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}
std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(std::int64_t value) { return concat(value); }
std::string text_of(int value) { return concat(value); }

}  // namespace

std::string SettingFlag::preset_name() const {
  std::string preset(name);
  std::ranges::replace(preset, '-', '_');
  return preset;
}

std::string SettingFlag::text(const SamplerSettings& settings) const {
  return std::visit([&](auto pointer) { return text_of(settings.*pointer); }, member);
}

void SettingFlag::set(SamplerSettings& settings, std::string_view text, std::string_view as) const {
  SamplerSettings changed = settings;
  std::visit(
      [&](auto pointer) {
        using Value = std::remove_reference_t<decltype(changed.*pointer)>;
        bool out_of_range = false;
        const std::optional<Value> value = read_number<Value>(text, out_of_range);
        if (!value) refuse(as, text, out_of_range ? "in range" : demand_of(Value{}), this->text(settings));
        changed.*pointer = *value;
      },
      member);
  const std::optional<SettingProblem> problem = find_setting_problem(changed);
  if (problem && problem->name == member_name) refuse(as, text, problem->demand, this->text(settings));
  settings = changed;
}

std::span<const SettingFlag> setting_flags() { return kFlags; }

const SettingFlag* find_setting_flag(std::string_view name) {
  const auto found = std::ranges::find_if(
      kFlags, [name](const SettingFlag& flag) { return flag.name == name || flag.preset_name() == name; });
  return found == std::end(kFlags) ? nullptr : found;
}

}  // namespace shori
