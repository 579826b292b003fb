#include "src/config/run_shares.h"

#include <algorithm>
#include <cmath>

#include "shori/util/math.h"
#include "shori/util/text.h"
#include "src/config/foreign_keys.h"

namespace shori {
namespace {

constexpr double kMaxPerEpoch = 1e6;

// What a key of this kind gives.
struct ShareKey {
  std::string_view key, given;
  std::optional<double> RunShares::* share;
  bool counts;  // a whole number from 1; else a share from 0 to 1
};

constexpr ShareKey kShareKeys[] = {
    {"warmup_ratio", "warmup_steps", &RunShares::warmup, false},
    {"saves_per_epoch", "save_steps", &RunShares::saves_per_epoch, true},
    {"evals_per_epoch", "eval_steps", &RunShares::evals_per_epoch, true},
};

const ShareKey* find_share_key(std::string_view key) {
  for (const ShareKey& row : kShareKeys) {
    if (row.key == key) return &row;
  }
  return nullptr;
}

// Whether the value of a key was set to something that counts.
bool has_number(const Settings& settings, std::string_view key) {
  const Setting* setting = find_setting(settings, key);
  ScalarProblem problem;
  if (setting == nullptr || setting->value.kind != YamlNode::Kind::kScalar) return false;
  return parse_yaml_float(setting->value, problem).value_or(0) != 0;
}

void note_origin(const Setting& setting, std::string_view given, StageConfig& stage) {
  stage.origins[std::string(given)] = {ValueOrigin::Kind::kDerived, setting.value_location(),
                                       concat(setting.key, ": ", value_text(setting.value))};
}

std::string other_key_problem(const Settings& settings, const ShareKey& row) {
  if (has_number(settings, row.given)) return concat("`", row.key, "` does not go with `", row.given, "`");
  const Setting* scheduler = find_setting(settings, "lr_scheduler");
  const bool constant = scheduler == nullptr || scheduler->value.kind == YamlNode::Kind::kNull ||
                        scheduler->value.text == word_of(LrScheduler::kConstant);
  return row.key == "warmup_ratio" && constant ? "`warmup_ratio` does not go with `lr_scheduler: constant`" : "";
}

std::string other_key_help(const Settings& settings, const ShareKey& row) {
  if (has_number(settings, row.given)) return "delete one of the two lines";
  const Setting* scheduler = find_setting(settings, "lr_scheduler");
  const bool written = scheduler != nullptr && scheduler->value.kind != YamlNode::Kind::kNull;
  return written
             ? "write `lr_scheduler: cosine` or `lr_scheduler: linear`, or delete `warmup_ratio`"
             : "`constant` is the default: add `lr_scheduler: cosine` (Axolotl's default), or delete `warmup_ratio`";
}

}  // namespace

bool is_run_share(std::string_view key) { return find_share_key(key) != nullptr; }

bool read_run_share(const Settings& settings, const Setting& setting, StageConfig& stage, Diagnostics& diagnostics) {
  ScalarProblem problem;
  const bool scalar = setting.value.kind == YamlNode::Kind::kScalar;
  const auto value = scalar ? parse_yaml_float(setting.value, problem) : std::nullopt;
  if (setting.key == "save_steps" && value && *value > 0 && *value < 1) {
    stage.shares.save = value;
    note_origin(setting, "save_steps", stage);
    return true;
  }
  const ShareKey* row = find_share_key(setting.key);
  if (row == nullptr) return false;
  if (is_empty_value(setting.value)) return true;
  const bool good = value && (row->counts ? *value >= 1 && *value <= kMaxPerEpoch && *value == std::floor(*value)
                                          : *value >= 0 && *value <= 1);
  if (!good) {
    diagnostics.add(Diagnostic("E0104", concat("`", row->key, "` must be ",
                                               row->counts ? "a whole number from 1" : "a share from 0 to 1",
                                               ", found `", value_text(setting.value), "`"))
                        .at(setting.value_location()));
    return true;
  }
  if (const std::string conflict = other_key_problem(settings, *row); !conflict.empty()) {
    diagnostics.add(Diagnostic("E0107", conflict).at(setting.key_location()).help(other_key_help(settings, *row)));
    return true;
  }
  stage.shares.*(row->share) = value;
  note_origin(setting, row->given, stage);
  return true;
}

void resolve_shares(StageConfig& stage, std::int64_t steps, std::int64_t steps_per_epoch) {
  const RunShares& shares = stage.shares;
  const auto share_of = [&](double share) { return share * static_cast<double>(steps); };
  const auto interval = [&](double per_epoch) {
    return std::max<std::int64_t>(1, ceil_div(steps_per_epoch, static_cast<std::int64_t>(per_epoch)));
  };
  TrainConfig& config = stage.config;
  if (shares.warmup) config.warmup_steps = static_cast<Integer>(share_of(*shares.warmup));
  if (shares.save) config.save_steps = std::max<Integer>(1, static_cast<Integer>(std::ceil(share_of(*shares.save))));
  if (shares.saves_per_epoch) config.save_steps = interval(*shares.saves_per_epoch);
  if (shares.evals_per_epoch == 1.0) {
    config.eval_steps.reset();  // at epoch ends
  } else if (shares.evals_per_epoch) {
    config.eval_steps = static_cast<double>(interval(*shares.evals_per_epoch));
  }
}

}  // namespace shori
