// Where the time of a pass goes, by op: measured by events on a device, by the clock on the CPU. Where the headers of
// NVTX were there when this was built, each op is also a named range for a profiler.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/device.h"

namespace shori {

// What an op has to do, by the formula in its header; 0: not stated. Products say how much they compute, ops that wait
// for memory how much they read and write.
struct OpWork {
  double flop = 0;   // a multiply-add is two; causal attention counts half of its square
  double bytes = 0;  // each operand once
};

class OpProfile {
 public:
  // Of the work queued on `stream` of `device`.
  OpProfile(Device device, void* stream) : device_(device), stream_(stream) {}
  ~OpProfile() { end(); }
  OpProfile(const OpProfile&) = delete;
  OpProfile& operator=(const OpProfile&) = delete;

  // Ops of one stream run one after the other: each begins where the one before ends. Time before the first is not
  // counted. `op` is a literal.
  void begin(const char* op);
  void add_work(const OpWork& work);  // of the op that began last
  void end();                         // of the last op, for now

  struct Line {
    std::string op;
    std::int64_t calls = 0;
    double seconds = 0;
    OpWork work;
    double tflop_per_second() const { return seconds > 0 ? work.flop / seconds * 1e-12 : 0; }
    double gb_per_second() const { return seconds > 0 ? work.bytes / seconds * 1e-9 : 0; }
  };
  // Longest first. Ends the last op and waits for the device.
  std::vector<Line> lines();

 private:
  struct Point {
    const char* op;  // that begins here; null: nothing does
    std::unique_ptr<DeviceEvent> event;
    double seconds;
    OpWork work;
  };
  void add_point(const char* op);

  Device device_;
  void* stream_;
  std::vector<Point> points_;
};

// Lines "op  calls  ms  share  TFLOP/s  GB/s", rates where the op states its work; the last line for the sum, its
// TFLOP/s those of all products over the whole time. No newline at the end.
std::string profile_table(const std::vector<OpProfile::Line>& lines);

}  // namespace shori
