#include "shori/io/hf_model.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "shori/io/half.h"
#include "shori/util/bf16.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "tests/unit/io/model_files.h"

namespace shori {
namespace {

namespace fs = std::filesystem;

std::string open_code(const TemporaryFolder& folder) {
  return code_of([&] { HfModel::open(folder.path()); });
}

std::vector<Diagnostic> open_problems(const TemporaryFolder& folder) {
  try {
    HfModel::open(folder.path());
  } catch (const Error& error) {
    return error.diagnostics();
  }
  return {};
}

TestTensor& named(std::vector<TestTensor>& tensors, const std::string& name) {
  for (TestTensor& tensor : tensors)
    if (tensor.name == name) return tensor;
  throw std::runtime_error(name);
}

// The fingerprint written from its definition.
std::string expected_fingerprint(const std::vector<TestTensor>& tensors) {
  std::map<std::string, std::string> parts;
  for (const TestTensor& tensor : tensors) {
    const Sha256Digest digest = sha256(tensor.data.data(), tensor.data.size());
    const std::string shape = shape_json(tensor.shape);
    parts[tensor.name] = tensor.name + '\0' + tensor.dtype + '\0' + shape.substr(1, shape.size() - 2) + '\0' +
                         std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
  }
  std::string all;
  for (const auto& [name, part] : parts) all += part;
  return sha256_hex(all);
}

TEST(HfModel, ReadsASingleFile) {
  const TemporaryFolder folder;
  const std::vector<TestTensor> tensors = tiny_tensors();
  write_single(folder, tensors);
  const HfModel model = HfModel::open(folder.path());
  EXPECT_EQ(model.config().hidden_size, 8);
  EXPECT_EQ(model.config_json(), kTinyConfig);
  EXPECT_EQ(model.index_json(), "");
  ASSERT_EQ(model.shards().size(), 1u);
  EXPECT_EQ(model.shards()[0].name, "model.safetensors");
  ASSERT_EQ(model.tensors().size(), 21u);
  std::uint64_t bytes = 0;
  for (const TestTensor& tensor : tensors) {
    const HfTensor* found = model.find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape);
    std::string data(found->entry.bytes(), '\0');
    model.read_bytes(*found, 0, data.data(), data.size());
    EXPECT_EQ(data, tensor.data);
    bytes += tensor.data.size();
  }
  EXPECT_EQ(model.tensor_bytes(), bytes);
  EXPECT_EQ(model.find("none"), nullptr);
}

TEST(HfModel, ReadsRowsOfEveryDType) {
  const TemporaryFolder folder;
  std::vector<TestTensor> tensors = tiny_tensors();
  TestTensor& half = named(tensors, "model.layers.0.self_attn.k_proj.weight");  // [4, 8]
  half.dtype = "F16";
  TestTensor& single = named(tensors, "model.layers.1.mlp.up_proj.weight");  // [12, 8]
  single.dtype = "F32";
  single.data.clear();
  for (int i = 0; i < 96; ++i) {
    const float value = 0.5f * static_cast<float>(i) - 3.25f;
    single.data.append(reinterpret_cast<const char*>(&value), 4);
  }
  write_single(folder, tensors);
  const HfModel model = HfModel::open(folder.path());
  float rows[96];
  const HfTensor& bf16 = *model.find("model.embed_tokens.weight");
  EXPECT_EQ(bf16.rows(), 16);
  EXPECT_EQ(bf16.cols(), 8);
  model.read_rows(bf16, 3, 2, rows);
  const std::string& bf16_data = named(tensors, "model.embed_tokens.weight").data;
  for (int i = 0; i < 16; ++i) {
    Bf16 value;
    std::memcpy(&value, bf16_data.data() + (3 * 8 + i) * 2, 2);
    EXPECT_EQ(rows[i], to_float(value));
  }
  model.read_rows(*model.find(half.name), 1, 3, rows);
  for (int i = 0; i < 24; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, half.data.data() + (8 + i) * 2, 2);
    EXPECT_EQ(rows[i], half_to_float(bits));
  }
  model.read_rows(*model.find(single.name), 0, 12, rows);
  for (int i = 0; i < 96; ++i) EXPECT_EQ(rows[i], 0.5f * static_cast<float>(i) - 3.25f);
  const HfTensor& norm = *model.find("model.norm.weight");
  EXPECT_EQ(norm.rows(), 1);
  EXPECT_EQ(norm.cols(), 8);
  EXPECT_EQ(code_of([&] { model.read_rows(norm, 1, 1, rows); }), "E0001");
}

