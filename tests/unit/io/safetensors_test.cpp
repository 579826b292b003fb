#include "shori/io/safetensors.h"

#include <gtest/gtest.h>

#include "shori/io/limits.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "tests/unit/io/model_files.h"

namespace shori {
namespace {

// "E0207 S7", or "none" if the header is accepted.
std::string refusal(const std::string& header, std::uint64_t data_bytes) {
  try {
    parse_safetensors_header(header, data_bytes, "t.safetensors");
  } catch (const Error& error) {
    const Diagnostic& diagnostic = error.diagnostics().front();
    EXPECT_EQ(diagnostic.location.file, "t.safetensors");
    std::string text = diagnostic.code;
    for (const std::string& note : diagnostic.notes)
      if (note.starts_with("rule ")) text += " " + note.substr(5);
    return text;
  }
  return "none";
}

std::string file_refusal(const std::string& bytes) {
  const TemporaryFolder folder;
  folder.write("t.safetensors", bytes);
  try {
    SafetensorsFile::open(InputFile::open_in(folder.path(), "t.safetensors"));
  } catch (const Error& error) {
    const auto& notes = error.diagnostics().front().notes;
    return error.code() + (notes.empty() || !notes[0].starts_with("rule ") ? "" : " " + notes[0].substr(5));
  }
  return "none";
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + tensor("a", dtype, shape, offsets) + "}";
}
const std::string kGood = one("F32", "[1]", "[0,4]");

TEST(SafetensorsReader, GoldenFile) {
  const std::string bytes = safetensors_bytes(kGood, std::string("\0\0\x80\x3f", 4));
  ASSERT_EQ(bytes.size(), 66u);
  ASSERT_EQ(sha256_hex(bytes), "938a1286932d19c8c3799f0861ecdee467405712d99a11a69e79dd47387d40de");
  const TemporaryFolder folder;
  folder.write("t", bytes);
  const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(folder.path(), "t"));
  ASSERT_EQ(file.tensors().size(), 1u);
  const TensorEntry* a = file.find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->dtype, FileDType::kF32);
  EXPECT_EQ(a->shape, std::vector<std::int64_t>{1});
  float value = 0;
  file.read(*a, 0, &value, 4);
  EXPECT_EQ(value, 1.0f);
  EXPECT_EQ(file.data_start(), 62u);
  EXPECT_EQ(file.header_sha256(), sha256_hex(std::string_view(bytes).substr(0, 62)));
  EXPECT_EQ(file.find("b"), nullptr);
  EXPECT_THROW(file.read(*a, 1, &value, 4), Error);
}

TEST(SafetensorsReader, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(refusal("{}", 0), "none");
  EXPECT_EQ(refusal(kGood + "     ", 4), "none");
  EXPECT_EQ(refusal("{" + tensor("b", "U8", "[2]", "[4,6]") + "," + tensor("a", "F32", "[1]", "[0,4]") + "}", 6),
            "none");
  EXPECT_EQ(refusal(one("F32", "[]", "[0,4]"), 4), "none");     // a scalar
  EXPECT_EQ(refusal(one("F32", "[0,5]", "[0,0]"), 0), "none");  // no elements
  EXPECT_EQ(refusal(one("U8", "[1,1,1,1,1,1,1,2]", "[0,2]"), 2), "none");
  EXPECT_EQ(refusal("{\"__metadata__\":{\"format\":\"pt\"}," + kGood.substr(1), 4), "none");
  EXPECT_EQ(refusal("{\"\\u0061\":" + kGood.substr(5), 4), "none");
  const SafetensorsHeader header =
      parse_safetensors_header("{\"__metadata__\":{\"k\":\"v\"}," + kGood.substr(1), 4, "t");
  EXPECT_EQ(header.metadata.at("k"), "v");
  for (const char* name : {"BOOL", "U8", "I8", "U16", "I16", "F16", "BF16", "U32", "I32", "F32", "U64", "I64", "F64",
                           "F8_E5M2", "F8_E4M3"}) {
    const auto dtype = find_dtype(name);
    ASSERT_TRUE(dtype) << name;
    EXPECT_EQ(dtype_name(*dtype), name);
    EXPECT_EQ(refusal(one(name, "[3]", "[0," + std::to_string(3 * dtype_size(*dtype)) + "]"), 3 * dtype_size(*dtype)),
              "none");
  }
}

