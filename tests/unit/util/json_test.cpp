#include "shori/util/json.h"

#include <gtest/gtest.h>

#include <limits>

#include "shori/util/error.h"
#include "shori/util/hash.h"

namespace shori {
namespace {

std::optional<JsonValue> parse(std::string_view text, JsonLimits limits = {}) {
  JsonProblem problem;
  return parse_json(text, limits, problem);
}

// Offset of the problem; fails if there is none.
std::size_t refused_at(std::string_view text, JsonLimits limits = {}) {
  JsonProblem problem;
  EXPECT_FALSE(parse_json(text, limits, problem).has_value()) << text;
  EXPECT_FALSE(problem.message.empty()) << text;
  return problem.offset;
}

TEST(ParseJson, ReadsEveryKindWithItsPlace) {
  const auto root = parse(" {\"a\": [1, -2.5e3, true, false, null], \"b\": {\"c\": \"x\"}}\n");
  ASSERT_TRUE(root);
  ASSERT_EQ(root->members.size(), 2u);
  const JsonValue& list = *root->find("a");
  ASSERT_EQ(list.items.size(), 5u);
  EXPECT_EQ(list.items[0].as_unsigned(), 1u);
  EXPECT_EQ(list.items[1].text, "-2.5e3");
  EXPECT_EQ(list.items[1].as_double(), -2500.0);
  EXPECT_EQ(list.items[1].as_integer(), std::nullopt);
  EXPECT_TRUE(list.items[2].boolean);
  EXPECT_EQ(list.items[3].kind, JsonValue::Kind::kBool);
  EXPECT_TRUE(list.items[4].is_null());
  const JsonValue& c = *root->find("b")->find("c");
  EXPECT_EQ(c.text, "x");
  EXPECT_EQ(c.key_offset, 45u);
  EXPECT_EQ(c.offset, 50u);
  EXPECT_EQ(root->find("z"), nullptr);
}

TEST(ParseJson, DecodesEscapes) {
  EXPECT_EQ(parse(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u2580\ud83c\udfb2")")->text, "\"\\/\b\f\n\r\tAé▀🎲");
  EXPECT_EQ(parse("\"▀é\"")->text, "▀é");
}

TEST(ParseJson, RefusesWhatIsNotJson) {
  EXPECT_EQ(refused_at(""), 0u);
  EXPECT_EQ(refused_at("{} x"), 3u);
  EXPECT_EQ(refused_at("{\"a\":1,}"), 7u);
  EXPECT_EQ(refused_at("[1,]"), 3u);
  EXPECT_EQ(refused_at("[1 2]"), 3u);
  EXPECT_EQ(refused_at("{\"a\" 1}"), 5u);
  EXPECT_EQ(refused_at("{a:1}"), 1u);
  EXPECT_EQ(refused_at("[1"), 2u);
  EXPECT_EQ(refused_at("\"abc"), 0u);
  EXPECT_EQ(refused_at("tru"), 0u);
  EXPECT_EQ(refused_at("nullx"), 4u);
  EXPECT_EQ(refused_at("// c\n1"), 0u);
  EXPECT_EQ(refused_at("'a'"), 0u);
}

TEST(ParseJson, RefusesNumbersOutsideTheGrammar) {
  for (const char* text :
       {"01", "+1", "1.", ".5", "1e", "1e+", "-", "0x10", "NaN", "Infinity", "-Infinity", "1_000", "- 1", "00"})
    EXPECT_FALSE(parse(text)) << text;
  for (const char* text : {"0", "-0", "10", "1.5", "1e5", "1E-5", "0.0e0", "123456789012345678901234567890"})
    EXPECT_TRUE(parse(text)) << text;
}

TEST(ParseJson, RefusesDuplicateKeysAtEveryLevel) {
  JsonProblem problem;
  EXPECT_FALSE(parse_json("{\"a\":1,\"a\":2}", {}, problem));
  EXPECT_TRUE(problem.duplicate_key);
  EXPECT_EQ(problem.offset, 7u);
  EXPECT_FALSE(parse_json("[{\"x\":{\"k\":1,\"\\u006b\":2}}]", {}, problem));  // the same key, escaped
  EXPECT_TRUE(problem.duplicate_key);
  EXPECT_TRUE(parse("{\"a\":{\"a\":1},\"b\":{\"a\":1}}"));
}

TEST(ParseJson, RefusesBadText) {
  EXPECT_EQ(refused_at("\xef\xbb\xbf{}"), 0u);
  EXPECT_EQ(refused_at("[\"\xff\"]"), 2u);
  EXPECT_EQ(refused_at(std::string_view("{}\0", 3)), 2u);
  EXPECT_EQ(refused_at(std::string_view("\"a\0b\"", 5)), 2u);
  EXPECT_EQ(refused_at("\"a\nb\""), 2u);
  EXPECT_EQ(refused_at(R"("\u0000")"), 1u);
  EXPECT_EQ(refused_at(R"("\ud800")"), 1u);
  EXPECT_EQ(refused_at(R"("\ud800\u0041")"), 1u);
  EXPECT_EQ(refused_at(R"("\udc00")"), 1u);
  EXPECT_EQ(refused_at(R"("\u12g4")"), 1u);
  EXPECT_EQ(refused_at(R"("\x41")"), 1u);
}

TEST(ParseJson, HoldsTheLimits) {
  EXPECT_TRUE(parse("[[[]]]", {.bytes = 6, .depth = 3}));
  EXPECT_EQ(refused_at("[[[]]]", {.bytes = 6, .depth = 2}), 2u);
  EXPECT_EQ(refused_at("[[[]]]", {.bytes = 5, .depth = 3}), 0u);
  EXPECT_FALSE(parse("[1,2,3]", {.bytes = 100, .depth = 3, .values = 3}));
  EXPECT_TRUE(parse("[1,2,3]", {.bytes = 100, .depth = 3, .values = 4}));
  // Depth costs no stack, whatever the limit.
  const std::string deep = std::string(200000, '[') + std::string(200000, ']');
  EXPECT_FALSE(parse(deep));
}

TEST(JsonValue, NumbersAreNeverConvertedUnasked) {
  EXPECT_EQ(parse("-1")->as_unsigned(), std::nullopt);
  EXPECT_EQ(parse("-1")->as_integer(), -1);
  EXPECT_EQ(parse("18446744073709551615")->as_unsigned(), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(parse("18446744073709551616")->as_unsigned(), std::nullopt);
  EXPECT_EQ(parse("9223372036854775808")->as_integer(), std::nullopt);
  EXPECT_EQ(parse("4.0")->as_unsigned(), std::nullopt);
  EXPECT_EQ(parse("1e30")->as_unsigned(), std::nullopt);
  EXPECT_EQ(parse("true")->as_unsigned(), std::nullopt);
  EXPECT_EQ(parse("\"4\"")->as_unsigned(), std::nullopt);
  EXPECT_EQ(parse("\"4\"")->as_double(), std::nullopt);
  EXPECT_EQ(parse("1e400")->as_double(), std::nullopt);
  EXPECT_EQ(parse("1e-5")->as_double(), 1e-5);
}

TEST(JsonWriter, WritesCompactAndIndented) {
  const auto fill = [](JsonWriter json) {
    json.begin_object().field("a", 1).key("b").begin_array().value("x\n\"").value(true).null().end_array();
    json.key("c").begin_object().end_object().field("d", 1.0);
    return json.end_object().take();
  };
  EXPECT_EQ(fill(JsonWriter()), "{\"a\":1,\"b\":[\"x\\n\\\"\",true,null],\"c\":{},\"d\":1.0}");
  EXPECT_EQ(fill(JsonWriter(2)),
            "{\n  \"a\": 1,\n  \"b\": [\n    \"x\\n\\\"\",\n    true,\n    null\n  ],\n  \"c\": {},\n  \"d\": 1.0\n}");
}

TEST(JsonWriter, TakesJsonAsItIs) {
  JsonWriter json;
  json.begin_object().key("a").raw("{\"b\":[1]}").field("c", 2).end_object();
  EXPECT_EQ(json.text(), "{\"a\":{\"b\":[1]},\"c\":2}");
}

TEST(JsonWriter, KeepsTheFullRangeOfIntegers) {
  JsonWriter json;
  json.begin_array()
      .value(std::numeric_limits<std::uint64_t>::max())
      .value(std::numeric_limits<std::int64_t>::min())
      .end_array();
  EXPECT_EQ(json.text(), "[18446744073709551615,-9223372036854775808]");
}

TEST(FormatDouble, IsTheShortestThatReadsBack) {
  EXPECT_EQ(format_double(1.0), "1.0");
  EXPECT_EQ(format_double(0.0), "0.0");
  EXPECT_EQ(format_double(-0.0), "-0.0");
  EXPECT_EQ(format_double(0.1), "0.1");
  EXPECT_EQ(format_double(7.25e-5), "7.25e-05");
  EXPECT_EQ(format_double(1e300), "1e+300");
  EXPECT_EQ(format_double(123456.0), "123456.0");
  for (const double number : {1.0 / 3.0, 2.2250738585072014e-308, 5e-324, 1.7976931348623157e308})
    EXPECT_EQ(parse(format_double(number))->as_double(), number);
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

TEST(CanonicalJson, SortsKeysByBytes) {
  CanonicalJson json = CanonicalJson::object();
  json.set("seed", CanonicalJson::integer(42)).set("lora_r", CanonicalJson::integer(20));
  EXPECT_EQ(json.text(), "{\"lora_r\":20,\"seed\":42}");
  EXPECT_EQ(sha256_hex(json.text()), "e1c39cc0b39e3141d92d94ad9cfef0ccd1c0b8792f4189488a58eebb73ff059a");
  CanonicalJson more = CanonicalJson::object();
  more.set("é", CanonicalJson::null()).set("a", CanonicalJson::real(0.1)).set("B", CanonicalJson::boolean(true));
  more.set("list",
           CanonicalJson::array().push(CanonicalJson::string("x\x01")).push(CanonicalJson::unsigned_integer(7)));
  more.set("a", CanonicalJson::real(0.05));
  EXPECT_EQ(more.text(), "{\"B\":true,\"a\":\"3fa999999999999a\",\"list\":[\"x\\u0001\",7],\"é\":null}");
}

}  // namespace
}  // namespace shori
