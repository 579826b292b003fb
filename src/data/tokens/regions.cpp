#include "shori/data/regions.h"

#include <algorithm>
#include <array>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// The bytes of the rendered text from the end of the span before to `end`, all of one segment and region.
struct Span {
  std::size_t end;
  std::size_t segment;
  Region region;
  TokenRole role;
};

static_assert(static_cast<int>(TokenRole::kMessage) == static_cast<int>(Role::kMessage));
static_assert(static_cast<int>(TokenRole::kInst) == static_cast<int>(Role::kInst));

// Renders a segment at the end of `text` and adds its spans.
void append_spans(const Segment& segment, std::size_t index, std::string& text, std::vector<Span>& spans) {
  append_segment(segment, text);
  const auto role = static_cast<TokenRole>(segment.role);
  const auto add = [&](std::size_t end, Region region) { spans.push_back({end, index, region, role}); };
  if (!segment.is_block()) return add(text.size(), Region::kInst);
  const std::size_t gap = text.size() - 1;
  const std::size_t close = gap - kBlockClose.size();
  const std::size_t body = close - segment.body.size();
  add(body, Region::kHead);
  const bool message = segment.role == Role::kMessage;
  if (const auto speaker = message ? find_speaker(segment.body) : std::nullopt) {
    const bool own_line = segment.body[speaker->text_begin - 1] == '\n';
    add(body + speaker->text_begin - (own_line ? 0 : 1), Region::kSpeaker);
  }
  add(close, message ? Region::kText : Region::kBody);
  add(gap, Region::kEnd);
  add(text.size(), Region::kGap);
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
    if (spans[span].segment == sample.bounds.size()) sample.bounds.push_back(sample.ids.size());
    for (; waiting <= i; ++waiting) append_token(sample, text.ids[waiting], spans[span].region, spans[span].role, mask);
  }
  sample.bounds.push_back(sample.ids.size());
  SHORI_CHECK(waiting == text.ids.size(), "the last id has no surface");
}

// Appends the ids [begin, end) of another sample.
void append_ids(EncodedSample& sample, const EncodedSample& from, std::size_t begin, std::size_t end) {
  const auto append = [&](auto& to, const auto& values) {
    to.insert(to.end(), values.begin() + static_cast<std::ptrdiff_t>(begin),
              values.begin() + static_cast<std::ptrdiff_t>(end));
  };
  append(sample.ids, from.ids);
  append(sample.trained, from.trained);
  append(sample.roles, from.roles);
  append(sample.regions, from.regions);
}

// Tokenizes an instruction as it is at the start of a text, where its first token takes in the dummy prefix (`▁[`), or
// as it is after another segment.
void append_instruction(EncodedSample& sample, const Segment& instruction, bool at_start, const Tokenizer& tokenizer,
                        const MaskOptions& mask) {
  const std::array<Segment, 2> twice = {instruction, instruction};
  const EncodedSample both = encode_segments(twice, tokenizer, mask, false, false);
  append_ids(sample, both, both.bounds[at_start ? 0 : 1], both.bounds[at_start ? 1 : 2]);
}

void check_counts(std::span<const Segment> segments, const std::vector<std::int32_t>& ids, const Tokenizer& tokenizer) {
  const auto blocks = std::count_if(segments.begin(), segments.end(), [](const Segment& s) { return s.is_block(); });
  const auto opened = std::count(ids.begin(), ids.end(), tokenizer.open_id());
  const auto closed = std::count(ids.begin(), ids.end(), tokenizer.close_id());
  SHORI_CHECK(opened == blocks && closed == blocks,
              concat(blocks, " blocks became ", opened, " opening and ", closed, " closing ids"));
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
  for (std::size_t i = 0; i < segments.size(); ++i) append_spans(segments[i], i, text, spans);
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

EncodedSample join_segments(const EncodedSample& whole, std::span<const Segment> segments,
                            std::span<const std::size_t> chosen, const Tokenizer& tokenizer, const MaskOptions& mask,
                            bool add_bos, bool add_eos) {
  EncodedSample sample;
  if (add_bos) append_token(sample, tokenizer.bos_id(), Region::kBos, TokenRole::kOther, mask);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::size_t index = chosen[i];
    const Segment& segment = segments[index];
    const bool at_start = i == 0, was_at_start = index == 0;
    std::size_t begin = whole.bounds[index];
    sample.bounds.push_back(sample.ids.size());
    if (segment.is_block()) {
      if (was_at_start) ++begin;  // the dummy prefix
      if (at_start)
        append_token(sample, tokenizer.space_id(), Region::kHead, static_cast<TokenRole>(segment.role), mask);
    }
    if (segment.is_block() || at_start == was_at_start) {
      append_ids(sample, whole, begin, whole.bounds[index + 1]);
    } else {
      append_instruction(sample, segment, at_start, tokenizer, mask);
    }
  }
  sample.bounds.push_back(sample.ids.size());
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
