#include "shori/ops/cpu_isa.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "shori/util/error.h"

namespace shori {
namespace {

// Sets a variable of the environment in its scope.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

std::string processor_flags() {
  std::ifstream file("/proc/cpuinfo");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::size_t at = text.find("\nflags");
  return at == std::string::npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at) + " ";
}

// A tier that is skipped here would go untested without anyone noticing.
TEST(CpuIsa, IsTheBestOneThatTheSystemReports) {
  const std::string flags = processor_flags();
  const auto has = [&](const char* flag) { return flags.find(std::string(" ") + flag + " ") != std::string::npos; };
  CpuIsa expected = CpuIsa::kPlain;
  if (has("avx2") && has("fma")) expected = CpuIsa::kAvx2;
  if (expected == CpuIsa::kAvx2 && has("avx512f") && has("avx512bw") && has("avx512vl") && has("avx512dq")) {
    expected = has("amx_bf16") && has("amx_tile") ? CpuIsa::kAmx : CpuIsa::kAvx512;
  }
  EXPECT_EQ(name_of(cpu_support().best), name_of(expected))
      << (cpu_support().tiles_refused ? "arch_prctl refused the tile registers" : "");
  std::printf("instruction set: %s\n", std::string(name_of(cpu_support().best)).c_str());
}

TEST(CpuIsa, IsLoweredByTheEnvironmentButNotRaised) {
  EXPECT_EQ(cpu_isa(), std::min(cpu_support().best, CpuIsa::kAvx512)) << "tiles are used only where they are asked for";
  for (const CpuIsa isa : {CpuIsa::kPlain, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAmx}) {
    const Variable choice("SHORI_CPU_ISA", std::string(name_of(isa)).c_str());
    if (isa <= cpu_support().best) {
      EXPECT_EQ(cpu_isa(), isa);
    } else {
      EXPECT_THROW(cpu_isa(), Error) << name_of(isa);
      const Variable reference("SHORI_OPS", "reference");
      EXPECT_EQ(cpu_isa(), isa);
    }
  }
}

TEST(CpuIsa, RefusesOtherWordsAndNamesThoseThatAreKnown) {
  for (const char* word : {"AVX2", "avx", "avx2 ", "sse2", "amx,avx2", "0", "\xff"}) {
    const Variable choice("SHORI_CPU_ISA", word);
    try {
      cpu_isa();
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "E0408");
      EXPECT_NE(error.diagnostics().front().notes.front().find("plain"), std::string::npos);
    }
  }
  const Variable empty("SHORI_CPU_ISA", "");
  EXPECT_EQ(cpu_isa(), std::min(cpu_support().best, CpuIsa::kAvx512)) << "tiles are used only where they are asked for";
}

}  // namespace
}  // namespace shori
