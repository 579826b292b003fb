#include "src/data/stats/table.h"

#include <algorithm>

#include "shori/util/page/markup.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {

std::string padded(const std::string& text, std::size_t width) {
  const std::size_t size = count_code_points(text);
  return size >= width ? text : std::string(width - size, ' ') + text;
}

std::string StatsTable::text() const {
  std::vector<std::vector<std::string>> rows = rows_;
  std::vector<std::size_t> widths;
  for (auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      row[i] = escape_for_log(row[i]);
      widths[i] = std::max(widths[i], count_code_points(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line = "  " + row[0];
    if (row.size() > 1) line += std::string(widths[0] - count_code_points(row[0]), ' ');
    for (std::size_t i = 1; i < row.size(); ++i) line += "  " + padded(row[i], widths[i]);
    text += line + "\n";
  }
  return text;
}

std::string StatsTable::html(const std::string& caption) const {
  std::string text = concat("<h2>", escape_markup(caption), "</h2>\n<div class=\"wide\"><table>\n");
  for (const auto& row : rows_) {
    const bool is_head = &row == &rows_.front() && row[0].empty();
    text += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      const char* kind = is_head || i == 0 ? "th" : "td";
      const char* side = i == 0 ? "" : " style=\"text-align:right\"";
      text += concat("<", kind, side, ">", escape_markup(row[i]), "</", kind, ">");
    }
    text += "</tr>\n";
  }
  return text + "</table></div>\n";
}

}  // namespace shori
