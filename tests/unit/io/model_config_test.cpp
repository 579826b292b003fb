#include <gtest/gtest.h>

#include "shori/util/error.h"
#include "tests/unit/io/model_files.h"

namespace shori {
namespace {

std::string code(const std::string& text) {
  return code_of([&] { parse_model_config(text, "config.json"); });
}
std::string with(const std::string& from, const std::string& to) { return code(replaced(kTinyConfig, from, to)); }

const char* const kMistral02 = R"({"architectures":["MistralForCausalLM"],"attention_dropout":0.0,"bos_token_id":1,
"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,"initializer_range":0.02,"intermediate_size":14336,
"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,
"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,
"tie_word_embeddings":false,"torch_dtype":"bfloat16","transformers_version":"4.36.0","use_cache":true,
"vocab_size":32000})";

TEST(ModelConfig, ReadsMistralInstruct02) {
  const HfModelConfig config = parse_model_config(kMistral02, "config.json");
  EXPECT_EQ(config.hidden_size, 4096);
  EXPECT_EQ(config.intermediate_size, 14336);
  EXPECT_EQ(config.layers, 32);
  EXPECT_EQ(config.heads, 32);
  EXPECT_EQ(config.kv_heads, 8);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.vocab_size, 32000);
  EXPECT_EQ(config.max_position_embeddings, 32768);
  EXPECT_EQ(config.sliding_window, 0);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_FALSE(config.tie_word_embeddings);
  const auto tensors = expected_tensors(config);
  EXPECT_EQ(tensors.size(), 291u);
  std::int64_t parameters = 0;
  for (const auto& [name, shape] : tensors) parameters += shape.size() == 2 ? shape[0] * shape[1] : shape[0];
  EXPECT_EQ(parameters, 7241732096);
}

TEST(ModelConfig, ReadsTheOtherShapes) {
  // v0.1: sliding window, rope theta 1e4; a file without the key has the window that transformers takes.
  const std::string v01 =
      replaced(replaced(kMistral02, "\"sliding_window\":null", "\"sliding_window\":4096"), "1000000.0", "10000.0");
  EXPECT_EQ(parse_model_config(v01, "c").sliding_window, 4096);
  EXPECT_EQ(parse_model_config(v01, "c").rope_theta, 1e4);
  const std::string v03 = replaced(replaced(kMistral02, "\"sliding_window\":null,", ""), "32000", "32768");
  EXPECT_EQ(parse_model_config(v03, "c").sliding_window, 4096);
  EXPECT_EQ(parse_model_config(v03, "c").notes.size(), 1u);
  EXPECT_EQ(parse_model_config(v01, "c").notes.size(), 0u);
  EXPECT_EQ(parse_model_config(v03, "c").vocab_size, 32768);
  // head_dim of its own; rope_parameters and dtype as transformers 5 writes them.
  const std::string own_head = replaced(kMistral02, "\"hidden_size\":4096", "\"head_dim\":64,\"hidden_size\":4096");
  EXPECT_EQ(parse_model_config(own_head, "c").head_dim, 64);
  EXPECT_EQ(expected_tensors(parse_model_config(own_head, "c"))[3].second, (std::vector<std::int64_t>{2048, 4096}));
  const std::string v5 = replaced(replaced(kMistral02, "\"rope_theta\":1000000.0",
                                           "\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"default\"}"),
                                  "torch_dtype", "dtype");
  EXPECT_EQ(parse_model_config(v5, "c").rope_theta, 5e5);
  EXPECT_EQ(code(replaced(kMistral02, "\"hidden_size\":4096", "\"head_dim\":null,\"hidden_size\":4096")), "none");
}

TEST(ModelConfig, OtherTokenIdsAreNotedAndScalingOfNothingIsAccepted) {
  const std::string chatml = replaced(kMistral02, "\"eos_token_id\":2", "\"eos_token_id\":32000");
  ASSERT_EQ(parse_model_config(chatml, "c").notes.size(), 1u);
  EXPECT_NE(parse_model_config(chatml, "c").notes[0].find("`eos_token_id` is 32000"), std::string::npos);
  EXPECT_EQ(with("\"rope_theta\"", "\"rope_scaling\": {\"rope_type\": \"default\"}, \"rope_theta\""), "none");
  EXPECT_EQ(with("\"rope_theta\"", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2.0}, \"rope_theta\""),
            "E0204");
}

TEST(ModelConfig, TiedEmbeddingsNeedNoHead) {
  const HfModelConfig config =
      parse_model_config(replaced(kTinyConfig, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"), "c");
  EXPECT_TRUE(config.tie_word_embeddings);
  for (const auto& [name, shape] : expected_tensors(config)) EXPECT_NE(name, "lm_head.weight");
}

TEST(ModelConfig, NoValueIsGuessed) {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "vocab_size", "rms_norm_eps", "rope_theta", "tie_word_embeddings", "hidden_act"})
    EXPECT_EQ(with("\"" + std::string(key) + "\"", "\"x_" + std::string(key) + "\""), "E0204") << key;
  EXPECT_EQ(code(replaced(replaced(kTinyConfig, "architectures", "x"), "model_type", "y")), "E0204");
  EXPECT_EQ(with("\"architectures\": [\"MistralForCausalLM\"],", ""), "none");  // model_type says so
}

