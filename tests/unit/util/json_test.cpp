#include "shori/util/json.h"

#include <gtest/gtest.h>

#include <limits>

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

TEST(ParseJson, ReadsEveryKindWithItsLocation) {
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

}  // namespace
}  // namespace shori
