#include "src/chat/model/device_support.h"

#include "shori/model/device_shape.h"
#include "shori/ops/device_limits.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {

bool open_device_of(const ChatModelOptions& options) {
  if (options.device == DeviceChoice::kAuto || options.device == DeviceChoice::kCpu) return false;
  if (device_backend() == "none")
    throw Error(Diagnostic("E0404", "`--device cuda`: this program was built without CUDA").help("--device cpu"));
  if (options.base_type == BaseType::kF32)
    throw Error(Diagnostic("E0116", "`--base-type f32` is not possible on a GPU")
                    .note("kernels compute with bf16 activations")
                    .help("`--base-type bf16`, or `--device cpu`"));
  log_info("GPU: " + open_device().name);
  return true;
}

void check_device_shape(const HfModel& model, const std::optional<LoraSettings>& lora) {
  constexpr const char* kHelp = "`--device cpu` runs every shape";
  Diagnostics problems;
  for (const std::string& problem : device_shape_problems(model.config()))
    problems.add(Diagnostic("E0406", problem).at(join_path(model.folder(), "config.json")).help(kHelp));
  if (lora && lora->rank > kMaxDeviceRank)
    problems.add(Diagnostic("E0406", concat("the adapter's rank ", lora->rank, " is more than the ", kMaxDeviceRank,
                                            " that kernels take"))
                     .help(kHelp));
  problems.throw_if_errors();
}

}  // namespace shori