TEST(ModelConfig, ValuesOfAnotherKindOrRangeAreRefused) {
  for (const char* value : {"0", "-8", "8.0", "\"8\"", "true", "null", "1e1", "99999999999999999999", "[8]"})
    EXPECT_EQ(with("\"hidden_size\": 8", "\"hidden_size\": " + std::string(value)), "E0204") << value;
  for (const char* value : {"0", "-1e-5", "\"1e-5\"", "2", "null", "1e400"})
    EXPECT_EQ(with("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": " + std::string(value)), "E0204") << value;
  for (const char* value : {"0", "-1", "4.5", "\"4096\"", "true"})
    EXPECT_EQ(with("\"sliding_window\": null", "\"sliding_window\": " + std::string(value)), "E0204") << value;
  EXPECT_EQ(with("\"rope_theta\": 1000000.0", "\"rope_theta\": 0"), "E0204");
  EXPECT_EQ(with("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": 0"), "E0204");
  EXPECT_EQ(with("\"num_attention_heads\": 2", "\"num_attention_heads\": 3"), "E0204");  // 8 % 3
  EXPECT_EQ(with("\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3"), "E0204");  // 2 % 3
  EXPECT_EQ(with("\"num_key_value_heads\": 1", "\"num_key_value_heads\": 4"), "E0204");
  EXPECT_EQ(with("\"num_attention_heads\": 2", "\"num_attention_heads\": 8"), "E0204");  // head size 1 is odd
  EXPECT_EQ(with("\"silu\"", "\"gelu\""), "E0204");
  EXPECT_EQ(with("MistralForCausalLM", "LlamaForCausalLM"), "E0204");
  EXPECT_EQ(with("\"rope_theta\"", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}, \"rope_theta\""),
            "E0204");
  EXPECT_EQ(with("\"rope_theta\": 1000000.0", "\"rope_parameters\": {\"rope_theta\": 1e6, \"rope_type\": \"yarn\"}"),
            "E0204");
  EXPECT_EQ(with("\"hidden_act\"", "\"attention_dropout\": 0.1, \"hidden_act\""), "E0204");
}

TEST(ModelConfig, AllProblemsAreReportedWithTheirLocations) {
  try {
    parse_model_config(replaced(replaced(kTinyConfig, "\"hidden_size\": 8", "\"hidden_size\": 9"), "1e-05", "7"),
                       "m/config.json");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    ASSERT_EQ(error.diagnostics().size(), 2u);
    EXPECT_EQ(error.diagnostics()[0].location.file, "m/config.json");
    EXPECT_EQ(error.diagnostics()[0].location.line, 3u);
    EXPECT_EQ(error.diagnostics()[0].location.column, 3u);
    EXPECT_EQ(error.diagnostics()[1].location.line, 10u);
  }
}

TEST(ModelConfig, MalformedJsonIsRefused) {
  EXPECT_EQ(code(""), "E0214");
  EXPECT_EQ(code("[]"), "E0214");
  EXPECT_EQ(code("{\"a\": 1,}"), "E0214");
  EXPECT_EQ(with("\"hidden_size\": 8", "\"hidden_size\": 8, \"hidden_size\": 8"), "E0214");
  EXPECT_EQ(with("\"silu\"", "\"\xff\""), "E0214");
  EXPECT_EQ(with("null", std::string(20, '[') + std::string(20, ']')), "E0214");
}

TEST(ModelConfig, QuantizedBasesAreRefused) {
  EXPECT_EQ(with("\"hidden_act\"", "\"quantization_config\": {\"load_in_4bit\": true}, \"hidden_act\""), "E0216");
  EXPECT_EQ(with("\"hidden_act\"", "\"quantization_config\": null, \"hidden_act\""), "none");
  EXPECT_EQ(with("\"hidden_act\"", "\"quantization_config\": {\"load_in_8bit\": true}, \"hidden_act\""), "E0216");
  EXPECT_EQ(with("\"hidden_act\"", "\"quantization_config\": [], \"hidden_act\""), "E0216");
  EXPECT_EQ(with("\"hidden_act\"",
                 "\"quantization_config\": {\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\"}, \"hidden_act\""),
            "none");
}

TEST(ModelConfig, CodeOfAModelIsIgnoredAndNamed) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(with("\"hidden_act\"", "\"auto_map\": {\"AutoModel\": \"evil.Model\"}, \"hidden_act\""), "none");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("`auto_map` is ignored"), std::string::npos);
}

}  // namespace
}  // namespace shori
