#include <algorithm>

#include "src/util/errors/error_texts.h"

namespace shori {

const std::vector<ErrorInfo>& error_table() {
  static const std::vector<ErrorInfo> table = [] {
    std::vector<ErrorInfo> rows;
    for (const auto& part : {input_error_texts(), run_error_texts(), warning_texts()})
      rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return table;
}

const ErrorInfo* find_error_info(std::string_view code) {
  const auto& table = error_table();
  const auto at = std::lower_bound(table.begin(), table.end(), code,
                                   [](const ErrorInfo& row, std::string_view wanted) { return row.code < wanted; });
  return at != table.end() && at->code == code ? &*at : nullptr;
}

}  // namespace shori
