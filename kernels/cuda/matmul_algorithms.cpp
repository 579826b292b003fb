#include "kernels/cuda/matmul_algorithms.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <limits>

#include "kernels/common/cuda_check.h"
#include "shori/ops/device_limits.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::uint32_t kAlignment = 16;  // bytes, of all operands
constexpr int kMaxAnswers = 64;

struct Lengths {
  RowRange range;
  std::int64_t planned;                // for which the heuristic is asked
  std::vector<std::int64_t> accepted;  // at which the answer must be accepted
};
const std::vector<Lengths>& known_lengths() {
  static const std::vector<Lengths> list = {{{1, kMax}, 4096, {1, 64, 65, 4096, 16384}},  // 4096: a tile of the MLP
                                            {{1, 63}, 32, {1, 32, 63}},
                                            {{64, 1023}, 512, {64, 65, 512, 1023}},
                                            {{1024, kMax}, 4096, {1024, 4096, 16384}}};
  return list;
}
Lengths lengths_of(RowRange range) {
  const auto known = std::ranges::find(known_lengths(), range, &Lengths::range);
  return known != known_lengths().end() ? *known : Lengths{range, range.first, {range.first}};
}

std::optional<std::int32_t> attribute_of(const cublasLtMatmulAlgo_t& algorithm,
                                         cublasLtMatmulAlgoConfigAttributes_t attribute) {
  std::int32_t value = 0;
  std::size_t written = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written);
  return status == CUBLAS_STATUS_SUCCESS ? std::optional(value) : std::nullopt;
}

// Without split-K and without a reduction over blocks, one thread block sums each element, in one order. A value that was
// never set is 0 or -1. An algorithm that does not know the attribute is not taken.
bool sums_in_one_block(const cublasLtMatmulAlgo_t& algorithm) {
  const auto splits = attribute_of(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  const auto reduction = attribute_of(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
  return splits && *splits <= 1 && reduction && *reduction <= 0;
}

std::vector<cublasLtMatmulHeuristicResult_t> ask(cublasLtHandle_t handle, const MatmulProduct& product,
                                                 std::int64_t rows, bool without_reduction) {
  cublasLtMatmulPreferenceOpaque_t preference;
  SHORI_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    SHORI_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kMatmulWorkspaceBytes});
  if (without_reduction) {
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  }
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(attribute, kAlignment);
  }
  MatmulDescriptors d(product, rows);
  std::vector<cublasLtMatmulHeuristicResult_t> answers(kMaxAnswers);
  int count = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, &d.operation, &d.first, &d.second, &d.result, &d.result, &preference,
                                     kMaxAnswers, answers.data(), &count);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
  check_cublas(status, "cublasLtMatmulAlgoGetHeuristic");
  answers.resize(static_cast<std::size_t>(count));
  return answers;
}

std::string waves_text(float waves) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f waves", static_cast<double>(waves));
  return text;
}

MatmulAlgorithm described(const std::vector<cublasLtMatmulHeuristicResult_t>& answers, std::size_t index) {
  const cublasLtMatmulHeuristicResult_t& answer = answers[index];
  const auto text = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    const auto value = attribute_of(answer.algo, attribute);
    return value ? concat(*value) : std::string("unknown");
  };
  return {answer.algo, index == 0,
          concat("answer ", index + 1, " of ", answers.size(), ", algorithm ", text(CUBLASLT_ALGO_CONFIG_ID), ", tile ",
                 text(CUBLASLT_ALGO_CONFIG_TILE_ID), ", ", waves_text(answer.wavesCount))};
}

// The answers with the mask of reduction schemes and, where they give none, without it.
template <class Takes>
std::optional<MatmulAlgorithm> first_that(cublasLtHandle_t handle, const MatmulProduct& product, std::int64_t rows,
                                          const Takes& takes) {
  for (const bool without_reduction : {true, false}) {
    const auto answers = ask(handle, product, rows, without_reduction);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (answers[i].state == CUBLAS_STATUS_SUCCESS && takes(answers[i].algo)) return described(answers, i);
    }
  }
  return std::nullopt;
}

}  // namespace

void check_cublas(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  SHORI_CUDA_CHECK(cudaGetLastError());  // a failure of the device is the better message
  throw Error(Diagnostic("E0703", concat(call, ": ", cublasLtGetStatusString(status))));
}

std::string MatmulProduct::name() const {
  return concat(form == MatmulB::kTransposed ? "x.wT" : "x.w", " n ", n, " k ", k, " rows ", a_stride, " ", b_stride,
                " ", c_stride);
}

std::string RowRange::suffix() const {
  if (first == 1 && last == kMax) return {};
  if (first == last) return concat(" m ", first);
  return last == kMax ? concat(" m ", first, "-") : concat(" m ", first, "-", last);
}

std::vector<RowRange> ranges_of(std::int64_t rows) {
  std::vector<RowRange> ranges;
  for (const Lengths& lengths : known_lengths()) {
    if (lengths.range.first <= rows && rows <= lengths.range.last) ranges.push_back(lengths.range);
  }
  ranges.push_back({rows, rows});
  return ranges;
}

MatmulDescriptors::MatmulDescriptors(const MatmulProduct& p, std::int64_t rows) {
  const auto n = static_cast<std::uint64_t>(p.n), k = static_cast<std::uint64_t>(p.k);
  const auto m = static_cast<std::uint64_t>(rows);
  const bool transposed = p.form == MatmulB::kTransposed;
  const cublasOperation_t first_operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  SHORI_CUBLAS_CHECK(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  SHORI_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &first_operation,
                                                    sizeof(first_operation)));
  SHORI_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&first, CUDA_R_16BF, transposed ? k : n, transposed ? n : k, p.b_stride));
  SHORI_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&second, CUDA_R_16BF, k, m, p.a_stride));
  SHORI_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&result, CUDA_R_16BF, n, m, p.c_stride));
}

bool accepts(cublasLtHandle_t handle, const MatmulProduct& product, RowRange range,
             const cublasLtMatmulAlgo_t& algorithm) {
  return std::ranges::all_of(lengths_of(range).accepted, [&](std::int64_t rows) {
    MatmulDescriptors d(product, rows);
    cublasLtMatmulHeuristicResult_t checked{};
    const cublasStatus_t status =
        cublasLtMatmulAlgoCheck(handle, &d.operation, &d.first, &d.second, &d.result, &d.result, &algorithm, &checked);
    return status == CUBLAS_STATUS_SUCCESS && checked.workspaceSize <= kMatmulWorkspaceBytes;
  });
}

std::optional<MatmulAlgorithm> choose_algorithm(cublasLtHandle_t handle, const MatmulProduct& product, RowRange range) {
  return first_that(handle, product, lengths_of(range).planned, [&](const cublasLtMatmulAlgo_t& algorithm) {
    return sums_in_one_block(algorithm) && accepts(handle, product, range, algorithm);
  });
}

std::optional<MatmulAlgorithm> choose_any_algorithm(cublasLtHandle_t handle, const MatmulProduct& product,
                                                    std::int64_t rows) {
  return first_that(handle, product, rows, [&](const cublasLtMatmulAlgo_t& algorithm) {
    return accepts(handle, product, {rows, rows}, algorithm);
  });
}

}  // namespace shori
