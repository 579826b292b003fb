#include "shori/util/page/chart.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "shori/util/page/markup.h"

namespace shori {
namespace {

TEST(Markup, TextOfAnyBytesIsSafe) {
  EXPECT_EQ(escape_markup("<a href=\"x\" b='y'> & z"), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt; &amp; z");
  EXPECT_EQ(escape_markup("tab\tline\n夜"), "tab\tline\n夜");
  EXPECT_EQ(escape_markup(std::string("\x1b\0\xff", 3)), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(escape_markup("\uffff"), "\ufffd") << "no character of XML";
}

TEST(Markup, CoordinatesHaveTwoDecimalsAtMost) {
  EXPECT_EQ(coordinate(12), "12");
  EXPECT_EQ(coordinate(12.5), "12.5");
  EXPECT_EQ(coordinate(-0.001), "0");
  EXPECT_EQ(coordinate(1.006), "1.01");
}

std::vector<ChartPoint> waves(std::size_t count) {
  std::vector<ChartPoint> points;
  for (std::size_t i = 0; i < count; ++i)
    points.push_back({static_cast<double>(i), static_cast<double>(i * 7919 % 1009)});
  return points;
}

TEST(Chart, ThinningKeepsFirstLastLowestAndHighest) {
  std::vector<ChartPoint> points = waves(20'000);
  points[12'345].y = 5000;
  points[777].y = -5000;
  const auto thin = thin_points(points, 2000);
  EXPECT_LE(thin.size(), 2000u);
  EXPECT_EQ(thin.front().x, 0);
  EXPECT_EQ(thin.back().x, 19'999);
  const auto has = [&](double x, double y) {
    return std::ranges::any_of(thin, [&](const ChartPoint& point) { return point.x == x && point.y == y; });
  };
  EXPECT_TRUE(has(12'345, 5000) && has(777, -5000));
  EXPECT_TRUE(std::ranges::is_sorted(thin, {}, &ChartPoint::x));
}

TEST(Chart, FewPointsStayAsTheyAre) {
  EXPECT_EQ(thin_points(waves(10), 10).size(), 10u);
  EXPECT_LE(thin_points(waves(11), 4).size(), 4u);
}

TEST(Chart, SvgHasEveryValueAsItIs) {
  const Chart chart{"a<b", "step", "loss", {{"x&y", {{1, 0.1}, {2, 1e-17}}}}};
  const std::string svg = chart_svg(chart, "c0", false);
  EXPECT_NE(svg.find("data-name=\"x&amp;y\" data-points=\"1,0.1 2,1e-17\""), std::string::npos);
  EXPECT_NE(svg.find("<title id=\"c0-t\">a&lt;b</title>"), std::string::npos);
  EXPECT_EQ(svg, chart_svg(chart, "c0", false));
}

TEST(Chart, ChartsOfNothingAndOfOneValue) {
  EXPECT_NE(chart_svg({"t", "x", "y", {{"none", {}}}}, "c", true).find("no values"), std::string::npos);
  const std::string one = chart_svg({"t", "x", "y", {{"one", {{3, 0}}}}}, "c", true);
  EXPECT_EQ(one.find("nan"), std::string::npos);
  EXPECT_NE(one.find("<circle"), std::string::npos) << "a path of one point shows nothing";
}

TEST(Chart, ValuesThatDifferByRoundingHaveFewTicks) {
  for (const double value : {3.75e-5, 1.0, -2.5, 1e300}) {
    const Chart chart{"t", "x", "y", {{"rate", {{1, value}, {2, std::nextafter(value, 0)}}}}};
    const std::string svg = chart_svg(chart, "c", false);
    EXPECT_LT(svg.size(), 10'000u) << value;
    EXPECT_NE(svg.find("class=\"grid\""), std::string::npos) << value;
  }
}

}  // namespace
}  // namespace shori
