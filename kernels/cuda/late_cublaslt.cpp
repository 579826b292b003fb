// The functions of cuBLASLt under the names of its header. Each forwards to the library that open_device() loaded. They are
// hidden, so that libtorch still binds to the library itself.
#pragma GCC visibility push(hidden)
#include <cublasLt.h>

#include "kernels/cuda/late_libraries.h"

// The compiler checks each definition against its declaration in the header.
#define SHORI_LATE(result, name, parameters, arguments)                                            \
  result name parameters {                                                                         \
    static const auto function = reinterpret_cast<decltype(&name)>(::shori::late_function(#name)); \
    return function arguments;                                                                     \
  }

extern "C" {

SHORI_LATE(size_t, cublasLtGetVersion, (void), ())
SHORI_LATE(const char*, cublasLtGetStatusString, (cublasStatus_t status), (status))
SHORI_LATE(cublasStatus_t, cublasLtCreate, (cublasLtHandle_t * handle), (handle))
SHORI_LATE(cublasStatus_t, cublasLtMatmulDescInit_internal,
           (cublasLtMatmulDesc_t description, size_t size, cublasComputeType_t compute, cudaDataType_t scale),
           (description, size, compute, scale))
SHORI_LATE(cublasStatus_t, cublasLtMatmulDescSetAttribute,
           (cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const void* value, size_t size),
           (description, attribute, value, size))
SHORI_LATE(cublasStatus_t, cublasLtMatrixLayoutInit_internal,
           (cublasLtMatrixLayout_t layout, size_t size, cudaDataType type, uint64_t rows, uint64_t cols,
            int64_t stride),
           (layout, size, type, rows, cols, stride))
SHORI_LATE(cublasStatus_t, cublasLtMatmulPreferenceInit_internal, (cublasLtMatmulPreference_t preference, size_t size),
           (preference, size))
SHORI_LATE(cublasStatus_t, cublasLtMatmulPreferenceSetAttribute,
           (cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
            size_t size),
           (preference, attribute, value, size))
SHORI_LATE(cublasStatus_t, cublasLtMatmulAlgoGetHeuristic,
           (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
            cublasLtMatmulHeuristicResult_t results[], int* found),
           (handle, operation, a, b, c, d, preference, wanted, results, found))
SHORI_LATE(cublasStatus_t, cublasLtMatmulAlgoCheck,
           (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm,
            cublasLtMatmulHeuristicResult_t* result),
           (handle, operation, a, b, c, d, algorithm, result))
SHORI_LATE(cublasStatus_t, cublasLtMatmulAlgoConfigGetAttribute,
           (const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute, void* value,
            size_t size, size_t* written),
           (algorithm, attribute, value, size, written))
SHORI_LATE(cublasStatus_t, cublasLtMatmul,
           (cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
            cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
            const void* c, cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
            const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_size, cudaStream_t stream),
           (handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, workspace,
            workspace_size, stream))

}  // extern "C"
#pragma GCC visibility pop
