// The curves of a report.
#include <algorithm>
#include <cmath>
#include <map>

#include "shori/util/page/markup.h"
#include "shori/util/text.h"
#include "src/train/report/loss_average.h"
#include "src/train/report/report_page.h"

namespace shori {
namespace {

std::vector<ChartPoint> smoothed(const std::vector<ChartPoint>& points) {
  std::vector<ChartPoint> result;
  LossAverage average;
  for (const ChartPoint& point : points) result.push_back({point.x, average.add(point.y)});
  return result;
}

template <typename Rows, typename Value>
std::vector<ChartPoint> points_of(const Rows& rows, const Value& value) {
  std::vector<ChartPoint> points;
  for (const auto& row : rows) points.push_back({static_cast<double>(row.step), static_cast<double>(value(row))});
  return points;
}

// "", or "B: " where two runs are shown.
std::string prefix(const RunGroup& runs, std::size_t i) {
  return runs.size() == 1 ? "" : concat(i == 0 ? "A" : "B", ": ");
}

// A value of each row, by step.
template <typename Row, typename Value>
Chart row_chart(const RunGroup& runs, std::vector<Row> RunRecord::* rows, const char* title, const char* label,
                std::size_t points, const Value& value) {
  Chart chart{title, "step", label, {}, points};
  for (std::size_t i = 0; i < runs.size(); ++i)
    chart.series.push_back({concat(prefix(runs, i), label), points_of(runs[i]->*rows, value)});
  return chart;
}

// What is 0 where it is not known.
Chart without_zeros(Chart chart) {
  for (ChartSeries& series : chart.series)
    std::erase_if(series.points, [](const ChartPoint& point) { return point.y == 0; });
  return chart;
}

using Parts = std::vector<std::pair<std::string, double>>;

// Evaluation loss by role or category, a series for each part of each data set.
Chart parts_chart(const RunGroup& runs, const char* title, std::size_t points, Parts EvalRecord::* parts) {
  std::map<std::string, std::vector<ChartPoint>> series;
  for (std::size_t i = 0; i < runs.size(); ++i)
    for (const EvalRecord& eval : runs[i]->evals)
      for (const auto& [name, loss] : eval.*parts)
        series[concat(prefix(runs, i), eval.dataset, " ", name)].push_back({static_cast<double>(eval.step), loss});
  Chart chart{title, "step", "loss", {}, std::max<std::size_t>(4, points / std::max<std::size_t>(1, series.size()))};
  for (auto& [name, values] : series) chart.series.push_back({name, std::move(values), false, true});
  return chart;
}

std::string figure(const Chart& chart, const std::string& id) {
  const auto has_points = [](const ChartSeries& series) { return !series.points.empty(); };
  if (std::ranges::none_of(chart.series, has_points)) return "";
  return concat("<figure><figcaption>", escape_markup(chart.title), "</figcaption>\n", chart_svg(chart, id, false),
                "</figure>\n");
}

}  // namespace

Chart loss_chart(const RunGroup& runs, std::size_t points) {
  Chart chart{"Loss", "step", "loss", {}, points};
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto raw = points_of(runs[i]->steps, [](const StepRecord& row) { return row.loss; });
    chart.series.push_back({prefix(runs, i) + "training", raw, true});
    chart.series.push_back({prefix(runs, i) + "training, smoothed", smoothed(raw)});
    for (const auto& [dataset, evals] : runs[i]->evals_by_dataset()) {
      ChartSeries held_out{concat(prefix(runs, i), "held out: ", dataset), {}, false, true};
      for (const EvalRecord* eval : evals) held_out.points.push_back({static_cast<double>(eval->step), eval->loss});
      chart.series.push_back(std::move(held_out));
    }
  }
  return chart;
}

std::string chart_section(const RunGroup& runs, std::string_view id, std::size_t points) {
  const std::size_t fewer = std::max<std::size_t>(4, points / 2), few = std::max<std::size_t>(4, points / 4);
  const std::vector<Chart> charts = {
      loss_chart(runs, points),
      parts_chart(runs, "Held-out loss by role", points, &EvalRecord::by_role),
      parts_chart(runs, "Held-out loss by category", points, &EvalRecord::by_category),
      row_chart(runs, &RunRecord::steps, "Learning rate", "learning rate", fewer,
                [](const StepRecord& row) { return row.learning_rate; }),
      row_chart(runs, &RunRecord::steps, "Gradient norm before clipping", "gradient norm", fewer,
                [](const StepRecord& row) { return row.grad_norm; }),
      row_chart(runs, &RunRecord::timings, "Throughput", "tokens per second", few,
                [](const TimingRecord& row) { return row.tokens_per_second; }),
      without_zeros(row_chart(runs, &RunRecord::timings, "Share of the card's peak arithmetic", "share", few,
                              [](const TimingRecord& row) { return row.share_of_peak; })),
      row_chart(runs, &RunRecord::timings, "Peak memory", "GiB", few,
                [](const TimingRecord& row) { return static_cast<double>(row.memory_in_use()) / (1 << 30); })};
  std::string text = "<div class=\"charts\">\n";
  for (std::size_t i = 0; i < charts.size(); ++i) text += figure(charts[i], concat(id, "-", i));
  return text + "</div>\n";
}

}  // namespace shori
