// Conversations that occur more than once: in both train and evaluation data, or twice in one of them.
//
// Folded text: the message bodies in order, joined by one space, with ASCII letters in lower case and each run of white
// space (space, TAB, LF) as one space. Shingle: 8 consecutive words of it, as a 64-bit hash. A conversation of fewer
// than 8 words has no shingle and takes part in the exact checks only.
//
// A branch is a conversation whose first messages are those of another, as chat programs save the same chat again from an
// earlier point.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"

namespace shori {

inline constexpr std::size_t kShingleWords = 8;
inline constexpr double kNearCopy = 0.8;                  // Jaccard index of the sets of shingles, at least
inline constexpr double kSharedPassages = 0.2;            // share of distinct shingles, at least
inline constexpr double kSharedMessages = 0.01;           // share of an evaluation set's long messages, above
inline constexpr std::size_t kBranchMessages = 3;         // equal first messages; a greeting and its answer often are
inline constexpr std::int64_t kSharedMessageTokens = 20;  // a message that counts as long

// What a comparison needs to know of one conversation.
struct ConversationSketch {
  Sha256Digest folded{};                // of the folded text
  std::vector<std::uint64_t> shingles;  // distinct, ascending
  std::vector<std::uint64_t> messages;  // folded text of each long message (without the speaker), in order
  std::vector<std::uint64_t> bodies;    // folded body of every message, in order
};

std::string fold_text(std::string_view text);

// `message_lengths`: tokens of each message in order, as message_lengths() of regions.h; empty if they are not known,
// which leaves out the check of shared messages.
ConversationSketch sketch_conversation(std::span<const Segment> segments,
                                       std::span<const std::int64_t> message_lengths);
// Of a text without blocks, taken as one body.
ConversationSketch sketch_text(std::string_view text);

struct OverlapItem {
  std::string id, file;
  std::uint64_t line = 1;
  bool is_line = false;        // one of several conversations of its file
  std::int32_t held_out = -1;  // number of the evaluation set; -1: train
  ConversationSketch sketch;
};

// "path" or "path:line".
std::string location_of(const OverlapItem& item);

// The id of the whole conversation for the id of a part, "<id>#k/n" or the file "<id>.k-of-n.blockml"; else `id`.
std::string whole_id(std::string_view id);

enum class OverlapKind { kSameConversation, kExact, kNear };

// `item` is a copy of `of`; both are indices. `similarity` is the Jaccard index of a near copy.
struct Copy {
  std::size_t item = 0, of = 0;
  OverlapKind kind = OverlapKind::kExact;
  double similarity = 1;
};
// `item` begins with the first `messages` messages of `of`, and is no copy of it.
struct Branch {
  std::size_t item = 0, of = 0;
  std::size_t messages = 0;
};
struct PassageShare {
  std::size_t item = 0, most = 0;  // the train conversation that shares most
  double share = 0;
};
struct MessageShare {
  std::int32_t set = 0;
  std::size_t shared = 0, of = 0;
  std::size_t item = 0, train = 0;  // of the first one
};

struct Overlap {
  std::vector<Copy> in_eval;     // each evaluation conversation once: its copy in train, else an earlier one in eval
  std::vector<Copy> in_train;    // each train conversation that is a copy of an earlier one
  std::vector<Branch> branches;  // of all conversations, each with the earlier one that it shares most with
  std::vector<PassageShare> passages;
  std::vector<MessageShare> messages;
};

// Time and memory are linear in the data however often a shingle occurs, because a conversation is compared with at
// most 64 others, those that share most of its rarest shingles.
Overlap find_overlap(std::span<const OverlapItem> items);

// Reports E0307 (a warning if `allow_overlap`), W0301 and W0303. `set_names`: of the evaluation sets. `errors_only`: no
// warnings.
void report_overlap(std::span<const OverlapItem> items, const Overlap& overlap, std::span<const std::string> set_names,
                    bool allow_overlap, bool errors_only, Diagnostics& diagnostics);

}  // namespace shori
