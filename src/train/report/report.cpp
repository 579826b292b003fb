#include "shori/train/report.h"

#include <algorithm>
#include <array>

#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/markup.h"
#include "shori/util/text.h"
#include "src/train/report/report_page.h"
#include "src/train/report/report_script.h"

namespace shori {
namespace {

constexpr std::size_t kPoints = 2000;

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--border:#d0d7de;--soft:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--text:#e6edf3;--border:#3d444d;--soft:#161b22}}
body{margin:0 auto;max-width:1500px;padding:1rem;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem}
figure{margin:0;border:1px solid var(--border);border-radius:6px;padding:.6rem;position:relative;break-inside:avoid}
figcaption{font-weight:600}
svg{width:100%;height:auto;display:block}
.wide{overflow-x:auto}
table{border-collapse:collapse;margin:.5rem 0}
th,td{border-bottom:1px solid var(--border);padding:.25rem .7rem;text-align:left;max-width:60rem;overflow-wrap:break-word}
.stages td,.stages th{white-space:nowrap}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);padding:.6rem;border-radius:6px}
summary{cursor:pointer;font-weight:600;padding:.3rem 0}
.tools{display:flex;flex-wrap:wrap;gap:.2rem .8rem;font-size:.85rem}
.value{min-height:1.4em;font-size:.85rem}
.off{display:none}
:focus-visible{outline:2px solid #0969da;outline-offset:2px}
@media print{.tools,.value{display:none}body{max-width:none;padding:0}details::details-content{content-visibility:visible}}
@page{size:A4;margin:12mm}
)";

std::string base64(const Sha256Digest& digest) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < digest.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < 3; ++j) bits = bits << 8 | (i + j < digest.size() ? digest[i + j] : 0u);
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[bits >> shift & 63];
  }
  const std::size_t missing = (3 - digest.size() % 3) % 3;
  text.replace(text.size() - missing, missing, missing, '=');
  return text;
}

std::vector<RunRecord> read_records(const std::string& path) {
  std::vector<RunRecord> records;
  for (const std::string& folder : run_folders_in(path)) records.push_back(read_run_record(folder));
  return records;
}

std::string run_sections(const RunRecord& run) {
  return concat(evaluation_table(run), sample_section(run), data_section(run), config_section(run),
                provenance_section(run));
}

std::string report_body(const std::vector<RunRecord>& runs) {
  std::string body = stage_table(runs);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (runs.size() > 1) body += concat("<h2>Stage ", escape_markup(runs[i].stage), "</h2>\n");
    body += chart_section({&runs[i]}, concat("c", i), std::max<std::size_t>(100, kPoints / runs.size()));
    body += run_sections(runs[i]);
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

std::string html_page(const std::string& title, const std::string& body) {
  const std::string name = escape_markup(title);
  return concat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';"
      "img-src data:;script-src 'sha256-",
      base64(sha256(kReportScript.data(), kReportScript.size())), "'\">\n<link rel=\"icon\" href=\"data:,\">\n<title>",
      name, "</title>\n<style>", chart_style(), kStyle, "</style>\n</head>\n<body>\n<h1>", name, "</h1>\n", body,
      "<script>", kReportScript, "</script>\n</body>\n</html>\n");
}

std::vector<std::string> write_report(const std::string& path) {
  const std::vector<RunRecord> runs = read_records(path);
  const std::string page = html_page(concat("Training report: ", folder_name(path)), report_body(runs));
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
  write_file_atomically(a, file, html_page(concat("Training report: ", folder_name(a), " and ", folder_name(b)), body));
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
