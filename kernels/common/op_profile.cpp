#include "shori/ops/op_profile.h"

#include <algorithm>
#include <cstdio>

#include "shori/util/progress.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define SHORI_NVTX 1
#else
#define SHORI_NVTX 0
#endif

namespace shori {

namespace {

void open_range(const char* op) {
#if SHORI_NVTX
  nvtxRangePushA(op);
#else
  (void)op;
#endif
}

void close_range() {
#if SHORI_NVTX
  nvtxRangePop();
#endif
}

bool is_open(const char* op) { return op != nullptr; }

}  // namespace

void OpProfile::begin(const char* op) {
  if (!points_.empty() && is_open(points_.back().op)) close_range();
  open_range(op);
  add_point(op);
}

void OpProfile::add_work(const OpWork& work) {
  points_.back().work.flop += work.flop;
  points_.back().work.bytes += work.bytes;
}

void OpProfile::end() {
  if (points_.empty() || !is_open(points_.back().op)) return;
  close_range();
  add_point(nullptr);
}

void OpProfile::add_point(const char* op) {
  Point point{op, nullptr, 0, {}};
  if (device_ == Device::kCpu) {
    point.seconds = now_seconds();
  } else {
    point.event = std::make_unique<DeviceEvent>();
    point.event->record(stream_);
  }
  points_.push_back(std::move(point));
}

std::vector<OpProfile::Line> OpProfile::lines() {
  end();
  if (device_ != Device::kCpu && !points_.empty()) points_.back().event->synchronize();
  std::vector<Line> lines;
  for (std::size_t i = 0; i + 1 < points_.size(); ++i) {
    const Point &from = points_[i], &to = points_[i + 1];
    if (!is_open(from.op)) continue;
    auto found = std::ranges::find(lines, std::string_view(from.op), &Line::op);
    if (found == lines.end()) found = lines.insert(lines.end(), Line{from.op, 0, 0, {}});
    ++found->calls;
    found->seconds += from.event ? to.event->seconds_since(*from.event) : to.seconds - from.seconds;
    found->work.flop += from.work.flop;
    found->work.bytes += from.work.bytes;
  }
  std::ranges::sort(lines, std::ranges::greater(), &Line::seconds);
  return lines;
}

std::string profile_table(const std::vector<OpProfile::Line>& lines) {
  OpProfile::Line sum{"sum", 0, 0, {}};
  for (const OpProfile::Line& line : lines) {
    sum.calls += line.calls;
    sum.seconds += line.seconds;
    sum.work.flop += line.work.flop;
  }
  std::string text;
  const auto rate = [](double value, const char* unit) {
    char cell[32] = "";
    if (value > 0) std::snprintf(cell, sizeof cell, "  %8.4g %s", value, unit);
    return std::string(cell);
  };
  const auto add = [&](const OpProfile::Line& line) {
    char cells[96];
    std::snprintf(cells, sizeof cells, "  %-24s %8lld calls %12.3f ms %6.2f %%", line.op.c_str(),
                  static_cast<long long>(line.calls), line.seconds * 1e3,
                  sum.seconds > 0 ? 100 * line.seconds / sum.seconds : 0.0);
    text += cells + rate(line.tflop_per_second(), "TFLOP/s") + rate(line.gb_per_second(), "GB/s") + "\n";
  };
  for (const OpProfile::Line& line : lines) add(line);
  add(sum);
  text.pop_back();
  return text;
}

}  // namespace shori
