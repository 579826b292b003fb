// Large matrix products on a device: cuBLASLt on a GPU (kernels/cuda/matmul_cublaslt.cpp), the CPU's products in the
// emulator.
#pragma once

#include "kernels/common/launch.h"
#include "shori/ops/op_context.h"
#include "shori/ops/tensor_view.h"

namespace shori {

// c [M, N] = round(a [M, K] . b), bf16 in and out, fp32 sums. b is [N, K] (kTransposed: the weight of a linear, as it is
// stored) or [K, N] (kPlain). Rows may be longer than cols; strides and cols are multiples of 8.
//
// The algorithm depends on (form of b, N, K, strides) alone, never on timing or free memory, and on M only where the library
// has none for every M; a run that resumes takes the same one (ops/matmul_choices.h). On a GPU the call takes
// kMatmulWorkspaceBytes of the context's workspace.
enum class MatmulB { kTransposed, kPlain };
SHORI_LAUNCHER void device_matmul(const OpContext& context, MatmulB form, ConstTensorView a, ConstTensorView b,
                                  TensorView c);

}  // namespace shori
