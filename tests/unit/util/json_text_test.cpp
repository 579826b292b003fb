#include "shori/util/json_text.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/json.h"

namespace shori {
namespace {

TEST(JsonText, IsCompactOrIndented) {
  const Json json = {{"a", 1}, {"b", {"x\n\"", true, nullptr}}, {"c", Json::object()}, {"d", 1.0}};
  EXPECT_EQ(json_text(json), "{\"a\":1,\"b\":[\"x\\n\\\"\",true,null],\"c\":{},\"d\":1.0}");
  EXPECT_EQ(json_text(json, 2),
            "{\n  \"a\": 1,\n  \"b\": [\n    \"x\\n\\\"\",\n    true,\n    null\n  ],\n  \"c\": {},\n  \"d\": 1.0\n}");
}

TEST(JsonText, KeepsTheOrderOfTheKeys) {
  Json json = {{"z", 1}, {"a", 2}};
  json["m"] = 3;
  json["z"] = 4;
  EXPECT_EQ(json_text(json), "{\"z\":4,\"a\":2,\"m\":3}");
}

TEST(JsonText, PrintsRawJsonAsItIs) {
  const Json json = {{"a", raw_json("{\"b\":[1]}")}, {"c", 2}};
  EXPECT_EQ(json_text(json), "{\"a\":{\"b\":[1]},\"c\":2}");
  EXPECT_EQ(json_text(json, 2), "{\n  \"a\": {\"b\":[1]},\n  \"c\": 2\n}");
}

TEST(JsonText, KeepsTheFullRangeOfIntegers) {
  const Json json = {std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::int64_t>::min()};
  EXPECT_EQ(json_text(json), "[18446744073709551615,-9223372036854775808]");
}

TEST(JsonText, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(json_text(Json("a\xff"
                           "b")),
            "\"a\xef\xbf\xbd"
            "b\"");
}

TEST(JsonText, WritesNullForAnEmptyText) {
  EXPECT_EQ(json_text({{"a", text_or_null("")}, {"b", text_or_null("x")}}), "{\"a\":null,\"b\":\"x\"}");
}

TEST(JsonQuote, EscapesWhatJsonDemandsAndNothingElse) {
  EXPECT_EQ(json_quote("\"\\/\b\f\n\r\t\x01\x1f\x7f é▀"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f é▀\"");
}

TEST(CanonicalJson, SortsKeysByBytesAndWritesTheBitsOfDoubles) {
  const Json json = {{"seed", 42}, {"lora_r", 20}};
  EXPECT_EQ(canonical_json(json), "{\"lora_r\":20,\"seed\":42}");
  EXPECT_EQ(sha256_hex(canonical_json(json)), "e1c39cc0b39e3141d92d94ad9cfef0ccd1c0b8792f4189488a58eebb73ff059a");
  Json more = {{"é", nullptr}, {"a", 0.1}, {"B", true}, {"list", {"x\x01", 7u}}};
  more["a"] = 0.05;
  EXPECT_EQ(canonical_json(more), "{\"B\":true,\"a\":\"3fa999999999999a\",\"list\":[\"x\\u0001\",7],\"é\":null}");
  EXPECT_EQ(canonical_json({{"b", {{"d", 1}, {"c", 2}}}, {"a", raw_json("{\"z\":1}")}}),
            "{\"a\":{\"z\":1},\"b\":{\"c\":2,\"d\":1}}");
}

TEST(FormatDouble, IsTheShortestThatReadsBack) {
  EXPECT_EQ(format_double(1.0), "1.0");
  EXPECT_EQ(format_double(0.0), "0.0");
  EXPECT_EQ(format_double(-0.0), "-0.0");
  EXPECT_EQ(format_double(0.1), "0.1");
  EXPECT_EQ(format_double(0.0001), "1e-04");
  EXPECT_EQ(format_double(100000.0), "1e+05");
  EXPECT_EQ(format_double(7.25e-5), "7.25e-05");
  EXPECT_EQ(format_double(1e300), "1e+300");
  EXPECT_EQ(format_double(123456.0), "123456.0");
  for (const double number : {1.0 / 3.0, 2.2250738585072014e-308, 5e-324, 1.7976931348623157e308}) {
    JsonProblem problem;
    EXPECT_EQ(parse_json(format_double(number), {}, problem)->as_double(), number);
  }
  EXPECT_THROW(format_double(std::numeric_limits<double>::infinity()), Error);
  EXPECT_THROW(format_double(std::numeric_limits<double>::quiet_NaN()), Error);
}

TEST(DoubleBits, AreThoseOfTheLearningRates) {
  EXPECT_EQ(double_bits_hex(7.25e-5), "3f130164840e171a");
  EXPECT_EQ(double_bits_hex(5.5e-5), "3f0cd5f99c38b04b");
  EXPECT_EQ(double_bits_hex(3.75e-5), "3f03a92a30553261");
  EXPECT_EQ(double_bits_hex(3.5e-5), "3f02599ed7c6fbd2");
  EXPECT_EQ(double_bits_hex(0.1), "3fb999999999999a");
  EXPECT_EQ(double_bits_hex(0.05), "3fa999999999999a");
  EXPECT_EQ(double_from_bits_hex("3f130164840e171a"), 7.25e-5);
  EXPECT_EQ(double_from_bits_hex("3F130164840E171A"), std::nullopt);
  EXPECT_EQ(double_from_bits_hex("3f1301"), std::nullopt);
}

}  // namespace
}  // namespace shori
