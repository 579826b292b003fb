#include "shori/data/split.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string_view>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

using Segments = std::span<const Segment>;
using Costs = std::span<const std::int64_t>;

using Range = SegmentRange;

bool is_role(Segments segments, std::size_t index, Role role) {
  return index < segments.size() && segments[index].role == role;
}

}  // namespace

std::size_t find_header_end(Segments segments) {
  std::size_t end = 0;
  while (end < segments.size() && !is_role(segments, end, Role::kMessage) && !is_role(segments, end, Role::kOoc)) ++end;
  return end;
}

std::vector<Range> find_units(Segments segments, std::size_t header_end) {
  std::vector<Range> units;
  for (std::size_t begin = header_end; begin < segments.size();) {
    std::size_t end = begin;
    while (end < segments.size() && segments[end].role != Role::kMessage) ++end;
    if (end == segments.size()) {  // no further message
      SHORI_CHECK(!units.empty(), "a conversation without a message");
      units.back().end = end;
      break;
    }
    ++end;
    while (is_role(segments, end, Role::kOoc)) ++end;
    units.push_back({begin, end});
    begin = end;
  }
  return units;
}

namespace {

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

// The state of a conversation after some of its segments: what a part has to repeat of the parts before it.
class State {
 public:
  explicit State(Segments segments) : segments_(segments) {}

  void pass(Range range, bool header) {
    for (std::size_t i = range.begin; i < range.end; ++i) pass_segment(i, header);
  }

  // In the order of a header; `own_title`: the part opens with a title of its own.
  std::vector<std::size_t> repeated(bool own_title, bool scenario) const {
    std::vector<std::size_t> result;
    if (title_ && !own_title) result.push_back(*title_);
    if (tags_ && !own_title) result.push_back(*tags_);
    for (const auto* kind : {&lore_, &descriptions_, scenario ? &scenarios_ : nullptr, &instructions_}) {
      if (kind != nullptr) result.insert(result.end(), kind->begin(), kind->end());
    }
    return result;
  }

 private:
  void pass_segment(std::size_t index, bool header) {
    switch (segments_[index].role) {
      case Role::kTitle:
        title_ = index;
        tags_.reset();
        break;
      case Role::kTags:
        tags_ = index;
        break;
      case Role::kLore:
        lore_.push_back(index);
        break;
      case Role::kScenario:
        scenarios_.push_back(index);
        break;
      case Role::kDescription:
        pass_description(index);
        break;
      case Role::kInst:
        if (header) instructions_.push_back(index);
        break;
      case Role::kMessage:
      case Role::kOoc:
        break;
    }
  }

  void pass_description(std::size_t index) {
    for (std::size_t& known : descriptions_) {
      if (first_line(segments_[known].body) != first_line(segments_[index].body)) continue;
      known = index;
      return;
    }
    descriptions_.push_back(index);
  }

  Segments segments_;
  std::optional<std::size_t> title_, tags_;
  std::vector<std::size_t> lore_, descriptions_, scenarios_, instructions_;
};

void append_range(std::vector<std::size_t>& indices, Range range) {
  for (std::size_t i = range.begin; i < range.end; ++i) indices.push_back(i);
}

std::int64_t cost_of(const std::vector<std::size_t>& indices, Costs costs) {
  std::int64_t sum = 0;
  for (const std::size_t index : indices) sum += costs[index];
  return sum;
}

std::int64_t cost_of(Range range, Costs costs) {
  return std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(range.begin),
                         costs.begin() + static_cast<std::ptrdiff_t>(range.end), std::int64_t{0});
}

class Splitter {
 public:
  Splitter(Segments segments, Costs costs, const SplitOptions& options)
      : segments_(segments),
        costs_(costs),
        options_(options),
        header_{0, find_header_end(segments)},
        units_(find_units(segments, header_.end)),
        state_(segments) {
    SHORI_CHECK(costs.size() == segments.size(), "one cost a segment");
    state_.pass(header_, true);
  }

  SplitResult split();
  SplitResult truncate();

 private:
  Part first_part() const;
  Part later_part(std::size_t unit) const;
  // Adds units from `next` on while they fit; the first unit not taken.
  std::size_t fill(Part& part, std::size_t next) const;
  std::int64_t base_length(const Part& part) const;
  bool has_eos(std::size_t next_unit) const { return wants_eos(options_.eos, next_unit == units_.size()); }
  static SplitResult too_long(std::int64_t needed, std::size_t at);
  // Of the units from this one on, which does not fit, the one that needs most: a budget for it holds every part, wherever
  // the parts then begin.
  SplitResult longest_from(std::size_t unit);

  Segments segments_;
  Costs costs_;
  const SplitOptions& options_;
  Range header_;
  std::vector<Range> units_;
  State state_;
};

