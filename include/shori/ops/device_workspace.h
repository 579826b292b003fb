// Bytes that ops take from OpContext.workspace on a device, for the memory plan: its region holds the largest of them.
// Functions of shapes alone. On a device an op never allocates anything else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shori {

// Of each large product (cuBLASLt); counted in the functions below.
inline constexpr std::size_t kMatmulWorkspaceBytes = std::size_t{64} << 20;

// nf4_linear and nf4_linear_backward: the dequantized weights of the group. `extended_in` = in() +
// extension_columns().
std::size_t nf4_linear_workspace_bytes(std::int64_t out, std::int64_t extended_in);

// head_loss: one chunk of logits.
std::size_t head_loss_workspace_bytes(std::int64_t tokens, std::int64_t vocabulary);

// nf4_quantize_absmax: sums of groups of blocks.
std::size_t nf4_quantize_workspace_bytes(std::int64_t blocks);

// nf4_matmul: partial sums of the parts into which columns are cut.
std::size_t nf4_matmul_workspace_bytes(std::int64_t tokens, std::int64_t out, std::int64_t in);

// attention_backward: its output and the gradient of it, whole and without gaps between rows.
std::size_t attention_backward_workspace_bytes(std::int64_t tokens, std::int64_t columns);

// lora_down: sums of parts of the columns.
std::size_t lora_down_workspace_bytes(std::int64_t tokens, std::int64_t slots, std::int64_t rank);

// lora_grad_a and lora_grad_b: sums of slabs of tokens. `columns`: of all gradients together, slots() * in() or the
// outputs of the modules with LoRA.
std::size_t lora_grad_workspace_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t rank);

}  // namespace shori
