#include "shori/model/device_shape.h"

#include "shori/ops/device_limits.h"
#include "shori/util/text.h"

namespace shori {

std::vector<std::string> device_shape_problems(const MistralConfig& config) {
  std::vector<std::string> problems;
  const auto require_multiple = [&problems](const char* key, std::int64_t value, std::int64_t of) {
    if (value % of != 0)
      problems.push_back(concat("`", key, "` ", value, " is not a multiple of ", of, ", which a GPU needs"));
  };
  const auto require_at_most = [&problems](const char* key, std::int64_t value, std::int64_t limit) {
    if (value > limit)
      problems.push_back(concat("`", key, "` ", value, " is more than the ", limit, " that kernels take"));
  };
  require_multiple("hidden_size", config.hidden_size, kDeviceRowMultiple);
  require_multiple("intermediate_size", config.intermediate_size, kDeviceRowMultiple);
  require_multiple("vocab_size", config.vocab_size, kDeviceRowMultiple);
  require_multiple("head_dim", config.head_dim, kDeviceHeadMultiple);
  require_at_most("head_dim", config.head_dim, kMaxDeviceHeadDim);
  require_at_most("hidden_size", config.hidden_size, kMaxNormColumns);
  return problems;
}

}  // namespace shori
