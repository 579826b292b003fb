#include "kernels/linear/product_choice.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "kernels/linear/nf4_product.h"
#include "shori/ops/matmul_choices.h"
#include "shori/util/log.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr int kTimedRuns = 3;  // after one that loads kernels and chooses cuBLASLt's algorithm

// The shortest of a few runs: what else happens on the card only adds to one.
double seconds_of(const OpContext& context, const std::function<void()>& run) {
  run();
  double shortest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTimedRuns; ++i) {
    DeviceEvent start, stop;
    start.record(context.stream);
    run();
    stop.record(context.stream);
    stop.synchronize();
    shortest = std::min(shortest, stop.seconds_since(start));
  }
  return shortest;
}

std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f ms", seconds * 1e3);
  return text;
}

void remember(const std::string& product, bool nf4, const std::string& reason) {
  log_detail(concat("product ", product, ": ", nf4 ? kNf4Algorithm : kLibraryAlgorithm, ", ", reason));
  remember_matmul_choice({product, std::string(nf4 ? kNf4Algorithm : kLibraryAlgorithm), reason});
}

// Runs both ways, the chosen one last. Where the group has memory for its decoded weights, the library's time is that of the
// products that find them there.
void choose_by_time(const OpContext& context, const std::string& product, std::int64_t rows, const ProductWays& ways) {
  const double library = seconds_of(context, ways.library), nf4 = seconds_of(context, ways.nf4);
  const bool is_faster = is_worthwhile(nf4, library);
  remember(product, is_faster,
           concat("with ", rows, " rows ", kNf4Algorithm, " ", milliseconds(nf4), ", ", kLibraryAlgorithm, " ",
                  milliseconds(library)));
  if (!is_faster) ways.library();
}

// Whether times say which way is faster. A clock that a test has set says so for any number of rows.
bool is_timed(std::int64_t rows) {
  if (device_backend() == "none") return false;
  const DeviceInfo& device = open_device();
  return device.has_clock && adds_faster_in_half(device) && (rows >= kMinTimedRows || device_backend() != "cuda");
}

}  // namespace

std::string frozen_product_name(MatmulB form, const LinearGroup& group) {
  std::string name = form == MatmulB::kTransposed ? "frozen x.wT out " : "frozen x.w out ";
  for (const LinearModule& module : group.modules)
    name += concat(&module == &group.modules.front() ? "" : "+", module.weight.rows);
  return concat(name, " in ", group.in(), "+", group.lora_columns());
}

bool is_worthwhile(double nf4_seconds, double library_seconds) {
  return nf4_seconds <= (1 - kWorthwhile) * library_seconds;
}

void run_frozen_product(const OpContext& context, MatmulB form, const LinearGroup& group, std::int64_t rows,
                        const ProductWays& ways) {
  const FrozenProducts choice = frozen_products();
  if (choice == FrozenProducts::kCublasLt || !nf4_product_takes(group)) return ways.library();
  const std::string product = frozen_product_name(form, group);
  const auto known = find_matmul_choice(product);
  if (choice == FrozenProducts::kNf4) {
    if (known != kNf4Algorithm) remember(product, true, "`matmul: nf4`");
    return ways.nf4();
  }
  if (known) return *known == kNf4Algorithm ? ways.nf4() : ways.library();
  if (choice == FrozenProducts::kRecorded || !is_timed(rows)) return ways.library();
  choose_by_time(context, product, rows, ways);
}

}  // namespace shori
