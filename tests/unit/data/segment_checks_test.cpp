// Segments that are not read from BlockML are held to the rules of its parser.
#include "src/data/blockml/segment_checks.h"

#include <algorithm>

#include "tests/unit/data/blockml_samples.h"

namespace shori::test {
namespace {

// What the parser says of the segment's rendering, but for a missing message.
std::optional<Diagnostic> parser_problem(const Segment& segment) {
  Diagnostics problems;
  parse_blockml(render_segment(segment), {"a.yaml", 0}, problems);
  for (const Diagnostic& problem : problems.all()) {
    if (problem.code != "E0306") return problem;
  }
  return std::nullopt;
}

TEST(CheckSegment, SaysWhatTheParserSaysOfTheRendering) {
  const std::vector<std::string> kOdd = {"<s>",  "</s>", "<unk>", "<unk", "<S>",         "\r",
                                         "\r\n", "\x01", "\x7F",  "\xFF", "\xEF\xBB\xBF"};
  RandomDocuments random(41);
  std::size_t refused = 0;
  for (int i = 0; i < 2000; ++i) {
    Segment segment = random.segment(static_cast<Role>(random.below(kRoleCount)));
    for (std::size_t n = random.below(3); n > 0; --n)
      segment.body.insert(1 + random.below(segment.body.size() - 1), kOdd[random.below(kOdd.size())]);
    const std::optional<Diagnostic> expected = parser_problem(segment), found = check_segment(segment, "a.yaml");
    ASSERT_EQ(found.has_value(), expected.has_value()) << segment.body;
    if (!found) continue;
    ++refused;
    EXPECT_EQ(found->code, expected->code) << segment.body;
    EXPECT_EQ(found->message, expected->message);
    // Wrong bytes: what to do about them depends on the other text, which the parser sees whole.
    if (found->code != "E0304") {
      EXPECT_EQ(found->helps, expected->helps);
    }
    if (found->code == "E0309") continue;  // its note has a position, here in the body
    EXPECT_EQ(found->notes, expected->notes);
  }
  EXPECT_GT(refused, 500u);
}

// Only a file may not begin with one.
TEST(CheckSegment, AByteOrderMarkAtTheStartOfASegmentIsACharacter) {
  EXPECT_EQ(check_segment({.role = Role::kLore, .body = "\xEF\xBB\xBFx"}, "a.yaml"), std::nullopt);
}

TEST(CheckSegment, TheLimitCountsTheMarkup) {
  for (const Role role : {Role::kMessage, Role::kInst}) {
    Segment segment;
    segment.role = role;
    segment.body = "x";
    segment.body.append(kBlockBytes - (render_segment(segment).size() - 1), 'x');
    EXPECT_EQ(render_segment(segment).size(), kBlockBytes + 1);  // a newline follows the segment
    EXPECT_FALSE(check_segment(segment, "a.yaml"));
    EXPECT_FALSE(parser_problem(segment));
    segment.body += 'x';
    const std::optional<Diagnostic> found = check_segment(segment, "a.yaml");
    ASSERT_TRUE(found);
    EXPECT_EQ(found->code, "E0317");
    EXPECT_EQ(found->message, parser_problem(segment).value().message);
  }
}

}  // namespace
}  // namespace shori::test
