// config.json of a Mistral model.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "shori/io/hf_model.h"
#include "shori/io/limits.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

std::string found_text(const JsonValue* value) {
  if (!value) return ", it is missing";
  if (value->kind == JsonValue::Kind::kBool) return value->boolean ? ", found true" : ", found false";
  if (value->text.empty()) return ", found another kind of value";
  return ", found " + escape_for_log(value->text);
}

constexpr char kDownloadAgain[] = "download the config.json of this model again";
constexpr char kOtherModel[] =
    "this program trains Mistral-type models: Mistral 7B and its fine-tunes, such as mistralai/Mistral-7B-Instruct-v0.2";

// How to repair a file that is no JSON; `offset` is where the parser stopped.
std::string json_help(std::string_view text, std::size_t offset, const std::string& path) {
  if (text.starts_with(kByteOrderMark))
    return "delete the byte order mark: " + sed_command("'1s/^\\xEF\\xBB\\xBF//'", path);
  const std::string_view rest = text.substr(std::min(offset, text.size()));
  if (rest.starts_with("/") || rest.starts_with("#")) return "delete the comment there: JSON has none";
  return offset >= text.size() ? std::string(kDownloadAgain) : concat("correct it there, or ", kDownloadAgain);
}

class ConfigReader {
 public:
  ConfigReader(std::string_view text, const std::string& path) : text_(text), path_(path) {
    JsonProblem problem;
    auto root = parse_json(text, {.bytes = kMaxJsonFile, .depth = 16}, problem);
    if (!root || !root->is_object()) {
      throw Error(Diagnostic("E0214", root ? "config.json is not an object" : problem.message)
                      .at(location(problem.offset))
                      .help(json_help(text, problem.offset, path)));
    }
    root_ = std::move(*root);
  }

  SourceLocation location(std::size_t offset) const { return location_of(path_, text_, offset); }
  void problem(const JsonValue* value, const std::string& message, const std::string& help = kDownloadAgain) {
    Diagnostic diagnostic("E0204", message);
    value ? diagnostic.at(location(value->key_offset)) : diagnostic.at(path_);
    problems_.add(diagnostic.help(help));
  }
  const JsonValue* find(std::string_view key) const { return root_.find(key); }

  std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high) {
    const JsonValue* value = find(key);
    const auto number = value ? value->as_integer() : std::nullopt;
    if (number && *number >= low && *number <= high) return *number;
    problem(value, concat("`", key, "` must be an integer from ", low, " to ", high, found_text(value)));
    return 0;
  }
  double real(const JsonValue* value, const std::string& key, double low, double high) {
    const auto number = value ? value->as_double() : std::nullopt;
    if (number && *number > low && *number <= high) return *number;
    problem(value, concat("`", key, "` must be a number above ", format_double(low), " and up to ", format_double(high),
                          found_text(value)));
    return 0;
  }
  void finish() const { problems_.throw_if_errors(); }

 private:
  std::string_view text_;
  const std::string& path_;
  JsonValue root_;
  Diagnostics problems_;
};

// The classes that `architectures` names, or `model_type`.
std::string found_architecture(const JsonValue* architectures, const JsonValue* type) {
  std::string names;
  if (architectures && architectures->is_array())
    for (const JsonValue& item : architectures->items)
      if (item.is_string()) names += concat(names.empty() ? "" : ", ", escape_for_log(item.text, 60));
  if (names.empty() && type && type->is_string()) names = escape_for_log(type->text, 60);
  return names.empty() ? std::string() : concat(", found ", names);
}

// Alone, because every other value of another model would be reported as well.
void check_architecture(ConfigReader& reader) {
  const JsonValue *architectures = reader.find("architectures"), *type = reader.find("model_type");
  bool mistral = type && type->is_string() && type->text == "mistral";
  if (architectures && architectures->is_array()) {
    mistral = false;
    for (const JsonValue& item : architectures->items) mistral |= item.is_string() && item.text == "MistralForCausalLM";
  }
  if (mistral) return;
  reader.problem(architectures ? architectures : type,
                 concat("not a Mistral model: `architectures` must contain \"MistralForCausalLM\"",
                        found_architecture(architectures, type)),
                 kOtherModel);
  reader.finish();
}

