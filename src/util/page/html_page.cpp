#include <cstdint>

#include "shori/util/hash.h"
#include "shori/util/page/chart.h"
#include "shori/util/page/markup.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--page:#fff;--text:#1f2328;--border:#d0d7de;--soft:#f6f8fa}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--text:#e6edf3;--border:#3d444d;--soft:#161b22}}
body{margin:0 auto;max-width:1500px;padding:1rem;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem}
figure{margin:0;border:1px solid var(--border);border-radius:6px;padding:.6rem;position:relative;break-inside:avoid}
figcaption{font-weight:600}
.lengths{max-width:760px}
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

}  // namespace

std::string html_page(std::string_view title, std::string_view body, std::string_view script) {
  const std::string name = escape_markup(title);
  const std::string policy =
      script.empty() ? "" : concat(";script-src 'sha256-", base64(sha256(script.data(), script.size())), "'");
  const std::string element = script.empty() ? "" : concat("<script>", script, "</script>\n");
  return concat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';"
      "img-src data:",
      policy, "\">\n<link rel=\"icon\" href=\"data:,\">\n<title>", name, "</title>\n<style>", chart_style(), kStyle,
      "</style>\n</head>\n<body>\n<h1>", name, "</h1>\n", body, element, "</body>\n</html>\n");
}

}  // namespace shori
