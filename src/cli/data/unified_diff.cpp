#include "src/cli/data/unified_diff.h"

#include <algorithm>
#include <vector>

#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kContext = 3;
constexpr std::size_t kMaxEdits = 1000;  // with more, the part that differs is shown as replaced as a whole

std::vector<std::string_view> lines(std::string_view text) {
  std::vector<std::string_view> result;
  while (!text.empty()) {
    const std::size_t size = std::min(text.find('\n'), text.size());
    result.push_back(text.substr(0, size));
    text.remove_prefix(std::min(size + 1, text.size()));
  }
  return result;
}

struct Row {
  char mark;  // ' ', '-', '+'
  std::size_t a, b;
};

// Myers, "An O(ND) Difference Algorithm and Its Variations" (1986): the greedy algorithm, which keeps every frontier.
class LineDiff {
 public:
  LineDiff(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b) : a_(a), b_(b) {}

  std::vector<Row> rows() {
    begin_ = 0;
    a_end_ = static_cast<long>(a_.size());
    b_end_ = static_cast<long>(b_.size());
    while (begin_ < a_end_ && begin_ < b_end_ && same(begin_, begin_)) ++begin_;
    while (a_end_ > begin_ && b_end_ > begin_ && same(a_end_ - 1, b_end_ - 1)) --a_end_, --b_end_;
    std::vector<Row> middle = search() ? walk_back() : replaced();
    std::vector<Row> result;
    for (long i = 0; i < begin_; ++i) push(result, ' ', i, i);
    result.insert(result.end(), middle.begin(), middle.end());
    for (long i = 0; a_end_ + i < static_cast<long>(a_.size()); ++i) push(result, ' ', a_end_ + i, b_end_ + i);
    return result;
  }

 private:
  bool same(long i, long j) const { return a_[static_cast<std::size_t>(i)] == b_[static_cast<std::size_t>(j)]; }
  static void push(std::vector<Row>& rows, char mark, long a, long b) {
    rows.push_back({mark, static_cast<std::size_t>(a), static_cast<std::size_t>(b)});
  }
  // Whether the best path to diagonal k with d edits came down (an insertion).
  static bool comes_down(const std::vector<long>& reach, long d, long k) {
    return k == -d || (k != d && reach[index(d, k - 1)] < reach[index(d, k + 1)]);
  }
  static std::size_t index(long d, long k) { return static_cast<std::size_t>(k + d + 1); }

  bool search() {
    const long n = a_end_ - begin_, m = b_end_ - begin_;
    std::vector<long> reach(3, 0);
    for (long d = 0; d <= std::min<long>(n + m, kMaxEdits); ++d) {
      std::vector<long> wider(static_cast<std::size_t>(2 * d + 3), 0);
      if (d > 0) std::copy(reach.begin(), reach.end(), wider.begin() + 1);
      trail_.push_back(wider);
      const std::vector<long>& before = trail_.back();
      for (long k = -d; k <= d; k += 2) {
        const bool down = comes_down(before, d, k);
        long x = d == 0 ? 0 : down ? before[index(d, k + 1)] : before[index(d, k - 1)] + 1;
        while (x < n && x - k < m && same(begin_ + x, begin_ + x - k)) ++x;
        wider[index(d, k)] = x;
        if (k == n - m && x >= n) return true;
      }
      reach = std::move(wider);
    }
    return false;
  }

  std::vector<Row> walk_back() {
    std::vector<Row> rows;
    long x = a_end_ - begin_, y = b_end_ - begin_;
    for (long d = static_cast<long>(trail_.size()) - 1; d >= 0; --d) {
      const long k = x - y;
      const std::vector<long>& reach = trail_[static_cast<std::size_t>(d)];
      const bool down = d > 0 && comes_down(reach, d, k);
      const long from = d == 0 ? 0 : down ? reach[index(d, k + 1)] : reach[index(d, k - 1)] + 1;
      while (x > from) --x, --y, push(rows, ' ', begin_ + x, begin_ + y);
      if (d == 0) break;
      if (down) {
        --y;
        push(rows, '+', begin_ + x, begin_ + y);
      } else {
        --x;
        push(rows, '-', begin_ + x, begin_ + y);
      }
    }
    std::reverse(rows.begin(), rows.end());
    return rows;
  }

  std::vector<Row> replaced() const {
    std::vector<Row> rows;
    for (long i = begin_; i < a_end_; ++i) push(rows, '-', i, begin_);
    for (long j = begin_; j < b_end_; ++j) push(rows, '+', a_end_, j);
    return rows;
  }

  const std::vector<std::string_view>&a_, &b_;
  long begin_ = 0, a_end_ = 0, b_end_ = 0;
  std::vector<std::vector<long>> trail_;
};

std::string range(std::size_t begin, std::size_t count) { return concat(count == 0 ? begin : begin + 1, ",", count); }

}  // namespace

std::string unified_diff(std::string_view name, std::string_view before, std::string_view after) {
  if (before == after) return "";
  const std::vector<std::string_view> a = lines(before), b = lines(after);
  const std::vector<Row> rows = LineDiff(a, b).rows();
  const std::string shown = escape_for_log(name, 400);
  std::string out = concat("--- ", shown, "\n+++ ", shown, " (fixed)\n");
  for (std::size_t at = 0; at < rows.size();) {
    if (rows[at].mark == ' ') {
      ++at;
      continue;
    }
    const std::size_t begin = at - std::min(at, kContext);
    std::size_t end = at, quiet = 0;
    while (end < rows.size() && quiet <= 2 * kContext) quiet = rows[end++].mark == ' ' ? quiet + 1 : 0;
    end -= quiet > kContext ? quiet - kContext : 0;
    std::size_t removed = 0, added = 0;
    std::string body;
    for (std::size_t i = begin; i < end; ++i) {
      removed += rows[i].mark != '+' ? 1 : 0;
      added += rows[i].mark != '-' ? 1 : 0;
      body += rows[i].mark +
              escape_for_log(rows[i].mark == '+' ? b[rows[i].b] : a[rows[i].a], before.size() + after.size()) + "\n";
    }
    out += concat("@@ -", range(rows[begin].a, removed), " +", range(rows[begin].b, added), " @@\n", body);
    at = end;
  }
  return out;
}

}  // namespace shori