void check_kind(ConfigReader& reader) {
  for (const char* key : {"auto_map", "trust_remote_code", "custom_pipelines"})
    if (reader.find(key))
      log_info(concat("config.json: `", key, "` is ignored; the program never loads code of a model"));
  const JsonValue* dropout = reader.find("attention_dropout");
  if (dropout && dropout->as_double() != 0.0)
    reader.problem(dropout, concat("`attention_dropout` other than 0 is not supported", found_text(dropout)),
                   "write `\"attention_dropout\": 0.0` in it: attention is then trained without dropout");
  const JsonValue* activation = reader.find("hidden_act");
  if (!activation || !activation->is_string() || activation->text != "silu")
    reader.problem(activation, concat("`hidden_act` must be \"silu\"", found_text(activation)),
                   activation ? kOtherModel : kDownloadAgain);
}

// Whether the linears are NF4 by bitsandbytes. Every other quantization is refused.
bool read_quantization(const ConfigReader& reader) {
  const JsonValue* quantization = reader.find("quantization_config");
  if (!quantization || quantization->is_null()) return false;
  const auto says = [&](const char* key, const char* word) {
    const JsonValue* value = quantization->find(key);
    return value != nullptr && value->is_string() && value->text == word;
  };
  const auto is_true = [&](const char* key) {
    const JsonValue* value = quantization->find(key);
    return value != nullptr && value->kind == JsonValue::Kind::kBool && value->boolean;
  };
  // Versions of transformers from early 2024 do not write `quant_method`.
  const bool bitsandbytes = says("quant_method", "bitsandbytes") || quantization->find("quant_method") == nullptr;
  if (bitsandbytes && is_true("load_in_4bit") && says("bnb_4bit_quant_type", "nf4")) return true;
  throw Error(Diagnostic("E0216", "this base is quantized in a way that is not supported (`quantization_config`)")
                  .at(reader.location(quantization->key_offset))
                  .note("only NF4 by bitsandbytes is read: `load_in_4bit` true, `bnb_4bit_quant_type` \"nf4\"")
                  .help("use the 16-bit weights"));
}

// {"rope_type": "default"}, which some versions of transformers write where nothing is scaled; `type` in older ones.
bool is_default_rope(const JsonValue& scaling) {
  const JsonValue* type = scaling.find("rope_type");
  if (type == nullptr) type = scaling.find("type");
  return type != nullptr && type->is_string() && type->text == "default" && scaling.find("factor") == nullptr;
}

// rope_theta is at the top level (transformers 4) or in rope_parameters (transformers 5). Scaled variants are other
// models.
double read_rope_theta(ConfigReader& reader) {
  const JsonValue* parameters = reader.find("rope_parameters");
  const JsonValue* inner = parameters && parameters->is_object() ? parameters->find("rope_theta") : nullptr;
  const JsonValue* scaling = reader.find("rope_scaling");
  if (scaling && !scaling->is_null() && !is_default_rope(*scaling))
    reader.problem(scaling, "`rope_scaling` is not supported: its positions are not those of Mistral", kOtherModel);
  const JsonValue* type = parameters && parameters->is_object() ? parameters->find("rope_type") : nullptr;
  if (type && type->text != "default")
    reader.problem(type, "`rope_type` " + escape_for_log(type->text) + " is not supported", kOtherModel);
  return reader.real(inner ? inner : reader.find("rope_theta"), "rope_theta", 1, 1e12);
}

