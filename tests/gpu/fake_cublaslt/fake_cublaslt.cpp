#include "tests/gpu/fake_cublaslt/fake_cublaslt.h"

#include <cublasLt.h>

#include <algorithm>
#include <cstring>

using shori::testing::FakeAlgorithm;
using shori::testing::FakeLibrary;

namespace {

FakeLibrary library;

// Rows of a layout are kept in its first word, columns in its second.
std::int64_t columns_of(cublasLtMatrixLayout_t layout) { return static_cast<std::int64_t>(layout->data[1]); }

const FakeAlgorithm* find(const cublasLtMatmulAlgo_t* algorithm) {
  const auto found = std::ranges::find(library.answers, algorithm->data[0], &FakeAlgorithm::id);
  return found == library.answers.end() ? nullptr : &*found;
}

}  // namespace

extern "C" {

FakeLibrary* fake_cublaslt() { return &library; }

size_t cublasLtGetVersion() { return 130100; }
const char* cublasLtGetStatusString(cublasStatus_t) { return "status of the fake"; }
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(&library);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t, size_t, cublasComputeType_t, cudaDataType_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, const void*,
                                              size_t) {
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t, cudaDataType, uint64_t rows,
                                                 uint64_t cols, int64_t) {
  layout->data[0] = rows;
  layout->data[1] = cols;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, size_t) {
  preference->data[0] = 0;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void*,
                                                    size_t) {
  if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) preference->data[0] = 1;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  ++library.questions;
  *found = 0;
  if (preference->data[0] != 0 && !library.knows_the_mask) return CUBLAS_STATUS_NOT_SUPPORTED;
  for (const FakeAlgorithm& answer : library.answers) {
    if (columns_of(b) < answer.first_rows || columns_of(b) > answer.last_rows || *found == wanted) continue;
    cublasLtMatmulHeuristicResult_t& result = results[(*found)++];
    result = {};
    result.algo.data[0] = answer.id;
    result.state = CUBLAS_STATUS_SUCCESS;
    result.workspaceSize = answer.workspace;
    result.wavesCount = 1.5f;
  }
  return *found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulHeuristicResult_t* result) {
  const FakeAlgorithm* answer = find(algorithm);
  if (answer == nullptr || columns_of(b) < answer->first_rows || columns_of(b) > answer->last_rows)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  result->workspaceSize = answer->workspace;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
                                                    size_t size, size_t* written) {
  const FakeAlgorithm* answer = find(algorithm);
  if (!answer->knows_attributes) return CUBLAS_STATUS_INVALID_VALUE;
  std::int32_t number = attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM ? answer->splits : 0;
  if (attribute == CUBLASLT_ALGO_CONFIG_ID) number = static_cast<std::int32_t>(answer->id);
  std::memcpy(value, &number, size);
  *written = size;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void*, const void*, cublasLtMatrixLayout_t,
                              const void*, cublasLtMatrixLayout_t b, const void*, const void*, cublasLtMatrixLayout_t,
                              void*, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t* algorithm, void*, size_t,
                              cudaStream_t) {
  library.calls.push_back({algorithm->data[0], columns_of(b)});
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