TEST(HfModel, FingerprintDoesNotDependOnTheShards) {
  const std::vector<TestTensor> tensors = tiny_tensors();
  const TemporaryFolder single, sharded, reversed;
  write_single(single, tensors);
  write_sharded(sharded, tensors, two_shards);
  write_single(reversed, {tensors.rbegin(), tensors.rend()});
  const std::string wanted = expected_fingerprint(tensors);
  EXPECT_EQ(HfModel::open(single.path()).fingerprint(), wanted);
  EXPECT_EQ(HfModel::open(sharded.path()).fingerprint(), wanted);
  EXPECT_EQ(HfModel::open(reversed.path()).fingerprint(), wanted);
  EXPECT_NE(HfModel::open(single.path()).header_fingerprint(), HfModel::open(sharded.path()).header_fingerprint());
  std::vector<TestTensor> changed = tensors;
  changed[4].data[3] = static_cast<char>(changed[4].data[3] ^ 1);
  const TemporaryFolder other;
  write_single(other, changed);
  EXPECT_NE(HfModel::open(other.path()).fingerprint(), wanted);
  EXPECT_EQ(HfModel::open(other.path()).header_fingerprint(), HfModel::open(single.path()).header_fingerprint());
}

TEST(HfModel, FingerprintReportsProgressToTheEnd) {
  const TemporaryFolder folder;
  write_single(folder, tiny_tensors());
  const HfModel model = HfModel::open(folder.path());
  std::uint64_t last = 0, calls = 0;
  model.fingerprint([&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    EXPECT_EQ(total, model.tensor_bytes());
    last = done;
    ++calls;
  });
  EXPECT_EQ(last, model.tensor_bytes());
  EXPECT_GE(calls, 21u);
}

TEST(HfModel, ReadsShardsByTheIndex) {
  const TemporaryFolder folder;
  write_sharded(folder, tiny_tensors(), two_shards);
  testing::internal::CaptureStderr();
  const HfModel model = HfModel::open(folder.path());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(model.tensors().size(), 21u);
  ASSERT_EQ(model.shards().size(), 2u);
  EXPECT_EQ(model.find("lm_head.weight")->shard, 1u);
  EXPECT_EQ(model.shards()[1].size, fs::file_size(folder.file("model-00002-of-00002.safetensors")));
  EXPECT_EQ(model.index_json(), folder.read("model.safetensors.index.json"));
}

TEST(HfModel, ShardNamesAreOnePlainFileName) {
  const std::string good = "model-00002-of-00002.safetensors";
  for (const char* name :
       {"../../etc/x", "../model.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..safetensors",
        ".hidden.safetensors", "a..safetensors", "x.bin", "model", "", "a b.safetensors", "a\\u0000.safetensors",
        "-x.safetensors", "a\\\\b.safetensors", "ä.safetensors", "a.safetensors/"}) {
    const TemporaryFolder folder;
    write_sharded(folder, tiny_tensors(), two_shards);
    const std::string index = folder.read("model.safetensors.index.json");
    folder.write("model.safetensors.index.json", replaced(index, "\"" + good + "\"", "\"" + std::string(name) + "\""));
    const std::string code = open_code(folder);
    EXPECT_TRUE(code == "E0201" || (std::string(name).find("u0000") != std::string::npos && code == "E0214"))
        << name << " " << code;
  }
  const TemporaryFolder folder;
  write_sharded(folder, tiny_tensors(), two_shards);
  folder.write("model.safetensors.index.json",
               replaced(folder.read("model.safetensors.index.json"), "\"" + good + "\"", "5"));
  EXPECT_EQ(open_code(folder), "E0201");
  const std::string long_name = std::string(244, 'a') + ".safetensors";  // 256 bytes
  folder.write("model.safetensors.index.json",
               replaced(folder.read("model.safetensors.index.json"), "5", "\"" + long_name + "\""));
  EXPECT_NE(open_code(folder), "none");
}

