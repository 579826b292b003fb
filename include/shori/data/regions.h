// What each token of a conversation is, and whether it is trained.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/sample.h"
#include "shori/data/tokenizer.h"

namespace shori {

// Every token is in exactly one region: that of its last surface byte, or of the next token with a surface.
enum class Region : std::uint8_t {
  kBos,
  kEos,
  kHead,     // dummy prefix, ▀, role, hint, newline
  kSpeaker,  // name and colon of a message, and the newline when the text starts on its own line
  kText,     // of a message, after the speaker
  kBody,     // of any other block
  kEnd,      // ▄
  kInst,     // [INST] through the newline after [/INST]
  kGap,      // the newline after ▄
};

std::string_view region_name(Region region);  // "bos" ... "gap"

// Which labels count. With train_on_inputs all of them, and the rest has no effect.
struct MaskOptions {
  bool train_on_inputs = true;
  std::array<bool, kRoleCount> trained_roles = {false, false, false, false, false, true, false, false};  // by Role
  bool train_on_eos = true;
  bool train_on_speaker = true;
};
// `names` are roles or "inst". The config has checked them, so an unknown name is an internal error.
std::array<bool, kRoleCount> trained_roles(const std::vector<std::string>& names);

bool is_trained(Region region, TokenRole role, const MaskOptions& options);

// One sample: each vector but the last has one entry per id.
struct EncodedSample {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> trained;  // 1: label = id; 0: label = -100
  std::vector<std::uint8_t> roles;    // TokenRole: of the block of the id; kEos for EOS, kOther for BOS
  std::vector<std::uint8_t> regions;  // Region
  std::vector<std::size_t> bounds;    // the ids of segment i are [bounds[i], bounds[i + 1])
};

// Encodes the canonical text of `segments` in one call and marks its tokens, with BOS before and EOS after if asked. It
// is an internal error if the number of ▀ or ▄ ids is not that of the blocks.
EncodedSample encode_segments(std::span<const Segment> segments, const Tokenizer& tokenizer, const MaskOptions& mask,
                              bool add_bos, bool add_eos);

// The sample that encode_segments() makes of the segments `chosen` (indices into `segments`), put together from
// `whole`, the sample of all of them under the same mask. A block has the same ids wherever it stands, but for the
// dummy prefix at the start of a sample; only an instruction that moves to or from the start is tokenized again.
EncodedSample join_segments(const EncodedSample& whole, std::span<const Segment> segments,
                            std::span<const std::size_t> chosen, const Tokenizer& tokenizer, const MaskOptions& mask,
                            bool add_bos, bool add_eos);

// Whether a sample gets EOS: `ends_conversation` is false for all but the last part of a split conversation.
bool wants_eos(EosRule rule, bool ends_conversation);

// Length of each message in order: its count of kText tokens.
std::vector<std::int64_t> message_lengths(const EncodedSample& sample);

}  // namespace shori
