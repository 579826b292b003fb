// The parts of a report page.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "shori/util/page/chart.h"
#include "src/train/report/run_record.h"

namespace shori {

// What one report shows together: a run, or two that are compared.
using RunGroup = std::vector<const RunRecord*>;

Chart loss_chart(const RunGroup& runs, std::size_t points);
// All charts of a group, with `points` points of each curve at most. `id` begins the ids in it.
std::string chart_section(const RunGroup& runs, std::string_view id, std::size_t points);

// One row a run.
std::string stage_table(const std::vector<RunRecord>& runs);
std::string evaluation_table(const RunRecord& run);
std::string sample_section(const RunRecord& run);
// What was planned, part by part, and what was measured.
std::string memory_section(const RunRecord& run);
// The lengths of messages, the ledger and its files. `id` begins the ids in it.
std::string data_section(const RunRecord& run, std::string_view id);
std::string config_section(const RunRecord& run);
std::string provenance_section(const RunRecord& run);

}  // namespace shori