TEST(HfModel, ShardErrorNamesTheEntryOfTheIndex) {
  const TemporaryFolder folder;
  write_sharded(folder, tiny_tensors(), two_shards);
  const std::string index = folder.read("model.safetensors.index.json");
  folder.write("model.safetensors.index.json",
               replaced(index, "\"model-00001-of-00002.safetensors\"", "\"../../etc/x\""));
  const std::vector<Diagnostic> problems = open_problems(folder);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].location.line, 4u);
  EXPECT_EQ(problems[0].location.column, 34u);
  EXPECT_NE(problems[0].location.source_line.find("../../etc/x"), std::string::npos);
}

TEST(HfModel, MalformedIndex) {
  for (const char* text : {"", "[]", "{}", "{\"weight_map\": []}", "{\"weight_map\": {}}",
                           "{\"weight_map\": {\"a\": \"x.safetensors\"},}"}) {
    const TemporaryFolder folder;
    folder.write("config.json", kTinyConfig);
    folder.write("model.safetensors.index.json", text);
    const std::string code = open_code(folder);
    EXPECT_TRUE(code == "E0204" || code == "E0214") << text << " " << code;
  }
  const TemporaryFolder folder;
  write_sharded(folder, tiny_tensors(), two_shards);
  folder.write("model.safetensors.index.json",
               replaced(folder.read("model.safetensors.index.json"), "    \"model.norm.weight\"",
                        "    \"lm_head.weight\": \"x\",\n    \"model.norm.weight\""));
  EXPECT_EQ(open_code(folder), "E0214");  // a tensor named twice
}

TEST(HfModel, TotalSizeIsOnlyAWarning) {
  const TemporaryFolder folder;
  write_sharded(folder, tiny_tensors(), two_shards);
  folder.write("model.safetensors.index.json",
               replaced(folder.read("model.safetensors.index.json"), "\"total_size\": ", "\"total_size\": 1"));
  testing::internal::CaptureStderr();
  EXPECT_EQ(open_code(folder), "none");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("warning[W0201]"), std::string::npos);
}

TEST(HfModel, ShardsMustBeThereAndWhole) {
  const std::string name = "model-00002-of-00002.safetensors";
  const TemporaryFolder missing;
  write_sharded(missing, tiny_tensors(), two_shards);
  fs::remove(missing.file(name));
  EXPECT_EQ(open_code(missing), "E0203");
  const TemporaryFolder cut;
  write_sharded(cut, tiny_tensors(), two_shards);
  const std::string bytes = cut.read(name);
  for (const std::size_t size : {bytes.size() - 1, bytes.size() - 216, std::size_t{100}, std::size_t{9}}) {
    cut.write(name, bytes.substr(0, size));
    EXPECT_EQ(open_code(cut), "E0203") << size;
  }
  cut.write(name, bytes.substr(0, bytes.size() - 216));
  EXPECT_EQ(open_problems(cut).at(0).notes.at(0), "216 bytes short");
  cut.write(name, bytes + "x");
  EXPECT_EQ(open_code(cut), "E0207");
  cut.write(name, bytes.substr(0, 4));
  EXPECT_EQ(open_code(cut), "E0207");
}

