// Linears that are already NF4, as bitsandbytes writes them: their parts and headers.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "shori/io/hf_model.h"
#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/math.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/io/tensor_part.h"

namespace shori {
namespace {

constexpr std::int64_t kMinBlock = 64;  // that of the kernels; larger ones are multiples
constexpr std::int64_t kMaxBlock = 4096;
constexpr std::size_t kMaxStateBytes = 4096;
constexpr std::size_t kLevels = 16, kNestedLevels = 256;

struct PartName {
  std::string_view ending;
  TensorRole role;
};
constexpr std::array<PartName, 5> kParts = {{{".absmax", TensorRole::kAbsmax},
                                             {".quant_map", TensorRole::kQuantMap},
                                             {".nested_absmax", TensorRole::kNestedAbsmax},
                                             {".nested_quant_map", TensorRole::kNestedQuantMap},
                                             {".quant_state.bitsandbytes__nf4", TensorRole::kQuantState}}};

bool is_linear(std::string_view name) { return name.ends_with("_proj.weight"); }

// The tensors of one linear.
class LinearParts {
 public:
  LinearParts(const HfModel& model, const HfTensor& codes) : model_(model), codes_(codes) {}

  Nf4Header read(const std::vector<std::int64_t>& shape) {
    const HfTensor& state = part(TensorRole::kQuantState);
    read_state(state, shape);
    header_.nested = find(TensorRole::kNestedAbsmax) != nullptr;
    const std::int64_t count = shape[0] * shape[1], blocks = header_.blocks(count);
    if (codes_.entry.bytes() != static_cast<std::uint64_t>(ceil_div<std::int64_t>(count, 2)))
      refuse(codes_, concat("has ", codes_.entry.bytes(), " bytes, ", ceil_div<std::int64_t>(count, 2), " are needed"));
    want(TensorRole::kAbsmax, header_.nested ? FileDType::kU8 : FileDType::kF32, blocks);
    header_.map = read_floats(want(TensorRole::kQuantMap, FileDType::kF32, kLevels));
    if (!header_.nested) {
      if (const HfTensor* map = find(TensorRole::kNestedQuantMap)) refuse(*map, "is there, but no nested absmax");
      return std::move(header_);
    }
    if (header_.nested_block_size == 0) refuse(state, "lacks `nested_blocksize`");
    want(TensorRole::kNestedAbsmax, FileDType::kF32, ceil_div(blocks, header_.nested_block_size));
    header_.nested_map = read_floats(want(TensorRole::kNestedQuantMap, FileDType::kF32, kNestedLevels));
    return std::move(header_);
  }

 private:
  [[noreturn]] void refuse(const HfTensor& tensor, const std::string& problem) const {
    throw Error(Diagnostic("E0217", concat("`", escape_for_log(tensor.name, 200), "` ", problem))
                    .at(model_.shard_file(tensor.shard).file().path())
                    .help("download the model from its publisher again, or use the 16-bit weights"));
  }

  const HfTensor* find(TensorRole role) const {
    const auto kind = std::ranges::find(kParts, role, &PartName::role);
    return model_.find(concat(codes_.name, kind->ending));
  }
  const HfTensor& part(TensorRole role) const {
    const HfTensor* found = find(role);
    const auto kind = std::ranges::find(kParts, role, &PartName::role);
    if (found == nullptr) refuse(codes_, concat("is NF4 by the config, its `", kind->ending.substr(1), "` is missing"));
    return *found;
  }
  const HfTensor& want(TensorRole role, FileDType dtype, std::int64_t count) const {
    const HfTensor& tensor = part(role);
    if (tensor.dtype != dtype || tensor.entry.shape != std::vector<std::int64_t>{count})
      refuse(tensor, concat("is not ", dtype_name(dtype), " [", count, "]"));
    return tensor;
  }

  std::vector<float> read_floats(const HfTensor& tensor) const {
    std::vector<float> values(tensor.entry.bytes() / sizeof(float));
    model_.read_bytes(tensor, 0, values.data(), tensor.entry.bytes());
    if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
      refuse(tensor, "contains NaN or infinity");
    return values;
  }