TEST(SafetensorsReader, RuleS1SizesOfFileAndHeader) {
  const std::string data(4, '\0');
  EXPECT_EQ(file_refusal(""), "E0207 S1");
  EXPECT_EQ(file_refusal("1234567"), "E0207 S1");
  EXPECT_EQ(file_refusal(little_endian(0) + kGood + data), "E0207 S1");
  EXPECT_EQ(file_refusal(little_endian(1) + kGood + data), "E0207 S1");
  EXPECT_EQ(file_refusal(little_endian(7) + kGood + data), "E0207 S2");  // cut inside the header
  EXPECT_EQ(file_refusal(little_endian(std::uint64_t{1} << 63) + kGood + data), "E0207 S1");
  EXPECT_EQ(file_refusal(little_endian(~std::uint64_t{0}) + kGood + data), "E0207 S1");
  EXPECT_EQ(file_refusal(little_endian(~std::uint64_t{0} - 7) + kGood + data), "E0207 S1");
  EXPECT_EQ(file_refusal(little_endian((16u << 20) + 1) + kGood + data), "E0207 S1");
  // One byte more than the file holds: a broken download.
  const std::string bytes = safetensors_bytes(kGood, data);
  EXPECT_EQ(file_refusal(little_endian(bytes.size() - 7) + bytes.substr(8)), "E0203");
  EXPECT_EQ(file_refusal(bytes.substr(0, bytes.size() - 1)), "E0203");
  EXPECT_EQ(file_refusal(bytes.substr(0, 30)), "E0203");
  EXPECT_EQ(file_refusal(bytes), "none");
}

TEST(SafetensorsReader, RuleS2PlainHeader) {
  EXPECT_EQ(refusal(kGood + std::string(2, '\0'), 4), "E0207 S2");
  EXPECT_EQ(refusal(" " + kGood, 4), "E0207 S2");
  EXPECT_EQ(refusal("\xef\xbb\xbf" + kGood, 4), "E0207 S2");
  EXPECT_EQ(refusal(kGood + "x", 4), "E0207 S2");
  EXPECT_EQ(refusal(kGood + "{}", 4), "E0207 S2");
  EXPECT_EQ(refusal(kGood + "\n", 4), "E0207 S2");
  EXPECT_EQ(refusal("[" + kGood + "]", 4), "E0207 S2");
  EXPECT_EQ(refusal("        ", 0), "E0207 S2");
  EXPECT_EQ(refusal("", 0), "E0207 S2");
  EXPECT_EQ(refusal("{\"a\xff\":" + kGood.substr(5), 4), "E0207 S2");
  EXPECT_EQ(refusal(kGood.substr(0, kGood.size() - 1), 4), "E0207 S2");
  EXPECT_EQ(refusal("{\"a\":[[[[]]]]}", 0), "E0207 S2");  // deeper than any header
  EXPECT_EQ(refusal("{\"a\":" + std::string(50000, '[') + std::string(50000, ']') + "}", 0), "E0207 S2");
}

TEST(SafetensorsReader, RuleS3NoKeyTwice) {
  EXPECT_EQ(refusal("{" + tensor("a", "U8", "[4]", "[0,4]") + "," + tensor("a", "F32", "[1]", "[0,4]") + "}", 4),
            "E0207 S3");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4), "E0207 S3");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"shap\u0065":[1]}})", 4), "E0207 S3");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":"b","a":"c"}})", 0), "E0207 S3");
}

TEST(SafetensorsReader, RuleS4Metadata) {
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})", 0), "E0207 S4");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":{"b":"c"}}})", 0), "E0207 S4");
  EXPECT_EQ(refusal(R"({"__metadata__":"x"})", 0), "E0207 S4");
  EXPECT_EQ(refusal(R"({"__metadata__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4), "E0207 S4");
  EXPECT_EQ(refusal("{\"__metadata__\":{\"a\":\"" + std::string((1 << 20) + 1, 'x') + "\"}}", 0), "E0207 S4");
  EXPECT_EQ(refusal("{\"__metadata__\":{\"a\":\"" + std::string((1 << 20) - 1, 'x') + "\"}}", 0), "none");
}

