// Rows of weights are the tasks: each is read by one thread and multiplied with all tokens while it is in registers.
#include "kernels/linear/few_tokens.h"

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/row_product.h"
#include "kernels/cpu/rows.h"
#include "shori/util/math.h"

namespace shori {

namespace {

// Weights of a task: enough that taking the next one costs nothing beside it.
constexpr std::int64_t kWeightsOfTask = 1 << 16;

std::int64_t rows_of_task(std::int64_t cols) { return std::max<std::int64_t>(8, kWeightsOfTask / cols); }

// The tokens as rows of one weight take them.
const float* packed_inputs(const OpContext& context, const FrozenWeight& weight, const ConstMatrix& x) {
  const std::int64_t size = packed_input_size(weight);
  float* packed = context.workspace->take_array<float>(static_cast<std::size_t>(x.rows * size));
  for (std::int64_t token = 0; token < x.rows; ++token) {
    pack_input(weight, x.data + token * x.row_stride, packed + token * size);
  }
  return packed;
}

// One module with its inputs.
struct Product {
  const LinearModule* module;
  std::int64_t first_column;  // of its output among the group's
  const float* x;
  FrozenWeight b;  // B' [out, rank]
  const float* xa;
};

std::vector<Product> products_of(const OpContext& context, const LinearGroup& group, const ConstMatrix& x,
                                 DType activation) {
  std::vector<Product> products;
  std::int64_t column = 0;
  for (const LinearModule& module : group.modules) {
    const bool packed = !products.empty() && products.front().module->weight.dtype == module.weight.dtype;
    Product product{&module,
                    column,
                    packed ? products.front().x : packed_inputs(context, module.weight, x.slice_cols(0, group.in())),
                    {},
                    nullptr};
    if (module.has_lora()) {
      product.b = FrozenWeight::of(activation, module.weight.rows, group.rank, module.b_scaled);
      product.xa =
          packed_inputs(context, product.b, x.slice_cols(group.in() + module.lora_index * group.rank, group.rank));
    }
    products.push_back(product);
    column += module.weight.rows;
  }
  return products;
}

struct RowTask {
  const Product* product;
  std::int64_t first, last;
};
std::vector<RowTask> row_tasks(const std::vector<Product>& products) {
  std::vector<RowTask> tasks;
  for (const Product& product : products) {
    const std::int64_t rows = product.module->weight.rows, step = rows_of_task(product.module->weight.cols);
    for (std::int64_t row = 0; row < rows; row += step) tasks.push_back({&product, row, std::min(rows, row + step)});
  }
  return tasks;
}

}  // namespace

void few_token_lora_down(const OpContext& context, const LinearGroup& group, TensorView fused_x) {
  const std::int64_t in = group.in(), rank = group.rank, tokens = fused_x.rows;
  const ConstMatrix x = widened(context, fused_x);
  const CpuIsa isa = cpu_isa();
  const std::int64_t step = std::min(rank, rows_of_task(in)), tasks_of_module = ceil_div(rank, step);
  std::array<FrozenWeight, kMaxModulesOfGroup> factors;
  for (const LinearModule& module : group.modules) {
    if (module.has_lora())
      factors[static_cast<std::size_t>(module.lora_index)] = FrozenWeight::of(fused_x.dtype, rank, in, module.a);
  }
  const float* packed = packed_inputs(context, factors.front(), x.slice_cols(0, in));
  const WorkerScratch<1> scratch(context, {tokens * step});
  for_each_task(group.lora_count() * tasks_of_module, [&](std::int64_t task, std::int64_t worker) {
    const std::int64_t module = task / tasks_of_module, first = task % tasks_of_module * step;
    const std::int64_t last = std::min(rank, first + step);
    const auto [sums] = scratch.of(worker);
    multiply_rows(isa, factors[static_cast<std::size_t>(module)], first, last, packed, tokens, sums, step);
    for (std::int64_t token = 0; token < tokens; ++token) {
      store_row(sums + token * step, fused_x, token, in + module * rank + first, last - first);
    }
  });
  const std::int64_t used = group.lora_count() * rank;
  const std::vector<float> zeros(static_cast<std::size_t>(group.lora_columns() - used));
  for (std::int64_t token = 0; token < tokens; ++token) {
    store_row(zeros.data(), fused_x, token, in + used, std::ssize(zeros));
  }
}

void few_token_linear(const OpContext& context, const LinearGroup& group, ConstTensorView fused_x, TensorView y) {
  const std::int64_t tokens = fused_x.rows;
  const CpuIsa isa = cpu_isa();
  const std::vector<Product> products = products_of(context, group, widened(context, fused_x), fused_x.dtype);
  const std::vector<RowTask> tasks = row_tasks(products);
  const std::int64_t stride = rows_of_task(group.in());
  const WorkerScratch<2> scratch(context, {tokens * stride, tokens * stride});
  for_each_task(std::ssize(tasks), [&](std::int64_t index, std::int64_t worker) {
    const auto& [product, first, last] = tasks[static_cast<std::size_t>(index)];
    const auto [sums, lora] = scratch.of(worker);
    multiply_rows(isa, product->module->weight, first, last, product->x, tokens, sums, stride);
    if (product->xa != nullptr) multiply_rows(isa, product->b, first, last, product->xa, tokens, lora, stride);
    for (std::int64_t token = 0; token < tokens; ++token) {
      if (product->xa != nullptr) add_to_row(lora + token * stride, sums + token * stride, last - first);
      store_row(sums + token * stride, y, token, product->first_column + first, last - first);
    }
  });
}

}  // namespace shori
