#include "shori/util/yaml.h"

#include <gtest/gtest.h>

namespace shori {
namespace {

struct Parsed {
  std::optional<YamlDocument> document;
  Diagnostics diagnostics;

  std::string codes() const {
    std::string out;
    for (const Diagnostic& each : diagnostics.all()) out += (out.empty() ? "" : " ") + each.code;
    return out;
  }
  const SourceLocation& location() const { return diagnostics.all().front().location; }
};

Parsed parse(const std::string& text, YamlLimits limits = {}) {
  Parsed parsed;
  parsed.document = parse_yaml("c.yaml", text, limits, parsed.diagnostics);
  return parsed;
}

YamlNode value_of(const std::string& text) {
  const Parsed parsed = parse("key: " + text + "\n");
  EXPECT_TRUE(parsed.document) << text << " " << parsed.codes();
  return parsed.document ? parsed.document->root.members.at(0).second : YamlNode{};
}

// The number, or the code of the problem.
std::string as_integer(const std::string& text) {
  ScalarProblem problem;
  const auto number = parse_yaml_integer(value_of(text), problem);
  return number ? std::to_string(*number) : problem.code;
}
std::string as_float(const std::string& text) {
  ScalarProblem problem;
  const auto number = parse_yaml_float(value_of(text), problem);
  return number ? std::to_string(*number) : problem.code;
}
std::string as_bool(const std::string& text) {
  ScalarProblem problem;
  const auto flag = parse_yaml_bool(value_of(text), problem);
  return flag ? (*flag ? "true" : "false") : problem.code;
}

TEST(ParseYaml, BuildsTheTreeWithLocations) {
  const Parsed parsed = parse("é: 5 # c\nlist:\n  - a\n  - {b: \"x y\"}\n  -\nnone:\nnull_too: ~\n");
  ASSERT_TRUE(parsed.document) << parsed.codes();
  const YamlNode& root = parsed.document->root;
  ASSERT_EQ(root.members.size(), 4u);
  EXPECT_EQ(root.members[0].first.text, "é");
  EXPECT_EQ(root.members[0].second.column, 4u);  // code points, not bytes
  const YamlNode& list = *root.find("list");
  ASSERT_EQ(list.items.size(), 3u);
  EXPECT_EQ(list.items[0].line, 3u);
  EXPECT_EQ(list.items[0].column, 5u);
  EXPECT_TRUE(list.items[1].find("b")->quoted);
  EXPECT_EQ(list.items[1].find("b")->text, "x y");
  EXPECT_EQ(list.items[2].kind, YamlNode::Kind::kNull);
  EXPECT_EQ(root.find("none")->kind, YamlNode::Kind::kNull);
  EXPECT_EQ(root.find("none")->line, 6u);  // the line of the key, not of the next token
  EXPECT_EQ(root.find("null_too")->kind, YamlNode::Kind::kNull);
  EXPECT_EQ(root.find("absent"), nullptr);
}

TEST(ParseYaml, LocationsCoverTheValue) {
  const Parsed parsed = parse("a: 1\n  \nb_é: 'two'\nc: three\n");
  ASSERT_TRUE(parsed.document);
  const SourceLocation quoted = parsed.document->location(parsed.document->root.members[1].second);
  EXPECT_EQ(quoted.line, 3u);
  EXPECT_EQ(quoted.column, 6u);
  EXPECT_EQ(quoted.end_column, 11u);
  EXPECT_EQ(quoted.source_line, "b_é: 'two'");
  const SourceLocation plain = parsed.document->location(parsed.document->root.members[2].second);
  EXPECT_EQ(plain.end_column, 9u);
}

TEST(ParseYaml, DuplicateKeyNamesBothLocations) {
  const Parsed parsed = parse("lr: 1\nx: 2\nlr: 3\nsub:\n  k: a\n  k: [b]\n");
  EXPECT_EQ(parsed.codes(), "E0102 E0102");
  const Diagnostic& inner = parsed.diagnostics.all()[0];
  EXPECT_EQ(inner.location.line, 6u);
  EXPECT_EQ(inner.notes[0], "first at 5:3 = `a`, here a list");
  EXPECT_EQ(parsed.diagnostics.all()[1].location.line, 3u);
  EXPECT_EQ(parsed.diagnostics.all()[1].notes[0], "first at 1:1 = `1`, here `3`");
}

TEST(ParseYaml, AnchorsAliasesTagsMergeKeysAndDocumentsAreRefused) {
  EXPECT_EQ(parse("a: &x 1\nb: *x\n").codes(), "E0109 E0109");
  EXPECT_EQ(parse("a: &a [*a]\n").codes(), "E0109 E0109");
  EXPECT_EQ(parse("a: !!int 5\n").codes(), "E0109");
  EXPECT_EQ(parse("a: ! 5\n").codes(), "E0109");
  EXPECT_EQ(parse("a: !mine {b: 1}\n").codes(), "E0109");
  EXPECT_EQ(parse("a: &x {b: 1}\nc:\n  <<: *x\n").codes(), "E0109 E0109 E0109");
  const Parsed second = parse("a: 1\n---\nb: 2\n");
  EXPECT_EQ(second.codes(), "E0109");
  EXPECT_EQ(second.location().line, 2u);
  const Parsed alias = parse("a: 1\nb: [2, *q ]\n");
  ASSERT_EQ(alias.codes(), "E0111");  // yaml-cpp refuses an alias without anchor itself
}

TEST(ParseYaml, AliasBombIsRefusedAtItsFirstLine) {
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'l'; ++c) {
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 9; ++i) bomb += std::string(i ? "," : "") + "*" + static_cast<char>(c - 1);
    bomb += "]\n";
  }
  const Parsed parsed = parse(bomb);
  EXPECT_TRUE(parsed.diagnostics.has_errors());
  EXPECT_EQ(parsed.diagnostics.all().front().code, "E0109");
  EXPECT_EQ(parsed.location().line, 1u);
}

