#include "src/train/step/step_profile.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"

namespace shori {
namespace {

std::string profile_json(std::uint64_t step, const std::vector<OpProfile::Line>& lines) {
  Json ops = Json::array();
  for (const OpProfile::Line& line : lines) {
    Json op = {{"op", line.op}, {"calls", line.calls}, {"milliseconds", line.seconds * 1e3}};
    if (line.work.flop > 0) op["tflop_per_second"] = line.tflop_per_second();
    if (line.work.bytes > 0) op["gb_per_second"] = line.gb_per_second();
    ops.push_back(std::move(op));
  }
  return json_text({{"format", "shori-profile/1"}, {"step", step}, {"ops", std::move(ops)}}, 2) + "\n";
}

}  // namespace

StepProfile::StepProfile(Mistral& model)
    : model_(model), profile_(model.ops().device, model.ops().stream), begun_(now_seconds()) {
  model_.set_profile(&profile_);
}

StepProfile::~StepProfile() { model_.set_profile(nullptr); }

void StepProfile::write(std::uint64_t step, const RunFolder& folder) {
  const std::vector<OpProfile::Line> lines = profile_.lines();
  log_info(concat("--- profile of step ", step, ", ", format_duration(now_seconds() - begun_), " ---"));
  log_info(profile_table(lines));
  folder.write("profile.json", profile_json(step, lines));
}

}  // namespace shori
