// Large products on a GPU by cuBLASLt.
//
// The library's matrices are column-major. A row-major c = a b is c' = b' a' there, so the library's first operand is our b,
// its second is our a, and its m, n, k are our N, M, K.
//
// One algorithm serves each (form, N, K, strides) at every M, and neither timing nor free memory plays a part in its choice:
// it is the heuristic's first answer for kPlannedTokens that has no split-K and no reduction over thread blocks, and that
// the library also accepts for every M of kAcceptedTokens.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <array>
#include <charconv>
#include <compare>
#include <map>
#include <string>

#include "kernels/common/cuda_check.h"
#include "kernels/common/device_matmul.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/matmul_choices.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"

namespace shori {

namespace {

constexpr std::int64_t kPlannedTokens = 4096;  // a tile of the MLP
constexpr std::array<std::int64_t, 5> kAcceptedTokens = {1, 64, 65, 4096, 16384};
constexpr std::uint32_t kAlignment = 16;  // bytes, of all operands
constexpr int kMaxAnswers = 64;

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  SHORI_CUDA_CHECK(cudaGetLastError());  // a failure of the device is the better message
  throw Error(Diagnostic("E0703", std::string(call) + ": " + cublasLtGetStatusString(status)));
}
#define SHORI_CUBLAS_CHECK(call) check((call), #call)

struct Product {
  MatmulB form;
  std::int64_t n, k, a_stride, b_stride, c_stride;
  auto operator<=>(const Product&) const = default;

  std::string name() const {
    return concat(form == MatmulB::kTransposed ? "x.wT" : "x.w", " n ", n, " k ", k, " rows ", a_stride, " ", b_stride,
                  " ", c_stride);
  }
};

// The library's descriptors of one product at one M. They are plain members, so nothing is allocated.
struct Descriptors {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t first, second, result;

  Descriptors(const Product& p, std::int64_t tokens) {
    const auto n = static_cast<std::uint64_t>(p.n), k = static_cast<std::uint64_t>(p.k);
    const auto m = static_cast<std::uint64_t>(tokens);
    const bool transposed = p.form == MatmulB::kTransposed;
    const cublasOperation_t first_operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    SHORI_CUBLAS_CHECK(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    SHORI_CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &first_operation,
                                                      sizeof(first_operation)));
    SHORI_CUBLAS_CHECK(
        cublasLtMatrixLayoutInit(&first, CUDA_R_16BF, transposed ? k : n, transposed ? n : k, p.b_stride));
    SHORI_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&second, CUDA_R_16BF, k, m, p.a_stride));
    SHORI_CUBLAS_CHECK(cublasLtMatrixLayoutInit(&result, CUDA_R_16BF, n, m, p.c_stride));
  }
};

class CublasLt {
 public:
  static CublasLt& instance() {
    static CublasLt library;  // never destroyed before the device
    return library;
  }
  cublasLtHandle_t handle() const { return handle_; }

  const cublasLtMatmulAlgo_t& algorithm(const Product& product) {
    const auto known = algorithms_.find(product);
    if (known != algorithms_.end()) return known->second;
    const auto recorded = find_matmul_choice(product.name());
    const cublasLtMatmulAlgo_t algorithm = recorded ? decode(product, *recorded) : choose(product);
    if (!recorded) {
      remember_matmul_choice({product.name(), version() + to_hex(algorithm.data, sizeof(algorithm.data))});
    }
    return algorithms_.emplace(product, algorithm).first->second;
  }

 private:
  CublasLt() { SHORI_CUBLAS_CHECK(cublasLtCreate(&handle_)); }

  static std::string version() { return concat(cublasLtGetVersion(), ":"); }

  bool accepts(const Product& product, const cublasLtMatmulAlgo_t& algorithm) const {
    for (const std::int64_t tokens : kAcceptedTokens) {
      Descriptors d(product, tokens);
      cublasLtMatmulHeuristicResult_t checked{};
      const cublasStatus_t status = cublasLtMatmulAlgoCheck(handle_, &d.operation, &d.first, &d.second, &d.result,
                                                            &d.result, &algorithm, &checked);
      if (status != CUBLAS_STATUS_SUCCESS || checked.workspaceSize > kMatmulWorkspaceBytes) return false;
    }
    return true;
  }

