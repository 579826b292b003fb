#include "shori/model/find_non_finite.h"

#include <algorithm>
#include <cmath>

#include "shori/util/text.h"
#include "src/model/pass/host_view.h"

namespace shori {
namespace {

bool is_finite(ConstTensorView tensor, std::int64_t row) {
  for (std::int64_t column = 0; column < tensor.cols; ++column) {
    const float value =
        tensor.dtype == DType::kF32 ? tensor.row<float>(row)[column] : to_float(tensor.row<Bf16>(row)[column]);
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// First row with NaN or Inf.
std::optional<std::int64_t> non_finite_row(const OpContext& context, ConstTensorView tensor) {
  constexpr std::int64_t kRowsAtOnce = 256;
  std::vector<std::byte> copy;
  for (std::int64_t first = 0; first < tensor.rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, tensor.rows - first);
    const ConstTensorView rows = host_view(context, tensor.slice_rows(first, count), copy);
    for (std::int64_t row = 0; row < count; ++row) {
      if (!is_finite(rows, row)) return first + row;
    }
  }
  return std::nullopt;
}

// As layer_pass.cpp names them.
bool is_product(std::string_view name) {
  return name.ends_with("_proj output") || name.find("input gradient of ") != std::string_view::npos;
}

std::string gradient_name(const LoraFactor& factor) {
  return concat("layers.", factor.layer, ".", name_of(factor.linear), factor.is_b ? ".lora_B" : ".lora_A", " gradient");
}

}  // namespace

std::optional<NonFiniteTensor> find_non_finite(Mistral& model, const PackedBatch& batch, const DropoutKey& dropout,
                                               double gradient_weight) {
  std::optional<NonFiniteTensor> found;
  model.set_probe([&](std::string_view name, ConstTensorView tensor, std::int64_t first_token) {
    if (found) return;
    if (const auto row = non_finite_row(model.ops(), tensor))
      found = NonFiniteTensor{std::string(name), first_token + *row, is_product(name)};
  });
  model.adapter()->zero_gradients(model.ops());
  model.begin(batch, dropout);
  for (std::int64_t layer = 0; layer < model.layer_count() && !found; ++layer) model.forward_layer(layer);
  if (!found) model.head_loss(gradient_weight);
  for (std::int64_t layer = model.layer_count() - 1; layer >= 0 && !found; --layer) model.backward_layer(layer);
  model.set_probe({});
  for (const LoraFactor& factor : model.adapter()->factors()) {
    if (!found && non_finite_row(model.ops(), factor.gradient.view())) found = NonFiniteTensor{gradient_name(factor)};
  }
  return found;
}

}  // namespace shori
