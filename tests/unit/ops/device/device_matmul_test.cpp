// Products of the device at the shapes of Mistral-7B (tiny ones on the emulator), with the strides of fused rows. Each prints
// a line with its rate and the algorithm that was chosen.
#include "kernels/common/device_matmul.h"

#include <cstdio>

#include "shori/ops/matmul_choices.h"
#include "tests/support/device_twins.h"

namespace shori {
namespace {

using testing::DeviceTest;
using testing::normal_bf16;

using MatmulDevice = DeviceTest;

constexpr std::size_t kWorkspace = std::size_t{64} << 20;

struct Shape {
  MatmulB form;
  std::int64_t n, k;
};

struct Job {
  std::vector<Shape> shapes;
  std::vector<std::int64_t> lengths;  // the last one even
};

// The fused rows of qkv (4096 + 3 ranks of 20, rounded up) and of down, forward and backward.
Job job() {
  if (device_backend() == "emulated") {
    return {{{MatmulB::kTransposed, 48, 72}, {MatmulB::kPlain, 72, 48}}, {1, 8, 9, 40}};
  }
  return {{{MatmulB::kTransposed, 6144, 4160},
           {MatmulB::kTransposed, 4096, 14368},
           {MatmulB::kPlain, 4160, 6144},
           {MatmulB::kPlain, 14368, 4096}},
          {1, 64, 65, 4096}};
}

std::vector<Bf16> values(std::int64_t rows, std::int64_t cols, std::uint32_t seed) {
  const std::vector<Bf16> chunk = normal_bf16(100003, seed);
  std::vector<Bf16> all(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = chunk[i % chunk.size()];
  return all;
}

// One product with dense operands on the device.
class Product {
 public:
  Product(const Shape& shape, std::int64_t rows)
      : shape_(shape),
        rows_(rows),
        host_a_(values(rows, shape.k, 1)),
        host_b_(values(shape.n, shape.k, 2)),
        a_(host_a_),
        b_(host_b_),
        c_(static_cast<std::size_t>(rows * shape.n)) {}

  void run(const OpContext& context, std::int64_t first, std::int64_t count) {
    const bool transposed = shape_.form == MatmulB::kTransposed;
    const std::int64_t b_rows = transposed ? shape_.n : shape_.k, b_cols = transposed ? shape_.k : shape_.n;
    device_matmul(context, shape_.form, {a_.get() + first * shape_.k, DType::kBf16, count, shape_.k, shape_.k},
                  {b_.get(), DType::kBf16, b_rows, b_cols, b_cols},
                  {c_.get() + first * shape_.n, DType::kBf16, count, shape_.n, shape_.n});
  }
  std::vector<Bf16> result() const { return c_.to_host(); }

  double exact(std::int64_t row, std::int64_t col) const {
    double sum = 0;
    for (std::int64_t k = 0; k < shape_.k; ++k) {
      const std::int64_t b = shape_.form == MatmulB::kTransposed ? col * shape_.k + k : k * shape_.n + col;
      sum += double{to_float(host_a_[static_cast<std::size_t>(row * shape_.k + k)])} *
             to_float(host_b_[static_cast<std::size_t>(b)]);
    }
    return sum;
  }

 private:
  Shape shape_;
  std::int64_t rows_;
  std::vector<Bf16> host_a_, host_b_;
  DeviceArray<Bf16> a_, b_, c_;
};

double seconds_of(Product& product, const OpContext& context, std::int64_t rows) {
  product.run(context, 0, rows);  // chooses the algorithm and loads its kernel
  DeviceEvent start, stop;
  start.record(context.stream);
  product.run(context, 0, rows);
  stop.record(context.stream);
  stop.synchronize();
  return std::max(stop.seconds_since(start), 1e-9);
}

TEST_F(MatmulDevice, AgreesWithFp64AtEveryLength) {
  for (const Shape& shape : job().shapes) {
    for (const std::int64_t rows : job().lengths) {
      SCOPED_TRACE(concat("n ", shape.n, " k ", shape.k, " rows ", rows));
      Product product(shape, rows);
      const double seconds = seconds_of(product, device(kWorkspace), rows);
      const std::vector<Bf16> got = product.result();
      for (std::int64_t i = 0; i < 64; ++i) {
        const std::int64_t row = i * 7919 % rows, col = (i * 104729 + 1) % shape.n;
        const double exact = product.exact(row, col);
        // One rounding to bf16 and fp32 sums of normal values.
        const double bound = std::abs(exact) / 256 + 1e-5 * static_cast<double>(shape.k);
        EXPECT_NEAR(to_float(got[static_cast<std::size_t>(row * shape.n + col)]), exact, bound) << row << ' ' << col;
      }
      const double flop = 2.0 * static_cast<double>(rows * shape.n) * static_cast<double>(shape.k);
      std::printf("measured %s m %lld n %lld k %lld: %.3f ms, %.1f TFLOP/s\n",
                  shape.form == MatmulB::kTransposed ? "x.wT" : "x.w", static_cast<long long>(rows),
                  static_cast<long long>(shape.n), static_cast<long long>(shape.k), 1e3 * seconds,
                  flop / seconds / 1e12);
    }
  }
  for (const MatmulChoice& choice : matmul_choices()) {
    std::printf("measured choice %s: %s\n", choice.product.c_str(), choice.description.c_str());
  }
}

// A pack is cut into tiles by its length; a row has the same bits in each.
TEST_F(MatmulDevice, RowsDoNotDependOnHowManyAreMultiplied) {
  for (const Shape& shape : job().shapes) {
    SCOPED_TRACE(concat("n ", shape.n, " k ", shape.k));
    const std::int64_t rows = job().lengths.back(), half = rows / 2;
    Product whole(shape, rows), halves(shape, rows);
    whole.run(device(kWorkspace), 0, rows);
    const std::vector<Bf16> wanted = whole.result();
    const OpContext context = device(kWorkspace);
    halves.run(context, 0, half);
    halves.run(context, half, half);
    EXPECT_TRUE(halves.result() == wanted);
  }
}

}  // namespace
}  // namespace shori