  void read_state(const HfTensor& state, const std::vector<std::int64_t>& shape) {
    if (state.dtype != FileDType::kU8 || state.entry.bytes() > kMaxStateBytes) refuse(state, "is not a quant_state");
    std::string text(state.entry.bytes(), '\0');
    model_.read_bytes(state, 0, text.data(), text.size());
    JsonProblem problem;
    const auto json = parse_json(text, {.bytes = kMaxStateBytes, .depth = 4}, problem);
    if (!json || !json->is_object()) refuse(state, "is not the JSON of a quant_state: " + problem.message);
    const JsonValue* type = json->find("quant_type");
    if (!type || !type->is_string() || type->text != "nf4") refuse(state, "is not of `quant_type` \"nf4\"");
    header_.block_size = integer(state, *json, "blocksize", kMinBlock, kMaxBlock);
    if (header_.block_size % kMinBlock != 0) refuse(state, "`blocksize` is not a multiple of 64");
    check_words(state, *json);
    if (const JsonValue* own = json->find("shape"); own != nullptr && !own->is_null()) check_shape(state, *own, shape);
    if (json->find("nested_blocksize") == nullptr) return;
    header_.nested_block_size = integer(state, *json, "nested_blocksize", 1, 1 << 20);
    const JsonValue* offset = json->find("nested_offset");
    const auto number = offset ? offset->as_double() : std::nullopt;
    if (!number || !std::isfinite(static_cast<float>(*number))) refuse(state, "`nested_offset` is not a number");
    header_.nested_offset = static_cast<float>(*number);
  }

  std::int64_t integer(const HfTensor& state, const JsonValue& json, const char* key, std::int64_t low,
                       std::int64_t high) const {
    const JsonValue* value = json.find(key);
    const auto number = value ? value->as_integer() : std::nullopt;
    if (!number || *number < low || *number > high)
      refuse(state, concat("`", key, "` must be an integer from ", low, " to ", high));
    return *number;
  }
  // The dtype that the weight had before does not matter: values are always rounded to bf16.
  void check_words(const HfTensor& state, const JsonValue& json) const {
    const JsonValue *dtype = json.find("dtype"), *nested = json.find("nested_dtype");
    const auto is = [](const JsonValue* value, std::string_view word) {
      return value->is_string() && value->text == word;
    };
    if (!dtype || !(is(dtype, "bfloat16") || is(dtype, "float16") || is(dtype, "float32")))
      refuse(state, "`dtype` must be bfloat16, float16 or float32");
    if (nested && !is(nested, "float32")) refuse(state, "`nested_dtype` must be float32");
  }
  void check_shape(const HfTensor& state, const JsonValue& own, const std::vector<std::int64_t>& shape) const {
    bool same = own.is_array() && own.items.size() == shape.size();
    for (std::size_t i = 0; same && i < shape.size(); ++i) same = own.items[i].as_integer() == shape[i];
    if (!same) refuse(state, concat("`shape` is not [", shape[0], ", ", shape[1], "]"));
  }

  const HfModel& model_;
  const HfTensor& codes_;
  Nf4Header header_;
};

}  // namespace

TensorPart find_part(std::string_view name, const HfModelConfig& config) {
  if (!config.is_nf4) return {TensorRole::kValues, std::string(name)};
  if (is_linear(name)) return {TensorRole::kCodes, std::string(name)};
  for (const PartName& part : kParts) {
    if (!name.ends_with(part.ending)) continue;
    const std::string_view weight = name.substr(0, name.size() - part.ending.size());
    if (is_linear(weight)) return {part.role, std::string(weight)};
  }
  return {TensorRole::kValues, std::string(name)};
}

void HfModel::read_nf4_headers() {
  if (!config_.is_nf4) return;
  std::map<std::string, std::vector<std::int64_t>, std::less<>> shapes;
  for (auto& [name, shape] : expected_tensors(config_)) shapes[name] = shape;
  for (HfTensor& tensor : tensors_) {
    if (tensor.role != TensorRole::kCodes) continue;
    const std::vector<std::int64_t>& shape = shapes.at(tensor.name);
    tensor.nf4 = std::make_shared<const Nf4Header>(LinearParts(*this, tensor).read(shape));
    tensor.shape = shape;
  }
}

}  // namespace shori
