// The state of the processor, and the CPU's products against the library's. `fma_loop` multiplies and adds in registers and
// touches no memory: a figure of another program belongs beside the rate of this loop at the same minute.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/nf4_decode.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/product.h"
#include "shori/ops/cpu_isa.h"

namespace shori {
namespace {

// In billions of operations a second; a multiply-add counts as two.
void report_flop(benchmark::State& state, double flop) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flop * static_cast<double>(state.iterations()) / 1e9, benchmark::Counter::kIsRate);
}

constexpr int kSums = 10;  // independent sums, so that none waits for another
constexpr std::int64_t kLoops = 1 << 20;

#ifdef __x86_64__
// sum = sum * factor + step in ten registers of eight lanes.
__attribute__((target("avx2,fma"), noinline)) float fma_in_registers(float start) {
  __m256 sums[kSums];
  for (__m256& sum : sums) sum = _mm256_set1_ps(start);
  const __m256 factor = _mm256_set1_ps(0.999f), step = _mm256_set1_ps(0.001f);
  for (std::int64_t i = 0; i < kLoops; ++i) {
#pragma GCC unroll 10
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, factor, step);
  }
  float total = 0;
  for (const __m256& sum : sums) total += _mm256_cvtss_f32(sum);
  return total;
}

void fma_loop(benchmark::State& state) {
  if (cpu_support().best < CpuIsa::kAvx2) return state.SkipWithError("needs AVX2");
  float start = 0.5f;
  for (auto _ : state) {
    benchmark::DoNotOptimize(start);
    benchmark::DoNotOptimize(fma_in_registers(start));
  }
  report_flop(state, 2.0 * 8 * kSums * kLoops);
}
BENCHMARK(fma_loop)->Unit(benchmark::kMillisecond);
#endif

// rows x cols x k, as the tasks of nf4_linear have them.
void sgemm(benchmark::State& state) {
  const std::int64_t rows = state.range(0), cols = state.range(1), k = state.range(2);
  const std::vector<float> a(static_cast<std::size_t>(rows * k), 0.5f), b(static_cast<std::size_t>(cols * k), 0.25f);
  std::vector<float> c(static_cast<std::size_t>(rows * cols));
  const SingleThreadBlas single;
  for (auto _ : state) matmul(dense(a.data(), rows, k), dense(b.data(), cols, k).transposed(), c.data(), cols);
  report_flop(state, 2.0 * static_cast<double>(rows * cols * k));
}
void tile_product(benchmark::State& state) {
  if (cpu_support().best != CpuIsa::kAmx) return state.SkipWithError("needs AMX");
  const std::int64_t rows = state.range(0), cols = state.range(1), k = state.range(2);
  const std::vector<Bf16> a(static_cast<std::size_t>(packed_elements(k, rows)), to_bf16(0.5f));
  const std::vector<Bf16> b(static_cast<std::size_t>(packed_elements(k, cols)), to_bf16(0.25f));
  std::vector<float> c(static_cast<std::size_t>(rows * cols));
  for (auto _ : state)
    multiply({a.data(), padded(k), b.data(), padded(k), rows, k, cols, c.data(), cols, Sum::kReplace});
  report_flop(state, 2.0 * static_cast<double>(rows * cols * k));
}
BENCHMARK(sgemm)->Args({512, 128, 2048})->Args({512, 128, 5632})->Args({128, 2048, 128})->Unit(benchmark::kMillisecond);
BENCHMARK(tile_product)
    ->Args({512, 128, 2048})
    ->Args({512, 128, 5632})
    ->Args({128, 2048, 128})
    ->Unit(benchmark::kMillisecond);

// 128 rows of 2,048 weights to fp32, by the instruction set that the argument names (CpuIsa).
void nf4_decode(benchmark::State& state) {
  const auto isa = static_cast<CpuIsa>(state.range(0));
  if (isa > cpu_support().best) return state.SkipWithError("not on this machine");
  constexpr std::int64_t kCount = 128 * 2048;
  std::vector<std::uint8_t> codes(kCount / 2, 0x5a);
  std::vector<float> scales(kCount / kNf4BlockSize, 0.02f), out(kCount);
  Nf4View weight;
  weight.layout = {128, 2048, false};
  weight.codes = codes.data();
  weight.scales = scales.data();
  for (auto _ : state) {
    decode_nf4(isa, weight, 0, kCount, out.data());
    benchmark::ClobberMemory();
  }
  state.SetLabel(std::string(name_of(isa)));
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(nf4_decode)->DenseRange(0, 2)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace shori
