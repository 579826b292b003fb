// A Hugging Face model folder of Mistral type: config.json and safetensors, one file or shards. Headers are checked
// when it is opened; weights are read on demand, in chunks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shori/io/mistral_config.h"
#include "shori/io/safetensors.h"
#include "shori/util/hash.h"
#include "shori/util/math.h"

namespace shori {

// config.json. Every value is read from the file, as class defaults of transformers differ between versions; only an
// absent head_dim is hidden_size / heads, and an absent sliding_window is the 4096 of every version: null means none.
struct HfModelConfig : MistralConfig {
  std::int64_t max_position_embeddings = 0;
  std::vector<std::string> notes;  // what a user should know about values that are absent or not used
  bool is_nf4 = false;             // the linears are NF4 as bitsandbytes writes them (`quantization_config`)
};
// E0204 with line and column for every value that is missing, of the wrong kind, or out of range; E0216 for a model
// that is quantized in another way than NF4 by bitsandbytes.
HfModelConfig parse_model_config(std::string_view text, const std::string& path);

struct HfShard {
  std::string name;
  std::uint64_t size = 0;
};

// A tensor of the files is values, or a part of a linear that is NF4 already. For P.weight [out, in]
// with n = out * in (bitsandbytes 0.50, QuantState.as_dict(packed=True)):
//   P.weight                  codes, ceil(n / 2) bytes in any dtype, even element in the high nibble
//   P.weight.absmax           U8 [blocks] if nested, else F32 [blocks]; blocks = ceil(n / block_size)
//   P.weight.quant_map        F32 [16]
//   P.weight.nested_absmax    F32 [ceil(blocks / nested_block_size)], only if nested
//   P.weight.nested_quant_map F32 [256], only if nested
//   P.weight.quant_state.bitsandbytes__nf4   U8: JSON, see Nf4Header
enum class TensorRole : std::uint8_t {
  kValues,
  kCodes,
  kAbsmax,
  kQuantMap,
  kNestedAbsmax,
  kNestedQuantMap,
  kQuantState
};

// The quant_state of a linear and its quantization maps.
struct Nf4Header {
  std::int64_t block_size = 64;  // a multiple of 64
  bool nested = false;
  std::int64_t nested_block_size = 0;
  float nested_offset = 0;
  std::vector<float> map, nested_map;  // [16]; [256] if nested

  std::int64_t blocks(std::int64_t count) const { return ceil_div(count, block_size); }
};

struct HfTensor {
  std::string name;
  FileDType dtype = FileDType::kBf16;  // values: BF16, F16 or F32
  std::vector<std::int64_t> shape;     // values and codes: 1 or 2 dimensions of the weight
  std::size_t shard = 0;
  TensorEntry entry;
  TensorRole role = TensorRole::kValues;
  std::string weight;                    // the P.weight that it is a part of; for values and codes their own name
  std::shared_ptr<const Nf4Header> nf4;  // only for codes

  std::int64_t rows() const { return shape.size() == 2 ? shape[0] : 1; }
  std::int64_t cols() const { return shape.back(); }
};

class HfModel {
 public:
  using Report = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

  // Codes E0201-E0204, E0207-E0209, E0212, E0214-E0217.
  static HfModel open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const HfModelConfig& config() const { return config_; }
  const std::string& config_json() const { return config_json_; }
  const std::vector<HfShard>& shards() const { return shards_; }
  const SafetensorsFile& shard_file(std::size_t index) const { return files_[index]; }
  // Text of model.safetensors.index.json; empty for a single file.
  const std::string& index_json() const { return index_json_; }

  // Exactly the tensors of the architecture, in file order (shard by shard, by offset). If the base is NF4 already, all
  // parts of its linears are among them.
  const std::vector<HfTensor>& tensors() const { return tensors_; }
  const HfTensor* find(std::string_view name) const;
  std::uint64_t tensor_bytes() const;

  // Rows first .. first + count - 1 widened to fp32 (exact), [count, cols]. Pages of the file that have been read are
  // dropped from the system's cache.
  void read_rows(const HfTensor& tensor, std::int64_t first, std::int64_t count, float* out) const;
  void read_bytes(const HfTensor& tensor, std::uint64_t offset, void* into, std::uint64_t bytes) const;

  // SHA-256 over, for each tensor in name order, `name \0 dtype \0 shape \0 sha256(bytes)`: dtype as in the file
  // ("BF16"), shape as decimal numbers joined by ',', the digest as 32 bytes. Does not depend on the shard layout.
  // Reads all weights once; throws Stopped when a stop was requested.
  std::string fingerprint(const Report& report = {}) const;
  // The same, from the SHA-256 of each tensor's bytes in the order of tensors().
  std::string fingerprint_of(const std::vector<Sha256Digest>& digests) const;
  // SHA-256 over config.json and the name, size and header SHA-256 of each shard: cheap, and changes whenever a file is
  // replaced by one of another shape.
  std::string header_fingerprint() const;

 private:
  void open_shards(const std::vector<std::string>& names);
  void collect_tensors(const std::map<std::string, std::string>& weight_map);
  void read_nf4_headers();

  std::string folder_, config_json_, index_json_;
  HfModelConfig config_;
  std::vector<HfShard> shards_;
  std::vector<SafetensorsFile> files_;
  std::vector<HfTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

// Name and shape of every tensor of the architecture.
std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected_tensors(const MistralConfig& config);

}  // namespace shori
