// A collection's figures for programs (JSON) and as a picture (SVG).
#include <algorithm>
#include <string>

#include "shori/data/corpus_stats.h"
#include "shori/util/json.h"
#include "shori/util/number_text.h"

namespace shori {
namespace {

double ratio(std::int64_t numerator, std::int64_t denominator) {
  return denominator == 0 ? 0.0 : static_cast<double>(numerator) / static_cast<double>(denominator);
}

void write_lengths(JsonWriter& json, const LengthDistribution& lengths) {
  json.begin_object().field("count", static_cast<std::int64_t>(lengths.count())).field("total", lengths.total());
  json.field("min", lengths.quantile(0, 1));
  for (const std::int64_t percent : {5, 25, 50, 75, 90, 95, 99}) {
    json.field("p" + std::to_string(percent), lengths.quantile(percent, 100));
  }
  json.field("max", lengths.quantile(1, 1)).field("below_300", lengths.count_below(300));
  json.key("histogram").begin_array();
  const auto bins = lengths.histogram();
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i) * LengthDistribution::kBin;
    json.begin_object().field("from", from).key("below");
    i + 1 == bins.size() ? json.null() : json.value(from + LengthDistribution::kBin);
    json.field("count", bins[i]).end_object();
  }
  json.end_array().end_object();
}

template <typename Groups>
void write_groups(JsonWriter& json, std::string_view key, std::string_view name_key, const Groups& groups) {
  json.key(key).begin_array();
  for (const auto& [name, group] : groups) {
    json.begin_object().field(name_key, name).field("conversations", group.conversations);
    json.field("messages", group.messages).field("tokens", group.tokens).end_object();
  }
  json.end_array();
}

struct SvgCanvas {
  static constexpr int kWidth = 760, kHeight = 360, kLeft = 70, kRight = 20, kTop = 40, kBottom = 60;
  std::string text;

  void label(int x, int y, const char* anchor, const std::string& content) {
    text += "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" text-anchor=\"" + anchor + "\">" +
            content + "</text>\n";
  }
  void bar(int x, int y, int width, int height, const std::string& title) {
    text += "<rect x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) + "\" width=\"" + std::to_string(width) +
            "\" height=\"" + std::to_string(height) + "\" fill=\"#4878a8\"><title>" + title + "</title></rect>\n";
  }
  void line(int x1, int y1, int x2, int y2) {
    text += "<line x1=\"" + std::to_string(x1) + "\" y1=\"" + std::to_string(y1) + "\" x2=\"" + std::to_string(x2) +
            "\" y2=\"" + std::to_string(y2) + "\" stroke=\"#404040\"/>\n";
  }
};

}  // namespace

std::string CorpusStats::json(const Ledger* ledger) const {
  JsonWriter json(2);
  json.begin_object().field("conversations", conversations_).field("messages", messages_);
  json.field("unique_tokens", unique_tokens_).field("longest_sample", longest_sample_).field("size_bytes", bytes_);
  json.field("samples", samples_).field("sequence_len", sequence_len_);
  json.field("spare_tokens", sequence_len_ - longest_sample_);
  json.field("tokens_per_message", ratio(unique_tokens_, messages_));
  json.field("tokens_per_conversation", ratio(unique_tokens_, conversations_));
  json.field("messages_per_conversation", ratio(messages_, conversations_));
  json.field("bytes_per_token", ratio(bytes_, unique_tokens_)).field("emoji", emoji_);
  json.key("roles").begin_array();
  for (std::size_t i = 0; i < kRoleCount; ++i) {
    json.begin_object().field("role", role_name(static_cast<Role>(i))).field("blocks", blocks_[i]);
    json.field("sample_tokens", role_tokens_[i]).end_object();
  }
  json.end_array().key("hints").begin_object();
  for (std::size_t i = 0; i < hints_.size(); ++i) {
    json.field(kWords<LengthHint>[i], hints_[i]);
  }
  json.end_object();
  write_groups(json, "categories", "category", categories_);
  write_groups(json, "characters", "character", characters_);
  json.key("message_lengths");
  write_lengths(json, lengths_);
  json.key("length_unit").value(word_of(unit_));
  json.key("equal_count_bounds").begin_array();
  for (const std::int64_t bound : equal_count_bounds()) json.value(bound);
  json.end_array();
  if (ledger != nullptr) {
    std::string text = ledger->to_json();
    text.pop_back();  // its newline
    json.key("ledger").raw(text);
  }
  json.end_object();
  return json.take() + "\n";
}

std::string CorpusStats::svg() const {
  const auto bins = lengths_.histogram();
  const std::int64_t most = std::max<std::int64_t>(1, *std::max_element(bins.begin(), bins.end()));
  constexpr int kBar =
      (SvgCanvas::kWidth - SvgCanvas::kLeft - SvgCanvas::kRight) / static_cast<int>(LengthDistribution::kBins);
  constexpr int kBase = SvgCanvas::kHeight - SvgCanvas::kBottom, kFull = kBase - SvgCanvas::kTop;
  SvgCanvas canvas;
  canvas.text = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + std::to_string(SvgCanvas::kWidth) +
                "\" height=\"" + std::to_string(SvgCanvas::kHeight) +
                "\" font-family=\"sans-serif\" font-size=\"12\">\n" +
                "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n";
  canvas.label(SvgCanvas::kWidth / 2, 22, "middle", "Message lengths of " + with_commas(messages_) + " messages");
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i) * LengthDistribution::kBin;
    const int x = SvgCanvas::kLeft + static_cast<int>(i) * kBar;
    const int height = static_cast<int>(bins[i] * kFull / most);
    const bool last = i + 1 == bins.size();
    const std::string range =
        std::to_string(from) + (last ? " and more" : " to " + std::to_string(from + LengthDistribution::kBin - 1));
    canvas.bar(x, kBase - height, kBar - 2, height, range + " tokens: " + with_commas(bins[i]));
    if (i % 5 == 0) canvas.label(x, kBase + 18, "middle", std::to_string(from) + (last ? "+" : ""));
  }
  canvas.line(SvgCanvas::kLeft, kBase, SvgCanvas::kWidth - SvgCanvas::kRight, kBase);
  canvas.line(SvgCanvas::kLeft, SvgCanvas::kTop, SvgCanvas::kLeft, kBase);
  canvas.label(SvgCanvas::kLeft - 6, SvgCanvas::kTop + 4, "end", with_commas(most));
  canvas.label(SvgCanvas::kLeft - 6, kBase + 4, "end", "0");
  canvas.label(SvgCanvas::kWidth / 2, SvgCanvas::kHeight - 14, "middle", "tokens of the message text");
  return canvas.text + "</svg>\n";
}

}  // namespace shori
