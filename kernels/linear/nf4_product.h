// The products of nf4_linear() by kernels that decode NF4 on the way to the tensor cores (nf4_product.cu), without a
// dequantized copy of the weights. An alternative to fused_weight() and device_matmul() for GeForce cards.
#pragma once

#include "shori/ops/linear_group.h"
#include "shori/ops/op_context.h"
#include "shori/util/device.h"

namespace shori {

// Whether the kernels take the group: NF4 throughout, in a multiple of 32, aligned, and outputs a multiple of 8.
bool nf4_product_takes(const LinearGroup& group);

// Whether the card adds in fp16 at twice the rate of fp32: GA10x and AD10x. Elsewhere the kernels sum in fp32.
bool adds_faster_in_half(const DeviceInfo& device);

// y [T, out()] = fused_x [T, fused_in()] . [W | B']^T, and fused_dx = dy . [W | B']. An element has the same bits whatever T is.
// Rounding: weights and rows of x (or dy), scaled by a power of two, to fp16; sums of 64 in fp16 if `half_sums`, else in
// fp32; these are added in fp32, and rounded once. LoRA columns of x stay bf16.
// Workspace: the rows in fp16, as many at a time as fit into nf4_linear_workspace_bytes(). Where the group has memory for its
// decoded weights, they go there.
void nf4_product(const OpContext& context, const LinearGroup& group, bool half_sums, ConstTensorView fused_x,
                 TensorView y);
void nf4_product_backward(const OpContext& context, const LinearGroup& group, bool half_sums, ConstTensorView dy,
                          TensorView fused_dx);

}  // namespace shori
