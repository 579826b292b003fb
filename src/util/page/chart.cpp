#include "shori/util/page/chart.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "shori/util/page/markup.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr double kWidth = 720, kHeight = 280, kLeft = 62, kRight = 14, kTop = 12, kBottom = 40;
constexpr double kInnerWidth = kWidth - kLeft - kRight, kInnerHeight = kHeight - kTop - kBottom;
constexpr std::size_t kColors = 8;

struct Range {
  double low = 0, high = 1;
};

// Values that differ by rounding only, as those of a constant learning rate, are one value: ticks between them could not be
// distinguished.
Range widened(Range range) {
  const double size = std::max(std::fabs(range.low), std::fabs(range.high));
  if (range.high - range.low > size * 1e-6) return range;
  const double margin = size == 0 ? 1 : size * 0.1;
  return {range.low - margin, range.high + margin};
}

Range range_of(const std::vector<ChartSeries>& series, double ChartPoint::* axis) {
  Range range;
  bool is_first = true;
  for (const ChartSeries& each : series) {
    for (const ChartPoint& point : each.points) {
      const double value = point.*axis;
      range = is_first ? Range{value, value} : Range{std::min(range.low, value), std::max(range.high, value)};
      is_first = false;
    }
  }
  return widened(range);
}

// 1, 2 or 5 times a power of ten, so that about `count` of them fill the range.
double tick_distance(const Range& range, int count) {
  const double rough = (range.high - range.low) / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power) return factor * power;
  return 10 * power;
}

// The multiples of `distance` inside the range.
std::vector<double> ticks(const Range& range, double distance) {
  std::vector<double> values;
  const double first = std::ceil(range.low / distance - 1e-9), last = std::floor(range.high / distance + 1e-9);
  for (double i = first; i <= last; ++i) values.push_back(i * distance);
  return values;
}

std::string tick_text(double value, double distance) {
  if (std::fabs(value) < distance / 1000) return "0";
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string shortest(double value) {
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

// Where a chart's values lie in its picture.
struct Frame {
  Range x, y;
  double left(double value) const { return kLeft + (value - x.low) / (x.high - x.low) * kInnerWidth; }
  double top(double value) const { return kTop + (1 - (value - y.low) / (y.high - y.low)) * kInnerHeight; }
};

std::string text_at(double x, double y, std::string_view anchor, std::string_view content) {
  return concat("<text x=\"", coordinate(x), "\" y=\"", coordinate(y), "\" text-anchor=\"", anchor, "\">",
                escape_markup(content), "</text>");
}

std::string axes(const Frame& frame, const Chart& chart) {
  std::string text = "<g class=\"x-ticks\">";
  const double x_step = std::max(1.0, tick_distance(frame.x, 8)), y_step = tick_distance(frame.y, 5);
  for (const double x : ticks(frame.x, x_step))
    text += text_at(frame.left(x), kHeight - kBottom + 16, "middle", tick_text(x, x_step));
  text += "</g>\n<g class=\"y-ticks\">";
  for (const double y : ticks(frame.y, y_step)) {
    const std::string top = coordinate(frame.top(y));
    text += concat("<path class=\"grid\" d=\"M", coordinate(kLeft), " ", top, "H", coordinate(kWidth - kRight), "\"/>");
    text += text_at(kLeft - 6, frame.top(y) + 4, "end", tick_text(y, y_step));
  }
  text += concat("</g>\n<path class=\"axis\" d=\"M", coordinate(kLeft), " ", coordinate(kTop), "V",
                 coordinate(kHeight - kBottom), "H", coordinate(kWidth - kRight), "\"/>\n");
  return text + text_at(kLeft + kInnerWidth / 2, kHeight - 6, "middle", chart.x_label) + "\n";
}

std::string series_group(const ChartSeries& series, std::size_t number, const Frame& frame) {
  std::string data, path, dots;
  for (const ChartPoint& point : series.points) {
    const std::string x = coordinate(frame.left(point.x)), y = coordinate(frame.top(point.y));
    data += concat(data.empty() ? "" : " ", shortest(point.x), ",", shortest(point.y));
    path += concat(path.empty() ? "M" : " ", x, " ", y);
    if (series.has_dots || series.points.size() == 1)
      dots += concat("<circle cx=\"", x, "\" cy=\"", y, "\" r=\"2.5\"/>");
  }
  return concat("<g class=\"series c", number % kColors, series.is_faint ? " faint" : "", "\" data-name=\"",
                escape_markup(series.name), "\" data-points=\"", data, "\"><path d=\"", path, "\"/>", dots, "</g>\n");
}

struct Legend {
  std::string text;
  double height = 0;
};

// The names of the series, in rows under the chart.
Legend legend_of(const Chart& chart) {
  std::string text;
  double x = kLeft, y = kHeight + 14;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const std::string& name = chart.series[i].name;
    const double width = 34 + 7 * static_cast<double>(name.size());
    if (x > kLeft && x + width > kWidth - kRight) x = kLeft, y += 18;
    text += concat("<g class=\"c", i % kColors, chart.series[i].is_faint ? " faint" : "", "\"><path d=\"M",
                   coordinate(x), " ", coordinate(y - 4), "h16\"/></g>");
    text += text_at(x + 22, y, "start", name);
    x += width;
  }
  return {std::move(text), y + 8 - kHeight};
}

std::string description(const Chart& chart) {
  std::string text = concat(chart.y_label, " by ", chart.x_label, ".");
  for (const ChartSeries& series : chart.series) {
    if (series.points.empty()) continue;
    const auto [low, high] = std::ranges::minmax_element(series.points, {}, &ChartPoint::y);
    char numbers[192];
    std::snprintf(numbers, sizeof numbers, ": first %.6g, last %.6g, lowest %.6g at %.6g, highest %.6g at %.6g.",
                  series.points.front().y, series.points.back().y, low->y, low->x, high->y, high->x);
    text += concat(" ", series.name, numbers);
  }
  return text;
}

}  // namespace

