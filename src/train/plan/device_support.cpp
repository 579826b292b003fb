// What the device versions of the ops ask of a stage.
#include <string>

#include "shori/io/hf_model.h"
#include "shori/ops/device_limits.h"
#include "shori/train/memory_plan.h"
#include "shori/train/prepared_stage.h"
#include "src/train/plan/stage_options.h"

namespace shori {
namespace {

class Checker {
 public:
  Checker(const PreparedStage& stage, Diagnostics& diagnostics) : stage_(stage), diagnostics_(diagnostics) {}

  void check() {
    const MistralConfig& model = stage_.base->model->config();
    if (!stage_.stage.config.bf16) {
      diagnostics_.add(Diagnostic("E0107", "`bf16: false` does not go with a GPU")
                           .at(stage_.stage.origin("bf16").place)
                           .note("kernels compute with bf16 activations")
                           .help("write `bf16: true`, or `device: cpu`"));
    }
    if (stage_.stage.config.lora_r > kMaxDeviceRank) {
      diagnostics_.add(
          Diagnostic("E0107", "`lora_r: " + std::to_string(stage_.stage.config.lora_r) + "` does not go with a GPU")
              .at(stage_.stage.origin("lora_r").place)
              .note("kernels take ranks up to " + std::to_string(kMaxDeviceRank))
              .help("write `lora_r: " + std::to_string(kMaxDeviceRank) + "`, or `device: cpu`"));
    }
    multiple("hidden_size", model.hidden_size, kDeviceRowMultiple);
    multiple("intermediate_size", model.intermediate_size, kDeviceRowMultiple);
    multiple("vocab_size", model.vocab_size, kDeviceRowMultiple);
    multiple("head_dim", model.head_dim, kDeviceHeadMultiple);
    most("head_dim", model.head_dim, kMaxDeviceHeadDim);
    most("hidden_size", model.hidden_size, kMaxNormColumns);
  }

 private:
  void refuse(const std::string& message) {
    diagnostics_.add(
        Diagnostic("E0406", message).at(stage_.base->folder + "/config.json").help("`device: cpu` runs every shape"));
  }
  void multiple(const std::string& key, std::int64_t value, std::int64_t of) {
    if (value % of == 0) return;
    refuse("`" + key + "` " + std::to_string(value) + " is not a multiple of " + std::to_string(of) +
           ", which a GPU needs");
  }
  void most(const std::string& key, std::int64_t value, std::int64_t limit) {
    if (value <= limit) return;
    refuse("`" + key + "` " + std::to_string(value) + " is more than the " + std::to_string(limit) +
           " that kernels take");
  }

  const PreparedStage& stage_;
  Diagnostics& diagnostics_;
};

}  // namespace

void check_device_support(const PreparedStage& stage, Diagnostics& diagnostics) { Checker(stage, diagnostics).check(); }

}  // namespace shori
