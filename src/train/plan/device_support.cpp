// What the device versions of the ops require of a stage.
#include <string>

#include "shori/io/hf_model.h"
#include "shori/model/device_shape.h"
#include "shori/ops/device_limits.h"
#include "shori/train/memory_plan.h"
#include "shori/train/prepared_stage.h"
#include "shori/util/text.h"

namespace shori {
namespace {

class Checker {
 public:
  Checker(const PreparedStage& stage, Diagnostics& diagnostics) : stage_(stage), diagnostics_(diagnostics) {}

  void check() {
    if (!stage_.config.bf16) {
      diagnostics_.add(Diagnostic("E0107", "`bf16: false` is not possible on a GPU")
                           .at(stage_.origin("bf16").location)
                           .note("kernels compute with bf16 activations")
                           .help("write `bf16: true`, or `device: cpu`"));
    }
    if (stage_.config.lora_r > kMaxDeviceRank) {
      diagnostics_.add(Diagnostic("E0107", concat("`lora_r: ", stage_.config.lora_r, "` is not possible on a GPU"))
                           .at(stage_.origin("lora_r").location)
                           .note(concat("kernels take ranks up to ", kMaxDeviceRank))
                           .help(concat("write `lora_r: ", kMaxDeviceRank, "`, or `device: cpu`")));
    }
    for (const std::string& problem : device_shape_problems(stage_.base->model->config())) refuse(problem);
  }

 private:
  void refuse(const std::string& message) {
    diagnostics_.add(
        Diagnostic("E0406", message).at(stage_.base->folder + "/config.json").help("`device: cpu` runs every shape"));
  }

  const PreparedStage& stage_;
  Diagnostics& diagnostics_;
};

}  // namespace

void check_device_support(const PreparedStage& stage, Diagnostics& diagnostics) { Checker(stage, diagnostics).check(); }

}  // namespace shori