std::vector<ChartPoint> thin_points(const std::vector<ChartPoint>& points, std::size_t most) {
  if (points.size() <= most) return points;
  const std::size_t buckets = (most - 2) / 2, inner = points.size() - 2;
  std::vector<ChartPoint> kept{points.front()};
  for (std::size_t i = 0; i < buckets; ++i) {
    const auto begin = points.begin() + 1 + static_cast<std::ptrdiff_t>(i * inner / buckets);
    const auto end = points.begin() + 1 + static_cast<std::ptrdiff_t>((i + 1) * inner / buckets);
    auto [low, high] = std::minmax_element(begin, end, [](const auto& a, const auto& b) { return a.y < b.y; });
    if (high < low) std::swap(low, high);
    kept.push_back(*low);
    if (high != low) kept.push_back(*high);
  }
  kept.push_back(points.back());
  return kept;
}

std::string_view chart_style() {
  return R"(svg{--ink:#1f2328;--line:#d0d7de;--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#7d6600;--c6:#0f7b7b;--c7:#cf222e}
@media (prefers-color-scheme:dark){svg{--ink:#e6edf3;--line:#3d444d;--c0:#6cb6ff;--c1:#f69d50;--c2:#6bc46d;--c3:#dcbdfb;--c4:#fc8dc7;--c5:#daaa3f;--c6:#56d4dd;--c7:#ff938a}}
@media print{svg{--ink:#000;--line:#bbb}}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}
svg g path{fill:none;stroke-width:1.6;stroke-linejoin:round}
svg .faint path{opacity:.55;stroke-width:1}
svg .back{fill:none}
svg circle{fill:currentColor;stroke:none}
svg g path{stroke:currentColor}
svg .grid,svg .axis,svg g .grid{fill:none;stroke:var(--line);stroke-width:1}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}
)";
}

std::string chart_svg(const Chart& given, std::string_view id, bool standalone) {
  Chart chart = given;
  for (ChartSeries& series : chart.series) series.points = thin_points(series.points, chart.points);
  std::erase_if(chart.series, [](const ChartSeries& series) { return series.points.empty(); });
  const Legend legend = legend_of(chart);
  const Frame frame{range_of(chart.series, &ChartPoint::x), range_of(chart.series, &ChartPoint::y)};
  std::string text = concat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", coordinate(kWidth), " ",
                            coordinate(kHeight + legend.height), "\" role=\"img\" aria-labelledby=\"", id, "-t ", id,
                            "-d\" data-x=\"", shortest(frame.x.low), ",", shortest(frame.x.high), "\" data-y=\"",
                            shortest(frame.y.low), ",", shortest(frame.y.high), "\">\n");
  text += concat("<title id=\"", id, "-t\">", escape_markup(chart.title), "</title>\n<desc id=\"", id, "-d\">",
                 escape_markup(description(chart)), "</desc>\n");
  if (standalone) text += concat("<style>", chart_style(), "</style>\n");
  if (chart.series.empty()) return text + text_at(kWidth / 2, kHeight / 2, "middle", "no values") + "\n</svg>\n";
  text += axes(frame, chart);
  for (std::size_t i = 0; i < chart.series.size(); ++i) text += series_group(chart.series[i], i, frame);
  return text + "<g class=\"legend\">" + legend.text + "</g>\n</svg>\n";
}

}  // namespace shori