TEST(ParseYaml, TabsInTheIndentationAreNamed) {
  for (const char* text :
       {"a:\n\tb: 1\n", "a: 1\n\tb: 2\n", "\ta: 1\n", "a: 1\n \tb: 2\n", "a:\n  - 1\n\t- 2\n", "a:\n\t- 1\n"}) {
    const Parsed parsed = parse(text);
    EXPECT_EQ(parsed.codes(), "E0105") << text;
    EXPECT_FALSE(parsed.document) << text;
  }
  EXPECT_EQ(parse("a: 1\n \tb: 2\n").location().line, 2u);
  EXPECT_EQ(parse("a: 1\n \tb: 2\n").location().column, 2u);
  EXPECT_EQ(parse("a: 1\t# a tab elsewhere\nb: 'x\ty'\n").codes(), "");
}

TEST(ParseYaml, EncodingIsCheckedFirst) {
  for (const std::string& text :
       {std::string("\xff\xfe"
                    "a\0:\0",
                    6),
        std::string("a: \x93x\n"), std::string("a: x\0y\n", 7), std::string("a: \xc0\xaf\n")}) {
    EXPECT_EQ(parse(text).codes(), "E0111");
  }
  EXPECT_NE(parse("\xff\xfe").diagnostics.all()[0].notes[0].find("UTF-16"), std::string::npos);
  const Parsed windows = parse("a: 1\nb: caf\xe9\n");
  EXPECT_EQ(windows.location().line, 2u);
  EXPECT_EQ(windows.location().column, 7u);
}

TEST(ParseYaml, AByteOrderMarkIsNoPartOfTheText) {
  const std::string mark = "\xef\xbb\xbf";
  const Parsed good = parse(mark + "a: 1\n");
  ASSERT_TRUE(good.document);
  EXPECT_EQ(good.document->root.members.at(0).first.text, "a");
  EXPECT_EQ(good.document->root.members.at(0).second.column, 4u);
  const Parsed twice = parse(mark + "{a: 1, a: 2}\n");
  EXPECT_EQ(twice.codes(), "E0102");
  EXPECT_EQ(twice.location().column, 8u);
  EXPECT_EQ(parse(mark).codes(), "E0111");
}