TEST(HfModel, EveryTensorOfTheArchitectureAndNoOther) {
  const TemporaryFolder missing;
  std::vector<TestTensor> tensors = tiny_tensors();
  tensors.erase(tensors.begin() + 5);
  tensors.erase(tensors.begin() + 9);
  write_single(missing, tensors);
  const std::vector<Diagnostic> problems = open_problems(missing);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].code, "E0208");
  EXPECT_EQ(problems[0].notes.at(0), "19 of 21 found");

  const TemporaryFolder extra;
  tensors = tiny_tensors();
  tensors.push_back({"model.layers.0.self_attn.q_proj.bias", "BF16", {8}, std::string(16, '\0')});
  write_single(extra, tensors);
  EXPECT_EQ(open_code(extra), "E0208");

  const TemporaryFolder twice;
  write_sharded(twice, tiny_tensors(), two_shards);
  tensors = tiny_tensors();
  std::vector<TestTensor> second;
  for (const TestTensor& tensor : tensors)
    if (two_shards(tensor.name) == two_shards("lm_head.weight") || tensor.name == "model.norm.weight")
      second.push_back(tensor);
  twice.write("model-00002-of-00002.safetensors", safetensors_bytes(second));
  EXPECT_EQ(open_code(twice), "E0208");
}

TEST(HfModel, TheIndexMustBeTrue) {
  const TemporaryFolder swapped;
  write_sharded(swapped, tiny_tensors(), two_shards);
  const std::string index = swapped.read("model.safetensors.index.json");
  swapped.write("model.safetensors.index.json",
                replaced(index, "\"lm_head.weight\": \"model-00002", "\"lm_head.weight\": \"model-00001"));
  EXPECT_EQ(open_code(swapped), "E0208");
  swapped.write("model.safetensors.index.json",
                replaced(index, "  \"weight_map\": {\n",
                         "  \"weight_map\": {\n    \"ghost\": \"model-00001-of-00002.safetensors\",\n"));
  EXPECT_EQ(open_code(swapped), "E0208");
  swapped.write("model.safetensors.index.json", index);
  EXPECT_EQ(open_code(swapped), "none");
}

TEST(HfModel, ShapesAndDTypesAreThoseOfTheArchitecture) {
  const auto with = [](const std::string& name, auto change) {
    const TemporaryFolder folder;
    std::vector<TestTensor> tensors = tiny_tensors();
    change(named(tensors, name));
    write_single(folder, tensors);
    return open_code(folder);
  };
  EXPECT_EQ(with("lm_head.weight", [](TestTensor& t) { t.dtype = "I16"; }), "E0209");
  EXPECT_EQ(with("lm_head.weight", [](TestTensor& t) { t.dtype = "U16"; }), "E0209");
  EXPECT_EQ(with("lm_head.weight", [](TestTensor& t) { t.shape = {8, 16}; }), "E0209");
  EXPECT_EQ(with("lm_head.weight", [](TestTensor& t) { t.shape = {128}; }), "E0209");
  EXPECT_EQ(with("lm_head.weight", [](TestTensor& t) { t.shape = {16, 8, 1}; }), "E0209");
  EXPECT_EQ(with("model.norm.weight", [](TestTensor& t) { t.dtype = "F16"; }), "none");
}

TEST(HfModel, OldBuffersAreIgnoredAndNamed) {
  const TemporaryFolder folder;
  std::vector<TestTensor> tensors = tiny_tensors();
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {2}, std::string(8, '\0')});
  write_single(folder, tensors);
  testing::internal::CaptureStderr();
  const HfModel model = HfModel::open(folder.path());
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "tensor `model.layers.0.self_attn.rotary_emb.inv_freq` is not used\n");
  EXPECT_EQ(model.tensors().size(), 21u);
  EXPECT_EQ(model.fingerprint(), expected_fingerprint(tiny_tensors()));
}