void read_heads(ConfigReader& reader, HfModelConfig& config) {
  config.heads = reader.integer("num_attention_heads", 1, 1024);
  config.kv_heads = reader.integer("num_key_value_heads", 1, 1024);
  if (config.heads == 0 || config.kv_heads == 0 || config.hidden_size == 0) return;
  if (config.heads % config.kv_heads != 0)
    reader.problem(
        reader.find("num_key_value_heads"),
        concat("`num_attention_heads` ", config.heads, " is not divisible by ", config.kv_heads, " key/value heads"));
  const JsonValue* head_dim = reader.find("head_dim");
  if (head_dim && !head_dim->is_null()) {
    config.head_dim = reader.integer("head_dim", 2, 1024);
  } else if (config.hidden_size % config.heads != 0) {
    reader.problem(reader.find("hidden_size"),
                   concat("`hidden_size` ", config.hidden_size, " is not divisible by ", config.heads, " heads"));
  } else {
    config.head_dim = config.hidden_size / config.heads;
  }
  if (config.head_dim % 2 != 0)
    reader.problem(head_dim ? head_dim : reader.find("hidden_size"),
                   concat("the head size must be even, found ", config.head_dim));
}

// MistralConfig's default is 4096 in every version, so a file without the key is a model with a window.
void read_sliding_window(ConfigReader& reader, HfModelConfig& config) {
  constexpr std::int64_t kDefault = 4096;
  const JsonValue* window = reader.find("sliding_window");
  if (window == nullptr) {
    config.sliding_window = kDefault;
    config.notes.push_back(
        concat("without `sliding_window`, attention reaches ", kDefault,
               " tokens back, as in transformers; `\"sliding_window\": null` is a model without a window"));
  } else if (window->as_integer() == 0) {
    reader.problem(window, "`sliding_window` is 0: attention would reach no token",
                   "write `\"sliding_window\": null` for a model without a window");
  } else if (!window->is_null()) {
    config.sliding_window = reader.integer("sliding_window", 1, 1 << 30);
  }
}

// Texts begin and end with the control pieces of tokenizer.model, whatever config.json says.
void note_token_ids(const ConfigReader& reader, HfModelConfig& config) {
  for (const auto& [key, name, id] : {std::tuple{"bos_token_id", "<s>", 1}, std::tuple{"eos_token_id", "</s>", 2}}) {
    const JsonValue* value = reader.find(key);
    const auto number = value ? value->as_integer() : std::nullopt;
    if (!number || *number == id) continue;
    config.notes.push_back(
        concat("`", key, "` is ", *number, "; the program trains with `", name, "` of tokenizer.model, ", id));
  }
}

}  // namespace

HfModelConfig parse_model_config(std::string_view text, const std::string& path) {
  ConfigReader reader(text, path);
  HfModelConfig config;
  check_architecture(reader);
  config.is_nf4 = read_quantization(reader);
  check_kind(reader);
  config.hidden_size = reader.integer("hidden_size", 1, 65536);
  config.intermediate_size = reader.integer("intermediate_size", 1, 1 << 20);
  config.layers = reader.integer("num_hidden_layers", 1, 1024);
  config.vocab_size = reader.integer("vocab_size", 1, 1 << 24);
  read_heads(reader, config);
  config.rms_norm_eps = static_cast<float>(reader.real(reader.find("rms_norm_eps"), "rms_norm_eps", 0, 0.1));
  config.rope_theta = read_rope_theta(reader);
  if (reader.find("max_position_embeddings"))
    config.max_position_embeddings = reader.integer("max_position_embeddings", 1, 1 << 30);
  read_sliding_window(reader, config);
  note_token_ids(reader, config);
  const JsonValue* tie = reader.find("tie_word_embeddings");
  if (!tie || tie->kind != JsonValue::Kind::kBool)
    reader.problem(tie, "`tie_word_embeddings` must be true or false");
  else
    config.tie_word_embeddings = tie->boolean;
  reader.finish();
  return config;
}

std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected_tensors(const MistralConfig& config) {
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> table;
  table.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = concat("model.layers.", layer, ".");
    table.push_back({prefix + "input_layernorm.weight", {config.hidden_size}});
    table.push_back({prefix + "post_attention_layernorm.weight", {config.hidden_size}});
    for (const Linear linear : kLinears) {
      const LinearShape shape = shape_of(config, linear);
      table.push_back({concat(prefix, path_of(linear), ".weight"), {shape.out, shape.in}});
    }
  }
  table.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tie_word_embeddings) table.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  return table;
}

}  // namespace shori