TEST(ParseYaml, LimitsHold) {
  const auto nested = [](int depth) { return "a: " + std::string(depth, '[') + std::string(depth, ']') + "\n"; };
  EXPECT_EQ(parse(nested(7)).codes(), "");
  EXPECT_EQ(parse(nested(8)).codes(), "E0111");
  EXPECT_EQ(parse(nested(400)).codes(), "E0111");
  EXPECT_EQ(parse(nested(100000)).codes(), "E0111");
  std::string block;
  for (int i = 0; i < 500; ++i) block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_EQ(parse(block).codes(), "E0111");
  std::string keys;
  for (int i = 0; i < 1001; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(parse(keys).codes(), "E0111");
  EXPECT_EQ(parse(keys, {.keys = 1001}).codes(), "");
  EXPECT_EQ(parse("a: " + std::string((64 << 10) + 1, 'x') + "\n").codes(), "E0111");
  EXPECT_EQ(parse("a: " + std::string(64 << 10, 'x') + "\n").codes(), "");
  EXPECT_EQ(parse("# " + std::string(1 << 20, 'x')).codes(), "E0111");
}

TEST(ParseYaml, MistakesAreNamedWithTheirLocation) {
  for (const char* text : {"a: [1, 2\n", "a: b: c\n", "a: {x\n", "a: @x\n", "a: 'open\n", "a: \"open\\\"\n", "[[:", "",
                           "- 1\n", "text\n", "---\n", "? [a]\n: b\n", ": x\n", "a: 1\n  b: 2\n"}) {
    const Parsed parsed = parse(text);
    EXPECT_EQ(parsed.codes(), "E0111") << text;
    EXPECT_FALSE(parsed.document) << text;
    EXPECT_EQ(parsed.location().file, "c.yaml");
  }
  EXPECT_EQ(parse("a: 1\nb: c: d\n").location().line, 2u);
}

TEST(ParseYaml, BlockTextsAndQuotesAreQuoted) {
  EXPECT_TRUE(value_of("|\n  5\n").quoted);
  EXPECT_TRUE(value_of("'it''s'").quoted);
  EXPECT_EQ(value_of("'it''s'").text, "it's");
  EXPECT_EQ(value_of("\"a\\\"b\"").text, "a\"b");
}

TEST(YamlScalars, Integers) {
  EXPECT_EQ(as_integer("5"), "5");
  EXPECT_EQ(as_integer("+5"), "5");
  EXPECT_EQ(as_integer("-12"), "-12");
  EXPECT_EQ(as_integer("0"), "0");
  EXPECT_EQ(as_integer("99999999999999999999"), "E0103");
  for (const char* text : {"010", "0o10", "0x10", "0b11", "1_000", "1:30", "-010"})
    EXPECT_EQ(as_integer(text), "E0106") << text;
  for (const char* text :
       {"3.0", "5.", "1e5", "16k", "\"5\"", "'5'", "yes", "true", "five", "|\n  5", "[1]", "{a: 1}", "~", "5 5"})
    EXPECT_EQ(as_integer(text), "E0104") << text;
  for (const char* text : {".nan", ".inf", "-.inf"}) EXPECT_EQ(as_integer(text), "E0110") << text;
}

// yaml-cpp holds every token of an open bracket, and each value becomes a node: both are bounded, and so is the search
// for places on one long line.
TEST(ParseYaml, HostileTextsAreRefusedEarly) {
  YamlLimits data;
  data.bytes = 64u << 20;
  data.keys = 8'000'000;
  data.scalar_bytes = 1u << 20;
  data.nodes = 50'000;
  const auto repeated = [](const std::string& text, std::size_t times) {
    std::string out;
    for (std::size_t i = 0; i < times; ++i) out += text;
    return out;
  };
  const std::vector<std::string> texts = {std::string(1u << 20, '['),
                                          repeated("- [", 200'000),
                                          "a: [" + repeated("1,", 100'000),
                                          "a: [" + repeated("{b: 1},", 60'000) + "1]",
                                          repeated("a: x\n", 60'000),
                                          "a:\n" + repeated(" - !t x\n", 60'000),
                                          "a:\n" + repeated("- 1\n", 60'000),
                                          "a: \"" + std::string(2u << 20, 'x') + "\"",
                                          repeated("? ", 100'000),
                                          "{a: " + repeated("{a: ", 100'000)};
  for (const std::string& text : texts) {
    const Parsed parsed = parse(text, data);
    EXPECT_FALSE(parsed.document) << text.substr(0, 40);
    EXPECT_LE(parsed.diagnostics.all().size(), 52u) << text.substr(0, 40);
    for (const Diagnostic& each : parsed.diagnostics.all()) EXPECT_LE(each.location.source_line.size(), 64u << 10);
  }
  const Parsed allowed =
      parse("a: \"" + std::string(1u << 20, ',') + "\"\nb: [" + repeated("'x', ", 40'000) + "1]\n", data);
  EXPECT_FALSE(allowed.document) << "a value of nothing but marks";
  EXPECT_TRUE(
      parse("a: \"" + repeated("word, ", 150'000) + "\"\nb: [" + repeated("'x', ", 40'000) + "1]\n", data).document);
}

TEST(YamlScalars, Floats) {
  EXPECT_EQ(as_float("1e-5"), std::to_string(1e-5));
  EXPECT_EQ(as_float("7.25e-5"), std::to_string(7.25e-5));
  EXPECT_EQ(as_float("7.25e5"), std::to_string(7.25e5));
  EXPECT_EQ(as_float("5."), std::to_string(5.0));
  EXPECT_EQ(as_float(".5"), std::to_string(0.5));
  EXPECT_EQ(as_float("+5"), std::to_string(5.0));
  EXPECT_EQ(as_float("-0.5E+2"), std::to_string(-50.0));
  EXPECT_EQ(as_float("1e400"), "E0103");
  for (const char* text : {"010", "01.5", "0x10", "1_000.0", "1:30"}) EXPECT_EQ(as_float(text), "E0106") << text;
  for (const char* text : {"7,25e-5", "\"5\"", "16k", "1.2.3", "e5", ".", "1e", "--5", "yes"})
    EXPECT_EQ(as_float(text), "E0104") << text;
  for (const char* text : {".nan", ".inf", "-.inf", ".Inf"}) EXPECT_EQ(as_float(text), "E0110") << text;
  ScalarProblem problem;
  parse_yaml_float(value_of("7,25e-5"), problem);
  EXPECT_EQ(problem.help, "write `7.25e-5`: decimals have a point");
  parse_yaml_integer(value_of("16k"), problem);
  EXPECT_EQ(problem.help, "write `16384`");
}

TEST(YamlScalars, FloatsAreExact) {
  ScalarProblem problem;
  EXPECT_EQ(parse_yaml_float(value_of("0.0000725"), problem), 7.25e-5);
  EXPECT_EQ(parse_yaml_float(value_of("7.25e5"), problem), 725000.0);
}

TEST(YamlScalars, Booleans) {
  for (const char* text : {"true", "True", "TRUE"}) EXPECT_EQ(as_bool(text), "true") << text;
  for (const char* text : {"false", "False", "FALSE"}) EXPECT_EQ(as_bool(text), "false") << text;
  for (const char* text : {"yes", "on", "no", "off", "y", "1", "\"true\"", "tRUE", "[true]"})
    EXPECT_EQ(as_bool(text), "E0104") << text;
  ScalarProblem problem;
  parse_yaml_bool(value_of("yes"), problem);
  EXPECT_EQ(problem.help, "write `true`");
  parse_yaml_bool(value_of("Off"), problem);
  EXPECT_EQ(problem.help, "write `false`");
}

}  // namespace
}  // namespace shori
