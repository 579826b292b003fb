// Cutting a conversation that is too long, always between blocks.
//
// Header: the segments before the first message or ooc. Unit: the shortest run of segments that ends with a message,
// plus the ooc blocks directly after it; what follows the last message belongs to the last unit. Part 1 is the header
// and as many units as fit. Each later part repeats the state at its start (title, tags, lore, descriptions, scenario
// if wanted, instructions of the header), then has as many units as fit. A part whose first unit opens with a title
// starts with that title and its tags instead of the state's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "shori/data/regions.h"

namespace shori {

// Segments [begin, end).
struct SegmentRange {
  std::size_t begin = 0, end = 0;
};
std::size_t find_header_end(std::span<const Segment> segments);
// At least one; segments without a message after the header are an internal error.
std::vector<SegmentRange> find_units(std::span<const Segment> segments, std::size_t header_end);

struct SplitOptions {
  std::int64_t budget = 0;  // ids of a part, BOS and EOS included
  bool bos = true;
  EosRule eos = EosRule::kEnd;
  bool repeat_scenario = false;
};

// Segments of a sample as indices into the document, in the order of its text.
struct Part {
  std::vector<std::size_t> segments;
  std::vector<std::size_t> repeated;  // those of `segments` that an earlier part holds already
  std::int64_t ids = 0;               // length of the sample, BOS and EOS included
  bool has_eos = false;
};

struct SplitResult {
  std::vector<Part> parts;             // empty: a unit does not fit
  std::int64_t needed = 0;             // then: the smallest budget that holds every unit
  std::size_t needed_at = 0;           // and the first segment of the unit that needs it
  std::int64_t repeated_blocks = 0;    // ids of repeated segments (R)
  std::int64_t repeated_prefixes = 0;  // dummy prefixes of parts 2..n (P)
  std::int64_t removed = 0;            // ids of the segments that truncation left out
};

// Ids that each segment adds to a sample, without the dummy prefix of a sample that starts with ▀. `whole` is the
// sample of all segments. Sizes are additive: sample = BOS + EOS + sum of costs + 1 if it starts with a block.
std::vector<std::int64_t> segment_costs(const EncodedSample& whole, std::span<const Segment> segments);

// One part if the conversation fits; otherwise cut as above. Every part holds at least one unit and no more than budget
// ids.
SplitResult split_conversation(std::span<const Segment> segments, std::span<const std::int64_t> costs,
                               const SplitOptions& options);

// One part: everything up to the last whole unit that fits. Under EosRule::kConversation it has no EOS if anything was
// removed.
SplitResult truncate_conversation(std::span<const Segment> segments, std::span<const std::int64_t> costs,
                                  const SplitOptions& options);

// The sample of a part, by join_segments(). A length other than part.ids is an internal error.
EncodedSample encode_part(const EncodedSample& whole, std::span<const Segment> segments, const Part& part,
                          const Tokenizer& tokenizer, const MaskOptions& mask, bool add_bos);

}  // namespace shori
