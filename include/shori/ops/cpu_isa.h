// The instruction sets between which the CPU versions choose.
//
// kPlain, kAvx2 and kAvx512 differ in speed alone: results are the same bits. kAmx multiplies bf16 by the tile
// instructions, whose sums have an order of their own (kernels/cpu/product_order.h), so its results are other bits.
#pragma once

#include <string_view>

namespace shori {

enum class CpuIsa { kPlain, kAvx2, kAvx512, kAmx };

// "plain", "avx2", "avx512", "amx": the words of SHORI_CPU_ISA, of the log and of run.json.
std::string_view name_of(CpuIsa isa);

// What this machine has.
struct CpuSupport {
  CpuIsa best = CpuIsa::kPlain;
  bool tiles_refused = false;  // the processor has AMX, but the system did not give this process the tile registers
};
// Asks processor and system once. Call it before threads and alternate signal stacks exist: Linux refuses tile registers
// to a process with a signal stack too small for them.
const CpuSupport& cpu_support();

// The set that the ops use: the best one up to kAvx512, or the one that SHORI_CPU_ISA in the environment names. kAmx is used
// only where it is named, because no processor with tiles has run its kernels yet. E0408: the variable names no
// set, or one that this machine lacks. With SHORI_OPS=reference any set may be named, because its loops need none.
CpuIsa cpu_isa();

}  // namespace shori
