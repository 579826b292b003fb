// Line charts as SVG, inside a page or as a file of their own. The same input gives the same bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace shori {

struct ChartPoint {
  double x = 0, y = 0;
};

struct ChartSeries {
  std::string name;
  std::vector<ChartPoint> points;  // by rising x, finite
  bool is_faint = false;           // drawn thin and pale: raw values with their average over them
  bool has_dots = false;
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<ChartSeries> series;
  std::size_t points = 2000;  // most points of one series that are drawn
};

// At most `most` (4 or more) of the points: the first, the last, and the lowest and the highest of each bucket of
// neighbours. All of them if they are no more than that.
std::vector<ChartPoint> thin_points(const std::vector<ChartPoint>& points, std::size_t most);

// The colours of charts as CSS rules, light and dark.
std::string_view chart_style();

// <svg> with a title and a description for screen readers, whose ids begin with `id`. Each series is a <g class="series">
// whose `data-points` has what is drawn, "x,y x,y", every number as the shortest decimal that reads back as it is. With
// `standalone` it carries its colours and may be a file. A chart without points says that there are none.
std::string chart_svg(const Chart& chart, std::string_view id, bool standalone);

}  // namespace shori
