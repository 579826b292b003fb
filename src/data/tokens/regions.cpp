#include "shori/data/regions.h"

#include <algorithm>
#include <utility>

#include "shori/util/error.h"

namespace shori {
namespace {

// Bytes of the rendered text up to `end` (from the span before) are of one kind.
struct Span {
  std::size_t end;
  Region region;
  TokenRole role;
};

static_assert(static_cast<int>(TokenRole::kMessage) == static_cast<int>(Role::kMessage));
static_assert(static_cast<int>(TokenRole::kInst) == static_cast<int>(Role::kInst));

// Renders `segment` behind `text` and notes its spans.
void append_spans(const Segment& segment, std::string& text, std::vector<Span>& spans) {
  append_segment(segment, text);
  const auto role = static_cast<TokenRole>(segment.role);
  if (!segment.is_block()) {
    spans.push_back({text.size(), Region::kInst, role});
    return;
  }
  const std::size_t gap = text.size() - 1;
  const std::size_t close = gap - kBlockClose.size();
  const std::size_t body = close - segment.body.size();
  spans.push_back({body, Region::kHead, role});
  const bool message = segment.role == Role::kMessage;
  if (const auto speaker = message ? find_speaker(segment.body) : std::nullopt) {
    const bool own_line = segment.body[speaker->text_begin - 1] == '\n';
    spans.push_back({body + speaker->text_begin - (own_line ? 0 : 1), Region::kSpeaker, role});
  }
  spans.push_back({close, message ? Region::kText : Region::kBody, role});
  spans.push_back({gap, Region::kEnd, role});
  spans.push_back({text.size(), Region::kGap, role});
}

void append_token(EncodedSample& sample, std::int32_t id, Region region, TokenRole role, const MaskOptions& mask) {
  sample.ids.push_back(id);
  sample.regions.push_back(static_cast<std::uint8_t>(region));
  sample.roles.push_back(static_cast<std::uint8_t>(role));
  sample.trained.push_back(is_trained(region, role, mask) ? 1 : 0);
}

// A token belongs to the span of its last surface byte; one without a surface waits for the next that has one.
void append_text(EncodedSample& sample, const EncodedText& text, const std::vector<Span>& spans,
                 const MaskOptions& mask) {
  std::size_t waiting = 0, span = 0;
  for (std::size_t i = 0; i < text.ids.size(); ++i) {
    if (text.ends[i] == (i == 0 ? 0 : text.ends[i - 1])) continue;
    while (spans[span].end < text.ends[i]) ++span;
    for (; waiting <= i; ++waiting) append_token(sample, text.ids[waiting], spans[span].region, spans[span].role, mask);
  }
  SHORI_CHECK(waiting == text.ids.size(), "the last id has no surface");
}

void check_counts(std::span<const Segment> segments, const std::vector<std::int32_t>& ids, const Tokenizer& tokenizer) {
  const auto blocks = std::count_if(segments.begin(), segments.end(), [](const Segment& s) { return s.is_block(); });
  const auto opened = std::count(ids.begin(), ids.end(), tokenizer.open_id());
  const auto closed = std::count(ids.begin(), ids.end(), tokenizer.close_id());
  SHORI_CHECK(opened == blocks && closed == blocks, std::to_string(blocks) + " blocks became " +
                                                        std::to_string(opened) + " opening and " +
                                                        std::to_string(closed) + " closing ids");
}

}  // namespace

std::string_view region_name(Region region) {
  constexpr std::string_view names[] = {"bos", "eos", "head", "speaker", "text", "body", "end", "inst", "gap"};
  return names[static_cast<std::size_t>(region)];
}

std::array<bool, kRoleCount> trained_roles(const std::vector<std::string>& names) {
  std::array<bool, kRoleCount> roles{};
  for (const std::string& name : names) {
    const std::optional<Role> role = find_role(name);
    SHORI_CHECK(role.has_value(), "unknown role " + name);
    roles[static_cast<std::size_t>(*role)] = true;
  }
  return roles;
}

bool is_trained(Region region, TokenRole role, const MaskOptions& options) {
  if (options.train_on_inputs) return true;
  switch (region) {
    case Region::kBos:
    case Region::kHead:
    case Region::kGap:
      return false;
    case Region::kEos:
      return options.train_on_eos;
    case Region::kSpeaker:
      if (!options.train_on_speaker) return false;
      break;
    case Region::kText:
    case Region::kBody:
    case Region::kEnd:
    case Region::kInst:
      break;
  }
  return options.trained_roles[static_cast<std::size_t>(role)];
}

EncodedSample encode_segments(std::span<const Segment> segments, const Tokenizer& tokenizer, const MaskOptions& mask,
                              bool add_bos, bool add_eos) {
  std::string text;
  std::vector<Span> spans;
  for (const Segment& segment : segments) append_spans(segment, text, spans);
  const EncodedText encoded = tokenizer.encode_with_offsets(text);
  check_counts(segments, encoded.ids, tokenizer);
  EncodedSample sample;
  const std::size_t size = encoded.ids.size() + 2;
  sample.ids.reserve(size);
  for (auto* bytes : {&sample.trained, &sample.roles, &sample.regions}) bytes->reserve(size);
  if (add_bos) append_token(sample, tokenizer.bos_id(), Region::kBos, TokenRole::kOther, mask);
  append_text(sample, encoded, spans, mask);
  if (add_eos) append_token(sample, tokenizer.eos_id(), Region::kEos, TokenRole::kEos, mask);
  return sample;
}

bool wants_eos(EosRule rule, bool ends_conversation) {
  return rule == EosRule::kEnd || (rule == EosRule::kConversation && ends_conversation);
}

std::vector<std::int64_t> message_lengths(const EncodedSample& sample) {
  std::vector<std::int64_t> lengths;
  std::int64_t length = 0;
  for (std::size_t i = 0; i < sample.ids.size(); ++i) {
    if (static_cast<TokenRole>(sample.roles[i]) != TokenRole::kMessage) continue;
    const auto region = static_cast<Region>(sample.regions[i]);
    if (region == Region::kText) ++length;
    if (region == Region::kEnd) lengths.push_back(std::exchange(length, 0));
  }
  return lengths;
}

}  // namespace shori
