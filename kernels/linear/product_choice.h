// Whether a product with frozen weights goes through cuBLASLt or through nf4_product().
#pragma once

#include <functional>
#include <string>

#include "kernels/common/device_matmul.h"
#include "shori/ops/linear_group.h"

namespace shori {

// "frozen x.wT out 4096+1024+1024 in 4096+64": form, outputs of each module, inputs and LoRA columns.
std::string frozen_product_name(MatmulB form, const LinearGroup& group);

// nf4_product() is taken only where it saves this share of the time.
inline constexpr double kWorthwhile = 0.05;
inline constexpr std::int64_t kMinTimedRows = 1024;  // a shorter product says little about a pack
bool is_worthwhile(double nf4_seconds, double library_seconds);

// The two ways to make one product. Each writes the same result to the same memory.
struct ProductWays {
  std::function<void()> library, nf4;
};
// Runs the way that FrozenProducts and the choices so far name (ops/matmul_choices.h). With kAuto the first product of a shape
// on a card that adds faster in fp16, if it is long enough, is made by both ways, which are timed, and the choice is remembered.
void run_frozen_product(const OpContext& context, MatmulB form, const LinearGroup& group, std::int64_t rows,
                        const ProductWays& ways);

}  // namespace shori
