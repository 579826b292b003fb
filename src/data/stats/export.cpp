// The statistics as JSON and as a picture (SVG).
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "shori/data/corpus_stats.h"
#include "shori/util/json_text.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

double ratio(std::int64_t numerator, std::int64_t denominator) {
  return denominator == 0 ? 0.0 : static_cast<double>(numerator) / static_cast<double>(denominator);
}

Json lengths_json(const LengthDistribution& lengths) {
  Json json = {{"count", lengths.count()}, {"total", lengths.total()}, {"min", lengths.quantile(0, 1)}};
  for (const std::int64_t percent : {5, 25, 50, 75, 90, 95, 99})
    json[concat("p", percent)] = lengths.quantile(percent, 100);
  json["max"] = lengths.quantile(1, 1);
  json["below_300"] = lengths.count_below(300);
  Json histogram = Json::array();
  const auto bins = lengths.histogram();
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i) * LengthDistribution::kBin;
    const bool is_last = i + 1 == bins.size();
    histogram.push_back(
        {{"from", from}, {"below", is_last ? Json() : Json(from + LengthDistribution::kBin)}, {"count", bins[i]}});
  }
  json["histogram"] = std::move(histogram);
  return json;
}

template <typename Groups>
Json groups_json(const char* name_key, const Groups& groups) {
  Json list = Json::array();
  for (const auto& [name, group] : groups)
    list.push_back({{name_key, name},
                    {"conversations", group.conversations},
                    {"messages", group.messages},
                    {"tokens", group.tokens}});
  return list;
}

struct SvgCanvas {
  static constexpr int kWidth = 760, kHeight = 360, kLeft = 70, kRight = 20, kTop = 40, kBottom = 60;
  std::string text;

  void label(int x, int y, const char* anchor, const std::string& content) {
    text += concat("<text x=\"", x, "\" y=\"", y, "\" text-anchor=\"", anchor, "\">", content, "</text>\n");
  }
  void bar(int x, int y, int width, int height, const std::string& title) {
    text += concat("<rect x=\"", x, "\" y=\"", y, "\" width=\"", width, "\" height=\"", height,
                   "\" fill=\"#4878a8\"><title>", title, "</title></rect>\n");
  }
  void line(int x1, int y1, int x2, int y2) {
    text += concat("<line x1=\"", x1, "\" y1=\"", y1, "\" x2=\"", x2, "\" y2=\"", y2, "\" stroke=\"#404040\"/>\n");
  }
};

}  // namespace

std::string CorpusStats::json(const Ledger* ledger) const {
  Json roles = Json::array(), hints = Json::object();
  for (std::size_t i = 0; i < kRoleCount; ++i)
    roles.push_back(
        {{"role", role_name(static_cast<Role>(i))}, {"blocks", blocks_[i]}, {"sample_tokens", role_tokens_[i]}});
  for (std::size_t i = 0; i < hints_.size(); ++i) hints[std::string(kWords<LengthHint>[i])] = hints_[i];
  Json json = {{"conversations", conversations_},
               {"messages", messages_},
               {"unique_tokens", unique_tokens_},
               {"longest_sample", longest_sample_},
               {"size_bytes", bytes_},
               {"samples", samples_},
               {"sequence_len", sequence_len_},
               {"spare_tokens", sequence_len_ - longest_sample_},
               {"tokens_per_message", ratio(unique_tokens_, messages_)},
               {"tokens_per_conversation", ratio(unique_tokens_, conversations_)},
               {"messages_per_conversation", ratio(messages_, conversations_)},
               {"bytes_per_token", ratio(bytes_, unique_tokens_)},
               {"emoji", emoji_},
               {"roles", std::move(roles)},
               {"hints", std::move(hints)},
               {"categories", groups_json("category", categories_)},
               {"characters", groups_json("character", characters_)},
               {"message_lengths", lengths_json(lengths_)},
               {"length_unit", word_of(unit_)},
               {"equal_count_bounds", equal_count_bounds()}};
  if (ledger != nullptr) {
    std::string text = ledger->to_json();
    text.pop_back();  // its newline
    json["ledger"] = raw_json(text);
  }
  return json_text(json, 2) + "\n";
}

std::string CorpusStats::svg() const {
  const auto bins = lengths_.histogram();
  const std::int64_t most = std::max<std::int64_t>(1, *std::max_element(bins.begin(), bins.end()));
  constexpr int kBar =
      (SvgCanvas::kWidth - SvgCanvas::kLeft - SvgCanvas::kRight) / static_cast<int>(LengthDistribution::kBins);
  constexpr int kBase = SvgCanvas::kHeight - SvgCanvas::kBottom, kFull = kBase - SvgCanvas::kTop;
  SvgCanvas canvas;
  canvas.text = concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", SvgCanvas::kWidth, "\" height=\"",
                       SvgCanvas::kHeight, "\" font-family=\"sans-serif\" font-size=\"12\">\n",
                       "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
  canvas.label(SvgCanvas::kWidth / 2, 22, "middle", "Message lengths of " + with_commas(messages_) + " messages");
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i) * LengthDistribution::kBin;
    const int x = SvgCanvas::kLeft + static_cast<int>(i) * kBar;
    const int height = static_cast<int>(bins[i] * kFull / most);
    const bool last = i + 1 == bins.size();
    const std::string range = concat(from, last ? " and more" : concat(" to ", from + LengthDistribution::kBin - 1));
    canvas.bar(x, kBase - height, kBar - 2, height, range + " tokens: " + with_commas(bins[i]));
    if (i % 5 == 0) canvas.label(x, kBase + 18, "middle", concat(from, last ? "+" : ""));
  }
  canvas.line(SvgCanvas::kLeft, kBase, SvgCanvas::kWidth - SvgCanvas::kRight, kBase);
  canvas.line(SvgCanvas::kLeft, SvgCanvas::kTop, SvgCanvas::kLeft, kBase);
  canvas.label(SvgCanvas::kLeft - 6, SvgCanvas::kTop + 4, "end", with_commas(most));
  canvas.label(SvgCanvas::kLeft - 6, kBase + 4, "end", "0");
  canvas.label(SvgCanvas::kWidth / 2, SvgCanvas::kHeight - 14, "middle", "tokens of the message text");
  return canvas.text + "</svg>\n";
}

}  // namespace shori