  // Without split-K and without a reduction over blocks, one thread block sums each element, in one order.
  static bool sums_in_one_block(const cublasLtMatmulAlgo_t& algorithm) {
    for (const auto& [attribute, maximum] :
         {std::pair{CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 1}, {CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 0}}) {
      std::uint32_t value = 0;
      std::size_t written = 0;
      SHORI_CUBLAS_CHECK(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written));
      if (static_cast<std::int64_t>(value) > maximum) return false;
    }
    return true;
  }

  cublasLtMatmulAlgo_t choose(const Product& product) const {
    cublasLtMatmulPreferenceOpaque_t preference;
    SHORI_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      SHORI_CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof(value)));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{kMatmulWorkspaceBytes});
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(attribute, kAlignment);
    }
    Descriptors d(product, kPlannedTokens);
    std::array<cublasLtMatmulHeuristicResult_t, kMaxAnswers> answers{};
    int count = 0;
    SHORI_CUBLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(handle_, &d.operation, &d.first, &d.second, &d.result, &d.result,
                                                      &preference, kMaxAnswers, answers.data(), &count));
    for (int i = 0; i < count; ++i) {
      const cublasLtMatmulHeuristicResult_t& answer = answers[static_cast<std::size_t>(i)];
      if (answer.state != CUBLAS_STATUS_SUCCESS || !sums_in_one_block(answer.algo)) continue;
      if (accepts(product, answer.algo)) return answer.algo;
    }
    throw Error(Diagnostic("E0703", "cuBLASLt has no algorithm for the product " + product.name()));
  }

  cublasLtMatmulAlgo_t decode(const Product& product, const std::string& recorded) const {
    cublasLtMatmulAlgo_t algorithm{};
    const std::string prefix = version();
    bool usable = recorded.starts_with(prefix) && recorded.size() == prefix.size() + 2 * sizeof(algorithm.data);
    for (std::size_t i = 0; usable && i < sizeof(algorithm.data); ++i) {
      const char* digits = recorded.data() + prefix.size() + 2 * i;
      usable = std::from_chars(digits, digits + 2, reinterpret_cast<unsigned char*>(algorithm.data)[i], 16).ptr ==
               digits + 2;
    }
    if (usable && accepts(product, algorithm)) return algorithm;
    throw Error(Diagnostic("E0509", concat("cuBLASLt ", prefix.substr(0, prefix.size() - 1),
                                           " does not accept the algorithm that the run started with for the product ",
                                           product.name()))
                    .note("recorded: " + recorded));
  }

  cublasLtHandle_t handle_ = nullptr;
  std::map<Product, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace

void device_matmul(const OpContext& context, MatmulB form, ConstTensorView a, ConstTensorView b, TensorView c) {
  const bool transposed = form == MatmulB::kTransposed;
  SHORI_CHECK(a.rows == c.rows && a.cols == (transposed ? b.cols : b.rows) && c.cols == (transposed ? b.rows : b.cols),
              "device_matmul: the operands do not fit together");
  if (c.rows == 0 || c.cols == 0) return;
  const Product product{form, c.cols, a.cols, a.stride, b.stride, c.stride};
  CublasLt& library = CublasLt::instance();
  const cublasLtMatmulAlgo_t& algorithm = library.algorithm(product);
  const WorkspaceFrame frame(*context.workspace);
  void* workspace = context.workspace->take(kMatmulWorkspaceBytes);
  Descriptors d(product, c.rows);
  const float one = 1.0f, zero = 0.0f;
  SHORI_CUBLAS_CHECK(cublasLtMatmul(library.handle(), &d.operation, &one, b.data, &d.first, a.data, &d.second, &zero,
                                    c.data, &d.result, c.data, &d.result, &algorithm, workspace, kMatmulWorkspaceBytes,
                                    static_cast<cudaStream_t>(context.stream)));
  if (waits_after_each_call()) finish_call(context.stream, concat("cublasLtMatmul m ", c.rows, ", ", product.name()));
}

}  // namespace shori
