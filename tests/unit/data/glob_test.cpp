#include "src/data/sources/glob.h"

#include <gtest/gtest.h>

namespace shori {
namespace {

TEST(Glob, WildcardsAndClasses) {
  struct Case {
    const char *pattern, *name;
    bool matches;
  } cases[] = {
      {"*.txt", "a.txt", true},
      {"*.txt", ".a.txt", false},
      {"a?c", "abc", true},
      {"a?c",
       "a\xc3\xa9"
       "c",
       true},
      {"[ab].txt", "b.txt", true},
      {"[ab].txt", "c.txt", false},
      {"[!ab].txt", "c.txt", true},
      {"[^ab].txt", "a.txt", false},
      {"[a-c]1", "b1", true},
      {"[a-c]1", "d1", false},
      {"[]x]", "]", true},
      {"[]x]", "x", true},
      {"[a-]", "-", true},
      {"x[1]", "x[1]", true},
      {"x[1]", "x1", true},
      {"x[1", "x[1", true},
      {"*[0-9]", "part7", true},
      {"*[0-9]", "part", false},
      {"[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", true},
      {"a*b*c", "a-b-b-c", true},
      {"?", "\xff", true},
  };
  for (const auto& each : cases) EXPECT_EQ(matches_glob(each.pattern, each.name), each.matches) << each.pattern;
}

TEST(Glob, Braces) {
  using Paths = std::vector<std::string>;
  EXPECT_EQ(expand_braces("a/{b,c}.txt"), (Paths{"a/b.txt", "a/c.txt"}));
  EXPECT_EQ(expand_braces("{a,b}{1,2}"), (Paths{"a1", "a2", "b1", "b2"}));
  EXPECT_EQ(expand_braces("{a,{b,c}d}"), (Paths{"a", "bd", "cd"}));
  EXPECT_EQ(expand_braces("x{,y}"), (Paths{"x", "xy"}));
  EXPECT_EQ(expand_braces("a{b}c{1..3}"), (Paths{"a{b}c{1..3}"}));
  EXPECT_EQ(expand_braces("{a,b"), (Paths{"{a,b"}));
  std::string many;
  for (int i = 0; i < 20; ++i) many += "{a,b}";
  EXPECT_EQ(expand_braces(many), (Paths{many})) << "a million paths are not made";
}

}  // namespace
}  // namespace shori
