// The lengths of messages as a picture (SVG).
#include <algorithm>
#include <string>
#include <utility>

#include "shori/data/corpus_stats.h"
#include "shori/util/math.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::int64_t kMostBins = 30;
constexpr int kWidth = 760, kHeight = 360, kLeft = 70, kRight = 20, kTop = 56, kBottom = 60;
constexpr int kBase = kHeight - kBottom, kFull = kBase - kTop, kInner = kWidth - kLeft - kRight;
constexpr std::pair<std::int64_t, const char*> kMarks[] = {{25, "25 %"}, {50, "median"}, {75, "75 %"}, {95, "95 %"}};

// 1, 2 or 5 times a power of ten, at least `least`.
std::int64_t round_size(std::int64_t least) {
  for (std::int64_t power = 1;; power *= 10) {
    for (const std::int64_t factor : {1, 2, 5})
      if (factor * power >= least) return factor * power;
  }
}

class Picture {
 public:
  Picture(const LengthDistribution& lengths, std::string_view id) : lengths_(lengths), id_(id) {
    // The bins reach as far as 99 of 100 messages; the last holds what is longer.
    const std::int64_t most = std::max<std::int64_t>(1, lengths.quantile(99, 100));
    size_ = round_size(ceil_div(most + 1, kMostBins));
    bins_ = lengths.histogram(size_, static_cast<std::size_t>(ceil_div(most + 1, size_)) + 1);
    if (bins_.back() == 0) bins_.pop_back();
    tallest_ = std::max<std::int64_t>(1, *std::max_element(bins_.begin(), bins_.end()));
  }

  std::string svg() {
    const auto count = static_cast<std::int64_t>(lengths_.count());
    const std::string title = concat("Message lengths of ", with_commas(count), " messages");
    text_ = concat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", kWidth, " ", kHeight, "\" width=\"",
                   kWidth, "\" height=\"", kHeight, "\" role=\"img\" aria-labelledby=\"", id_, "-title ", id_,
                   "-desc\" font-family=\"sans-serif\" font-size=\"12\">\n<title id=\"", id_, "-title\">", title,
                   "</title>\n<desc id=\"", id_, "-desc\">", description(),
                   "</desc>\n<rect class=\"back\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    label(kWidth / 2, 20, "middle", title);
    for (std::size_t i = 0; i < bins_.size(); ++i) bar(i);
    const bool has_rest = is_rest(bins_.size() - 1);
    for (std::size_t i = 0; i + (has_rest ? 2 : 0) < bins_.size() + 1; i += bins_.size() > 12 ? 5 : 1) tick(i);
    if (has_rest) tick(bins_.size() - 1);
    if (count > 0) {
      for (const auto& [percent, name] : kMarks) mark(percent, name);
    }
    line(kLeft, kBase, kWidth - kRight, kBase, "#404040");
    line(kLeft, kTop, kLeft, kBase, "#404040");
    label(kLeft - 6, kTop + 4, "end", with_commas(tallest_));
    label(kLeft - 6, kBase + 4, "end", "0");
    label(kWidth / 2, kHeight - 14, "middle", "tokens of the message text");
    return text_ + "</svg>\n";
  }

 private:
  std::string description() const {
    std::string text = "Histogram";
    for (const auto& [percent, name] : kMarks)
      text += concat(", ", name, " ", with_commas(lengths_.quantile(percent, 100)));
    return text + concat(", longest ", with_commas(lengths_.quantile(1, 1)), " tokens");
  }

  bool is_rest(std::size_t bin) const {
    return bin + 1 == bins_.size() && lengths_.quantile(1, 1) >= static_cast<std::int64_t>(bins_.size()) * size_;
  }

  // Of a length, where each bin is equally wide.
  int left(double length) const {
    const double bin = std::min(length / static_cast<double>(size_), static_cast<double>(bins_.size()));
    return kLeft + static_cast<int>(bin * kInner / static_cast<double>(bins_.size()));
  }

  void bar(std::size_t bin) {
    const std::int64_t from = static_cast<std::int64_t>(bin) * size_;
    const int x = left(static_cast<double>(from)), width = left(static_cast<double>(from + size_)) - x;
    const int height = static_cast<int>(bins_[bin] * kFull / tallest_);
    const std::string range = is_rest(bin) ? concat(with_commas(from), " and more")
                              : size_ == 1 ? with_commas(from)
                                           : concat(with_commas(from), " to ", with_commas(from + size_ - 1));
    text_ +=
        concat("<rect x=\"", x, "\" y=\"", kBase - height, "\" width=\"", std::max(1, width - 2), "\" height=\"",
               height, "\" fill=\"#4878a8\"><title>", range, " tokens: ", with_commas(bins_[bin]), "</title></rect>\n");
  }

  void tick(std::size_t bin) {
    const std::int64_t from = static_cast<std::int64_t>(bin) * size_;
    label(left(static_cast<double>(from)), kBase + 18, "middle",
          concat(with_commas(from), bin < bins_.size() && is_rest(bin) ? "+" : ""));
  }

  void mark(std::int64_t percent, const char* name) {
    const std::int64_t length = lengths_.quantile(percent, 100);
    const int x = left(static_cast<double>(length) + 0.5);
    text_ += concat("<line x1=\"", x, "\" y1=\"", kTop - 4, "\" x2=\"", x, "\" y2=\"", kBase,
                    "\" stroke=\"#b04030\" stroke-dasharray=\"4 3\"><title>", name, ": ", with_commas(length),
                    " tokens</title></line>\n");
    // Names that would overlap take turns in two rows.
    const int y = x - last_mark_ < 60 && last_row_ == kTop - 8 ? kTop - 22 : kTop - 8;
    label(x, y, "middle", name);
    last_mark_ = x;
    last_row_ = y;
  }

  void label(int x, int y, const char* anchor, const std::string& content) {
    text_ += concat("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\">", content, "</text>\n");
  }
  void line(int x1, int y1, int x2, int y2, const char* color) {
    text_ += concat("<line class=\"axis\" x1=\"", x1, "\" y1=\"", y1, "\" x2=\"", x2, "\" y2=\"", y2, "\" stroke=\"",
                    color, "\"/>\n");
  }

  const LengthDistribution& lengths_;
  std::string id_;
  std::int64_t size_ = 1, tallest_ = 1;
  std::vector<std::int64_t> bins_;
  int last_mark_ = -1000, last_row_ = 0;
  std::string text_;
};

}  // namespace

std::string lengths_picture(const LengthDistribution& lengths, std::string_view id) {
  return Picture(lengths, id).svg();
}

std::string CorpusStats::svg() const { return lengths_picture(lengths_, "lengths"); }

}  // namespace shori
