// Large products on a GPU by cuBLASLt. matmul_algorithms.h says which of its algorithms runs.
#include <charconv>
#include <map>
#include <string>
#include <utility>

#include "kernels/common/cuda_check.h"
#include "kernels/common/device_matmul.h"
#include "kernels/cuda/matmul_algorithms.h"
#include "shori/ops/device_limits.h"
#include "shori/ops/matmul_choices.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {

namespace {

std::string version() { return concat(cublasLtGetVersion(), ":"); }

class CublasLt {
 public:
  static CublasLt& instance() {
    static CublasLt library;  // never destroyed before the device
    return library;
  }
  cublasLtHandle_t handle() const { return handle_; }

  const cublasLtMatmulAlgo_t& algorithm(const MatmulProduct& product, std::int64_t rows) {
    const std::vector<RowRange> ranges = ranges_of(rows);
    for (const RowRange range : ranges) {
      const auto known = algorithms_.find({product, range});
      if (known != algorithms_.end()) return known->second;
    }
    for (const RowRange range : ranges) {
      if (const auto recorded = find_matmul_choice(product.name() + range.suffix())) {
        return keep(product, range, decode(product, range, *recorded));
      }
    }
    for (const RowRange range : ranges) {
      if (const auto chosen = choose_algorithm(handle_, product, range)) {
        log_choice(product, range, *chosen);
        return remember(product, range, *chosen);
      }
    }
    if (const auto any = choose_any_algorithm(handle_, product, rows)) {
      log_info(concat("cuBLASLt sums parts of the product ", product.name(), ranges.back().suffix(),
                      " in several thread blocks: ", any->description));
      return remember(product, ranges.back(), *any);
    }
    throw Error(Diagnostic(
        "E0703", concat("cuBLASLt has no algorithm for the product ", product.name(), ranges.back().suffix())));
  }

 private:
  CublasLt() { SHORI_CUBLAS_CHECK(cublasLtCreate(&handle_)); }

  // What is out of the ordinary, because it costs speed, is shown on a terminal too.
  static void log_choice(const MatmulProduct& product, RowRange range, const MatmulAlgorithm& chosen) {
    const std::string text = concat("product ", product.name(), range.suffix(), ": ", chosen.description);
    if (!range.suffix().empty()) {
      log_info(concat(text, "; no algorithm of cuBLASLt serves every number of rows"));
    } else {
      chosen.is_first ? log_detail(text) : log_info(text);
    }
  }

  const cublasLtMatmulAlgo_t& keep(const MatmulProduct& product, RowRange range,
                                   const cublasLtMatmulAlgo_t& algorithm) {
    return algorithms_.emplace(std::pair{product, range}, algorithm).first->second;
  }
  const cublasLtMatmulAlgo_t& remember(const MatmulProduct& product, RowRange range, const MatmulAlgorithm& chosen) {
    remember_matmul_choice({product.name() + range.suffix(),
                            version() + to_hex(chosen.algorithm.data, sizeof(chosen.algorithm.data)),
                            chosen.description});
    return keep(product, range, chosen.algorithm);
  }

  cublasLtMatmulAlgo_t decode(const MatmulProduct& product, RowRange range, const std::string& recorded) const {
    cublasLtMatmulAlgo_t algorithm{};
    const std::string prefix = version();
    bool usable = recorded.starts_with(prefix) && recorded.size() == prefix.size() + 2 * sizeof(algorithm.data);
    for (std::size_t i = 0; usable && i < sizeof(algorithm.data); ++i) {
      const char* digits = recorded.data() + prefix.size() + 2 * i;
      usable = std::from_chars(digits, digits + 2, reinterpret_cast<unsigned char*>(algorithm.data)[i], 16).ptr ==
               digits + 2;
    }
    if (usable && accepts(handle_, product, range, algorithm)) return algorithm;
    throw Error(Diagnostic("E0509", concat("cuBLASLt ", prefix.substr(0, prefix.size() - 1),
                                           " does not accept the algorithm that the run started with for the product ",
                                           product.name(), range.suffix()))
                    .note("recorded: " + recorded));
  }

  cublasLtHandle_t handle_ = nullptr;
  std::map<std::pair<MatmulProduct, RowRange>, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace

void device_matmul(const OpContext& context, MatmulB form, ConstTensorView a, ConstTensorView b, TensorView c) {
  const bool transposed = form == MatmulB::kTransposed;
  SHORI_CHECK(a.rows == c.rows && a.cols == (transposed ? b.cols : b.rows) && c.cols == (transposed ? b.rows : b.cols),
              "device_matmul: the operands do not fit together");
  if (c.rows == 0 || c.cols == 0) return;
  const MatmulProduct product{form, c.cols, a.cols, a.stride, b.stride, c.stride};
  CublasLt& library = CublasLt::instance();
  const cublasLtMatmulAlgo_t& algorithm = library.algorithm(product, c.rows);
  const WorkspaceFrame frame(*context.workspace);
  void* workspace = context.workspace->take(kMatmulWorkspaceBytes);
  MatmulDescriptors d(product, c.rows);
  const float one = 1.0f, zero = 0.0f;
  SHORI_CUBLAS_CHECK(cublasLtMatmul(library.handle(), &d.operation, &one, b.data, &d.first, a.data, &d.second, &zero,
                                    c.data, &d.result, c.data, &d.result, &algorithm, workspace, kMatmulWorkspaceBytes,
                                    static_cast<cudaStream_t>(context.stream)));
  if (waits_after_each_call()) finish_call(context.stream, concat("cublasLtMatmul m ", c.rows, ", ", product.name()));
}

}  // namespace shori