TEST(SafetensorsReader, RuleS5FormOfATensor) {
  for (const char* offsets : {"[-1,4]", "[0,4.0]", "[0,1e30]", "[0,18446744073709551616]", "[0,\"4\"]", "[0,true]",
                              "[0]", "[0,4,4]", "[]", "{}", "4", "null", "[0,null]", "[0,[4]]"})
    EXPECT_EQ(refusal(one("F32", "[1]", offsets), 4), "E0207 S5") << offsets;
  EXPECT_EQ(refusal(one("F32", "[1]", "[04,8]"), 4), "E0207 S2");  // not JSON
  for (const char* shape :
       {"[1,1,1,1,1,1,1,1,1]", "[1,[1]]", "[1.0]", "[-1]", "[\"1\"]", "1", "null", "[true]", "[18446744073709551616]"})
    EXPECT_EQ(refusal(one("F32", shape, "[0,4]"), 4), "E0207 S5") << shape;
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":0}})", 4), "E0207 S5");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "E0207 S5");
  EXPECT_EQ(refusal(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4), "E0207 S5");
  EXPECT_EQ(refusal(R"({"a":[1]})", 4), "E0207 S5");
  EXPECT_EQ(refusal(R"({"a":null})", 4), "E0207 S5");
  EXPECT_EQ(refusal("{" + tensor(std::string(513, 'n'), "F32", "[1]", "[0,4]") + "}", 4), "E0207 S5");
  EXPECT_EQ(refusal("{" + tensor(std::string(512, 'n'), "F32", "[1]", "[0,4]") + "}", 4), "none");
}

TEST(SafetensorsReader, RuleS6KnownDType) {
  for (const char* dtype : {"F7", "f32", "", "F32 ", "FLOAT", "F8"})
    EXPECT_EQ(refusal(one(dtype, "[1]", "[0,4]"), 4), "E0207 S6") << dtype;
  EXPECT_EQ(refusal(R"({"a":{"dtype":5,"shape":[1],"data_offsets":[0,4]}})", 4), "E0207 S6");
  EXPECT_EQ(refusal(R"({"a":{"dtype":null,"shape":[1],"data_offsets":[0,4]}})", 4), "E0207 S6");
}

