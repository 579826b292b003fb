#include "src/model/weights/refuse_value.h"

#include <algorithm>
#include <cmath>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

void refuse_value(const HfTensor& tensor, std::int64_t element, float value) {
  const char* kind = std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf";
  throw Error(Diagnostic("E0210", concat("`", tensor.name, "` holds ", kind, " at element ", element))
                  .note(concat("row ", element / tensor.cols(), ", column ", element % tensor.cols()))
                  .help("get the model again from its publisher"));
}

void refuse_non_finite(const HfTensor& tensor, std::int64_t first, std::span<const float> values) {
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (bad != values.end()) refuse_value(tensor, first + (bad - values.begin()), *bad);
}

}  // namespace shori
