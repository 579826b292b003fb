// Where the time of a pass goes, by op: measured by events on a device, by the clock on the CPU. If the program was built
// with the NVTX headers, each op is also an NVTX range.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/device.h"

namespace shori {

// The work of one call by the formula in the op's header; 0: not stated. Matrix products state what they compute, ops
// limited by memory state what they read and write.
struct OpWork {
  double flop = 0;   // a multiply-add counts as two
  double bytes = 0;  // each operand counts once
};

class OpProfile {
 public:
  // Measures the work queued on `stream` of `device`.
  OpProfile(Device device, void* stream) : device_(device), stream_(stream) {}
  ~OpProfile() { end(); }
  OpProfile(const OpProfile&) = delete;
  OpProfile& operator=(const OpProfile&) = delete;

  // Ops of one stream run one after the other, so an op ends where the next one begins. Time before the first op is not
  // counted. `op` is a string literal.
  void begin(const char* op);
  void add_work(const OpWork& work);  // adds to the op that began last
  void end();                         // ends the last op; time until the next begin() is not counted

  struct Line {
    std::string op;
    std::int64_t calls = 0;
    double seconds = 0;
    OpWork work;
    double tflop_per_second() const { return seconds > 0 ? work.flop / seconds * 1e-12 : 0; }
    double gb_per_second() const { return seconds > 0 ? work.bytes / seconds * 1e-9 : 0; }
  };
  // One line per op, longest time first. Ends the last op and waits for the device.
  std::vector<Line> lines();

 private:
  struct Point {
    const char* op;  // the op that begins here; null: no op does
    std::unique_ptr<DeviceEvent> event;
    double seconds;
    OpWork work;
  };
  void add_point(const char* op);

  Device device_;
  void* stream_;
  std::vector<Point> points_;
};

// Lines "op  calls  ms  share  TFLOP/s  GB/s", with rates where the op states its work. The last line is the sum; its
// TFLOP/s are those of all products over the whole time. No newline at the end.
std::string profile_table(const std::vector<OpProfile::Line>& lines);

}  // namespace shori
