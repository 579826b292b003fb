// What a report of shori_bench says of the program that was measured, beside what Google Benchmark says of the machine.
#include <benchmark/benchmark.h>

#include "shori/util/build_info.h"

namespace shori {
namespace {

[[maybe_unused]] const bool kAdded = [] {
  benchmark::AddCustomContext("build", build_id());
  return true;
}();

}  // namespace
}  // namespace shori