TEST(HfModel, TiedModelsMayCarryAHead) {
  const TemporaryFolder folder;
  std::vector<TestTensor> tensors = tiny_tensors();
  write_single(folder, tensors);
  folder.write("config.json", replaced(kTinyConfig, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"));
  testing::internal::CaptureStderr();
  EXPECT_EQ(HfModel::open(folder.path()).find("lm_head.weight"), nullptr);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("lm_head.weight"), std::string::npos);
  std::erase_if(tensors, [](const TestTensor& tensor) { return tensor.name == "lm_head.weight"; });
  folder.write("model.safetensors", safetensors_bytes(tensors));
  EXPECT_EQ(open_code(folder), "none");
}

TEST(HfModel, PickleIsNeverRead) {
  for (const char* name : {"pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.ckpt", "model.pkl"}) {
    const TemporaryFolder folder;
    folder.write("config.json", kTinyConfig);
    folder.write(name, "x");
    EXPECT_EQ(open_code(folder), "E0202") << name;
  }
  const TemporaryFolder both;
  write_single(both, tiny_tensors());
  both.write("pytorch_model.bin", "x");
  EXPECT_EQ(open_code(both), "none");
  const TemporaryFolder disguised;
  disguised.write("config.json", kTinyConfig);
  disguised.write("model.safetensors", std::string("PK\x03\x04\x00\x00\x08\x08 archive", 16));
  EXPECT_EQ(open_code(disguised), "E0202");
}

TEST(HfModel, QuantizedWeightsAreRefused) {
  const TemporaryFolder folder;
  std::vector<TestTensor> tensors = tiny_tensors();
  tensors.push_back({"model.layers.0.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4", "U8", {4}, "abcd"});
  write_single(folder, tensors);
  EXPECT_EQ(open_code(folder), "E0216");
}

TEST(HfModel, FoldersThatAreNoModel) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of([&] { HfModel::open(folder.file("none")); }), "E0108");
  EXPECT_EQ(open_code(folder), "E0203");
  folder.write("config.json", kTinyConfig);
  EXPECT_EQ(open_code(folder), "E0203");
  folder.write("model.safetensors", safetensors_bytes(tiny_tensors()));
  EXPECT_EQ(open_code(folder), "none");
}

TEST(HfModel, FilesThatLeaveTheFolderOrAreNoFiles) {
  const TemporaryFolder folder;
  write_single(folder, tiny_tensors());
  fs::create_directory(folder.file("elsewhere"));
  fs::rename(folder.file("model.safetensors"), folder.file("elsewhere/w"));
  const TemporaryFolder model;
  model.write("config.json", kTinyConfig);
  fs::create_symlink(folder.file("elsewhere/w"), model.file("model.safetensors"));
  EXPECT_EQ(open_code(model), "E0215");
  fs::remove(model.file("model.safetensors"));
  ASSERT_EQ(mkfifo(model.file("model.safetensors").c_str(), 0600), 0);
  EXPECT_EQ(open_code(model), "E0212");
  fs::remove(model.file("config.json"));
  fs::create_symlink("/etc/hostname", model.file("config.json"));
  EXPECT_EQ(open_code(model), "E0215");
}

TEST(HfModel, OpensASnapshotOfAHuggingFaceCache) {
  const TemporaryFolder folder;
  const std::string config_blob(40, '1'), weights_blob(64, '2');
  folder.write("models--o--m/blobs/" + config_blob, kTinyConfig);
  folder.write("models--o--m/blobs/" + weights_blob, safetensors_bytes(tiny_tensors()));
  const std::string snapshot = folder.file("models--o--m/snapshots/abc");
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/" + config_blob, snapshot + "/config.json");
  fs::create_symlink("../../blobs/" + weights_blob, snapshot + "/model.safetensors");
  EXPECT_EQ(HfModel::open(snapshot).fingerprint(), expected_fingerprint(tiny_tensors()));
}

TEST(HfModel, AFileThatChangesWhileItIsReadIsNoticed) {
  const TemporaryFolder folder;
  write_single(folder, tiny_tensors());
  const HfModel model = HfModel::open(folder.path());
  ASSERT_EQ(truncate(folder.file("model.safetensors").c_str(), static_cast<off_t>(model.shards()[0].size - 1)), 0);
  EXPECT_EQ(code_of([&] { model.fingerprint(); }), "E0213");
}

}  // namespace
}  // namespace shori