TEST(SafetensorsReader, RuleS7TensorsCoverTheData) {
  // The product of the dimensions wraps to 4 in 64 bits.
  EXPECT_EQ(refusal(one("F32", "[4194305,4194305,211106198978564]", "[0,16]"), 16), "E0207 S7");
  EXPECT_EQ(refusal(one("F32", "[4294967296,4294967296]", "[0,0]"), 0), "E0207 S7");
  EXPECT_EQ(refusal(one("F32", "[4294967296,4294967296]", "[99999999,99999999]"), 0), "E0207 S7");
  EXPECT_EQ(refusal(one("F64", "[2305843009213693952]", "[0,0]"), 0), "E0207 S7");  // 2^61 * 8 wraps to 0
  EXPECT_EQ(refusal(one("U8", "[9223372036854775808]", "[0,9223372036854775808]"), 0), "E0207 S7");
  EXPECT_EQ(refusal(one("F32", "[1]", "[8,4]"), 8), "E0207 S7");
  EXPECT_EQ(refusal(one("F32", "[1]", "[0,3]"), 3), "E0207 S7");
  EXPECT_EQ(refusal(one("F32", "[2]", "[0,4]"), 4), "E0207 S7");
  EXPECT_EQ(refusal(kGood, 5), "E0207 S7");                       // a byte after the last tensor
  EXPECT_EQ(refusal(one("F32", "[1]", "[1,5]"), 5), "E0207 S7");  // a byte before the first
  EXPECT_EQ(refusal("{}", 1), "E0207 S7");
  const auto two = [](const char* offsets) {
    return "{" + tensor("a", "U8", "[4]", "[0,4]") + "," + tensor("b", "U8", "[4]", offsets) + "}";
  };
  EXPECT_EQ(refusal(two("[4,8]"), 8), "none");
  EXPECT_EQ(refusal(two("[5,9]"), 9), "E0207 S7");
  EXPECT_EQ(refusal(two("[3,7]"), 7), "E0207 S7");
  EXPECT_EQ(refusal(two("[0,4]"), 4), "E0207 S7");
  EXPECT_EQ(refusal(kGood, 3), "E0203");  // the file is too short: a broken download
  EXPECT_EQ(refusal(one("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 4), "E0203");
}

TEST(SafetensorsReader, RuleS8EmptyTensors) {
  const auto two = [](const char* first, const char* second) {
    return "{" + tensor("a", "U8", "[0]", first) + "," + tensor("b", "U8", "[0]", second) + "," +
           tensor("c", "U8", "[4]", "[0,4]") + "}";
  };
  EXPECT_EQ(refusal(two("[0,0]", "[0,0]"), 4), "E0207 S8");
  EXPECT_EQ(refusal(two("[4,4]", "[4,4]"), 4), "E0207 S8");
  EXPECT_EQ(refusal(two("[0,0]", "[4,4]"), 4), "none");
  EXPECT_EQ(refusal(two("[2,2]", "[4,4]"), 4), "E0207 S7");  // inside another tensor
  EXPECT_EQ(refusal(two("[0,0]", "[5,5]"), 4), "E0207 S7");
  EXPECT_EQ(refusal(one("U8", "[0]", "[0,4]"), 4), "E0207 S7");  // a product of 0 skips no check
  EXPECT_EQ(refusal(one("U8", "[0,18446744073709551615]", "[0,0]"), 0), "E0207 S7");
}

TEST(SafetensorsReader, LimitOfTensors) {
  const auto many = [](std::size_t count) {
    std::string header = "{";
    for (std::size_t i = 0; i < count; ++i)
      header += (i ? "," : "") + tensor("t" + std::to_string(i), "U8", "[1]",
                                        "[" + std::to_string(i) + "," + std::to_string(i + 1) + "]");
    return header + "}";
  };
  EXPECT_EQ(refusal(many(kMaxTensors), kMaxTensors), "none");
  EXPECT_EQ(refusal(many(kMaxTensors + 2), kMaxTensors + 2), "E0207 S1");
}

TEST(SafetensorsReader, PickleAndZipUnderAnotherName) {
  EXPECT_EQ(file_refusal(std::string("PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00", 12)), "E0202");
  EXPECT_EQ(file_refusal(std::string("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15)), "E0202");
  EXPECT_EQ(file_refusal(std::string("\x80\x04\x95\x10\x00\x00\x00\x01\x00\x00\x00", 11)), "E0202");
}

TEST(SafetensorsReader, EveryCutOfAFileIsRefused) {
  const std::string bytes = safetensors_bytes(kGood, std::string(4, 'x'));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string code = file_refusal(bytes.substr(0, size)).substr(0, 5);
    EXPECT_TRUE(code == "E0203" || code == "E0207") << size << " " << code;
  }
}

TEST(SafetensorsReader, EveryFlippedBitOfAHeaderIsRefusedOrChangesAName) {
  const std::string good = safetensors_bytes(kGood, std::string(4, 'x'));
  for (std::size_t bit = 0; bit < 8 * (good.size() - 4); ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    const TemporaryFolder folder;
    folder.write("t", bytes);
    try {
      const SafetensorsFile file = SafetensorsFile::open(InputFile::open_in(folder.path(), "t"));
      ASSERT_EQ(file.tensors().size(), 1u);
      const TensorEntry& entry = file.tensors()[0];
      EXPECT_TRUE(entry.name != "a" || entry.dtype != FileDType::kF32) << bit;
      EXPECT_EQ(entry.bytes(), 4u);
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == "E0203" || error.code() == "E0207") << bit << " " << error.what();
    }
  }
}

TEST(SafetensorsWriter, GoldenFile) {
  const std::vector<NamedArray> plan = {{"a", FileDType::kF32, {1, 2}}, {"b", FileDType::kBf16, {2}}};
  const std::string header = make_safetensors_header(plan, {{"format", "pt"}});
  ASSERT_EQ(header.size(), 8u + 144u);
  EXPECT_EQ(header.substr(0, 8), little_endian(0x90));
  EXPECT_EQ(header.substr(8),
            R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
            R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}}  )");
  const std::string data("\0\0\x80\x3f\0\0\0\xc0\x80\x3f\x00\xc0", 12);
  EXPECT_EQ(sha256_hex(header + data), "70709cb564a0f6f506c434fe95a4092f04982ebab09610d5d4edf0434c3ae026");
}

TEST(SafetensorsWriter, ItsHeadersAreReadBack) {
  const std::vector<NamedArray> plan = {{"x \"quoted\" ▀", FileDType::kF16, {3, 5, 1}},
                                        {"scalar", FileDType::kI64, {}},
                                        {"empty", FileDType::kU8, {0, 7}},
                                        {"last", FileDType::kU8, {1}}};
  const std::string bytes = make_safetensors_header(plan, {{"format", "pt"}, {"b", "\n"}, {"a", "2"}});
  EXPECT_EQ(bytes.size() % 8, 0u);
  std::uint64_t total = 0;
  for (const NamedArray& each : plan) total += each.bytes();
  EXPECT_EQ(total, 30u + 8u + 0u + 1u);
  const SafetensorsHeader header = parse_safetensors_header(std::string_view(bytes).substr(8), total, "t");
  ASSERT_EQ(header.tensors.size(), plan.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    EXPECT_EQ(header.tensors[i].name, plan[i].name);
    EXPECT_EQ(header.tensors[i].shape, plan[i].shape);
    EXPECT_EQ(header.tensors[i].dtype, plan[i].dtype);
  }
  EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"format", "pt"}, {"a", "2"}, {"b", "\n"}}));
}

}  // namespace
}  // namespace shori
