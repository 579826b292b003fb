#include "shori/train/report.h"

#include <algorithm>

#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/page/markup.h"
#include "shori/util/text.h"
#include "src/train/report/report_page.h"
#include "src/train/report/report_script.h"

namespace shori {
namespace {

constexpr std::size_t kPoints = 2000;

std::vector<RunRecord> read_records(const std::string& path) {
  std::vector<RunRecord> records;
  for (const std::string& folder : run_folders_in(path)) records.push_back(read_run_record(folder));
  return records;
}

std::string run_sections(const RunRecord& run, const std::string& id) {
  return concat(evaluation_table(run), sample_section(run), data_section(run, id + "-lengths"), memory_section(run),
                config_section(run), provenance_section(run));
}

std::string report_body(const std::vector<RunRecord>& runs) {
  std::string body = stage_table(runs);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs.size() > 1) body += concat("<h2>Stage ", escape_markup(runs[i].stage), "</h2>\n");
    body += chart_section({&runs[i]}, concat("c", i), std::max<std::size_t>(100, kPoints / runs.size()));
    body += run_sections(runs[i], concat("c", i));
  }
  return body;
}

// The last part of a path, also where it ends with a slash or a dot.
std::string folder_name(const std::string& path) {
  std::string whole = absolute_path(path);
  while (whole.size() > 1 && (whole.ends_with('/') || whole.ends_with("/."))) whole.pop_back();
  return file_name(whole);
}

}  // namespace

std::vector<std::string> write_report(const std::string& path) {
  const std::vector<RunRecord> runs = read_records(path);
  const std::string page = html_page(concat("Training report: ", folder_name(path)), report_body(runs), kReportScript);
  write_file_atomically(path, "report.html", page);
  RunGroup last{&runs.back()};
  Chart chart = loss_chart(last, kPoints);
  chart.title = concat("Loss of ", runs.back().stage);
  write_file_atomically(path, "loss.svg", chart_svg(chart, "loss", true));
  return {join_path(path, "report.html"), join_path(path, "loss.svg")};
}

std::vector<std::string> write_comparison(const std::string& a, const std::string& b) {
  const std::vector<RunRecord> first = read_records(a), second = read_records(b);
  std::string body = concat("<p>A: ", escape_markup(folder_name(a)), "</p>\n", stage_table(first),
                            "<p>B: ", escape_markup(folder_name(b)), "</p>\n", stage_table(second));
  const std::size_t points = std::max<std::size_t>(100, kPoints / (2 * std::max(first.size(), second.size())));
  for (std::size_t i = 0; i < first.size(); ++i) {
    const bool single = first.size() == 1 && second.size() == 1;
    const auto pair =
        std::ranges::find_if(second, [&](const RunRecord& run) { return single || run.stage == first[i].stage; });
    RunGroup group{&first[i]};
    if (pair != second.end()) group.push_back(&*pair);
    const std::string note = pair == second.end() ? "<p>B has no stage of this name.</p>\n" : "";
    body += concat("<h2>Stage ", escape_markup(first[i].stage), "</h2>\n", note,
                   chart_section(group, concat("c", i), points));
  }
  std::string name = folder_name(b);
  std::ranges::replace_if(name, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '_');
  const std::string file = concat("report-with-", name, ".html");
  write_file_atomically(
      a, file, html_page(concat("Training report: ", folder_name(a), " and ", folder_name(b)), body, kReportScript));
  return {join_path(a, file)};
}

void update_report(const std::string& path) {
  try {
    (void)write_report(path);
  } catch (const Error& error) {
    log_info(concat("the report could not be written: ", error.diagnostics().front().message));
  }
}

}  // namespace shori