SplitResult Splitter::too_long(std::int64_t needed, std::size_t at) {
  SplitResult result;
  result.needed = needed;
  result.needed_at = at;
  return result;
}

SplitResult Splitter::longest_from(std::size_t unit) {
  std::int64_t needed = 0;
  std::size_t needed_at = 0;
  for (; unit < units_.size(); ++unit) {
    const Part part = unit == 0 ? first_part() : later_part(unit);
    const std::int64_t ids = base_length(part) + (has_eos(unit + 1) ? 1 : 0);
    if (ids > needed) needed_at = units_[unit].begin;
    needed = std::max(needed, ids);
    state_.pass(units_[unit], false);
  }
  return too_long(needed, needed_at);
}

std::int64_t Splitter::base_length(const Part& part) const {
  const bool prefix = segments_[part.segments.front()].is_block();
  return (options_.bos ? 1 : 0) + (prefix ? 1 : 0) + cost_of(part.segments, costs_);
}

Part Splitter::first_part() const {
  Part part;
  append_range(part.segments, {0, units_.front().end});
  return part;
}

Part Splitter::later_part(std::size_t unit) const {
  const Range range = units_[unit];
  std::size_t opening = range.begin;
  if (is_role(segments_, opening, Role::kTitle)) ++opening;
  const bool own_title = opening > range.begin;
  if (own_title && is_role(segments_, opening, Role::kTags)) ++opening;
  Part part;
  part.repeated = state_.repeated(own_title, options_.repeat_scenario);
  append_range(part.segments, {range.begin, opening});
  part.segments.insert(part.segments.end(), part.repeated.begin(), part.repeated.end());
  append_range(part.segments, {opening, range.end});
  return part;
}

std::size_t Splitter::fill(Part& part, std::size_t next) const {
  for (; next < units_.size(); ++next) {
    const std::int64_t longer = part.ids + cost_of(units_[next], costs_);
    if (longer + (has_eos(next + 1) ? 1 : 0) > options_.budget) break;
    part.ids = longer;
    append_range(part.segments, units_[next]);
  }
  part.has_eos = has_eos(next);
  part.ids += part.has_eos ? 1 : 0;
  return next;
}

SplitResult Splitter::split() {
  SplitResult result;
  for (std::size_t unit = 0; unit < units_.size();) {
    Part part = unit == 0 ? first_part() : later_part(unit);
    part.ids = base_length(part);
    const std::int64_t needed = part.ids + (has_eos(unit + 1) ? 1 : 0);
    if (needed > options_.budget) return longest_from(unit);
    const std::size_t next = fill(part, unit + 1);
    for (; unit < next; ++unit) state_.pass(units_[unit], false);
    if (!result.parts.empty() && segments_[part.segments.front()].is_block()) ++result.repeated_prefixes;
    result.repeated_blocks += cost_of(part.repeated, costs_);
    result.parts.push_back(std::move(part));
  }
  return result;
}

SplitResult Splitter::truncate() {
  Part part = first_part();
  part.ids = base_length(part);
  const std::int64_t needed = part.ids + (has_eos(1) ? 1 : 0);
  if (needed > options_.budget) return too_long(needed, units_.front().begin);
  const std::size_t next = fill(part, 1);
  SplitResult result;
  if (next < units_.size()) result.removed = cost_of(Range{units_[next].begin, segments_.size()}, costs_);
  result.parts.push_back(std::move(part));
  return result;
}

}  // namespace

std::vector<std::int64_t> segment_costs(const EncodedSample& whole, std::span<const Segment> segments) {
  std::vector<std::int64_t> costs;
  costs.reserve(segments.size());
  for (std::size_t i = 0; i < segments.size(); ++i)
    costs.push_back(static_cast<std::int64_t>(whole.bounds[i + 1] - whole.bounds[i]));
  if (!segments.empty() && segments.front().is_block()) --costs.front();
  return costs;
}

SplitResult split_conversation(std::span<const Segment> segments, std::span<const std::int64_t> costs,
                               const SplitOptions& options) {
  return Splitter(segments, costs, options).split();
}

SplitResult truncate_conversation(std::span<const Segment> segments, std::span<const std::int64_t> costs,
                                  const SplitOptions& options) {
  return Splitter(segments, costs, options).truncate();
}

EncodedSample encode_part(const EncodedSample& whole, std::span<const Segment> segments, const Part& part,
                          const Tokenizer& tokenizer, const MaskOptions& mask, bool add_bos) {
  EncodedSample sample = join_segments(whole, segments, part.segments, tokenizer, mask, add_bos, part.has_eos);
  SHORI_CHECK(static_cast<std::int64_t>(sample.ids.size()) == part.ids,
              concat("a part of ", part.ids, " ids became ", sample.ids.size()));
  return sample;
}

}  // namespace shori
