// A micro-batch as the model reads it: several samples in one row of tokens, separated by cu_seqlens.
#pragma once

#include <cstdint>
#include <vector>

namespace shori {

// All rows concatenated, T ids in total, each row padded on the right. The padding of a row is its own causal segment.
struct PackedBatch {
  std::vector<std::int32_t> ids;             // [T]
  std::vector<std::int32_t> labels;          // [T] the id to predict AT position i (already shifted), or kIgnoredLabel
  std::vector<std::int32_t> position_ids;    // [T] from 0 in each sample; 0 in padding
  std::vector<std::int32_t> cu_seqlens;      // [n + 1] starts of samples and of padding, then T
  std::int64_t max_seqlen = 0;               // length of the longest segment
  std::int64_t real_tokens = 0;              // T without padding
  std::int64_t targets = 0;                  // number of labels other than kIgnoredLabel
  std::vector<std::uint32_t> samples;        // indices of the samples, in order
  std::vector<std::uint8_t> roles;           // [T] TokenRole of the predicted id; evaluation batches only
  std::vector<std::uint32_t> conversations;  // [T] conversation of the predicted id; evaluation batches only
};

}  // namespace shori
