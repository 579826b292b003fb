#include "shori/ops/cpu_isa.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "shori/ops/op_context.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace shori {

namespace {

constexpr std::array<std::string_view, 4> kNames{"plain", "avx2", "avx512", "amx"};

#ifdef __x86_64__
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool has_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kTile = 1u << 24, kBf16 = 1u << 22;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kTile) != 0 && (edx & kBf16) != 0;
}
// Linux gives the 8 KiB of tile registers only to a process that asks for them.
bool ask_for_tiles() {
  constexpr long kGetPermission = 0x1022, kRequestPermission = 0x1023, kTileData = 18;
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return false;
  unsigned long permitted = 0;
  return syscall(SYS_arch_prctl, kGetPermission, &permitted) == 0 && (permitted >> kTileData & 1) != 0;
}

CpuSupport ask() {
  if (!has_avx2()) return {CpuIsa::kPlain};
  if (!has_avx512()) return {CpuIsa::kAvx2};
  if (!has_amx()) return {CpuIsa::kAvx512};
  return ask_for_tiles() ? CpuSupport{CpuIsa::kAmx} : CpuSupport{CpuIsa::kAvx512, true};
}
#else
CpuSupport ask() { return {}; }
#endif

std::string words_up_to(CpuIsa best) {
  std::string words;
  for (int i = 0; i <= static_cast<int>(best); ++i) {
    words += concat(i == 0 ? "" : ", ", kNames[static_cast<std::size_t>(i)]);
  }
  return words;
}

CpuIsa chosen(const std::string& word, CpuIsa best) {
  const Diagnostic wrong = Diagnostic("E0408", concat("SHORI_CPU_ISA=", escape_for_log(word), " is not possible here"))
                               .note(concat("this machine can use ", words_up_to(best)))
                               .help("unset SHORI_CPU_ISA");
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (word != kNames[i]) continue;
    const auto isa = static_cast<CpuIsa>(i);
    if (isa <= best || use_reference_ops()) return isa;
  }
  throw Error(wrong);
}

}  // namespace

std::string_view name_of(CpuIsa isa) { return kNames[static_cast<std::size_t>(isa)]; }

const CpuSupport& cpu_support() {
  static const CpuSupport support = ask();
  return support;
}

CpuIsa cpu_isa() {
  const char* word = std::getenv("SHORI_CPU_ISA");
  if (word != nullptr && *word != '\0') return chosen(word, cpu_support().best);
  return std::min(cpu_support().best, CpuIsa::kAvx512);
}

}  // namespace shori
