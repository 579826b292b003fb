// A table of statistics, as text and as markup.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace shori {

// Right-aligned in `width` columns.
std::string padded(const std::string& text, std::size_t width);

// Rows of cells: the first column to the left, the others to the right. Cells hold text as it is in the data.
class StatsTable {
 public:
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string text() const;
  std::string html(const std::string& caption) const;  // the first row is the head, if its first cell is empty

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace shori
