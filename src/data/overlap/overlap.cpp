#include "src/data/overlap/overlap.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "src/data/overlap/shingle_index.h"

namespace shori {
namespace {

// Bounds of the work per conversation: documents looked up per shingle, and conversations compared in full.
constexpr std::size_t kHoldersPerShingle = 64;
constexpr std::size_t kCompared = 64;

using Digests = std::map<Sha256Digest, std::size_t>;

class OverlapFinder {
 public:
  explicit OverlapFinder(std::span<const OverlapItem> items) : items_(items), copy_of_(items.size()) {
    for (const bool train : {true, false}) {
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (is_train(i) == train) order_.push_back(i);
      }
    }
  }

  Overlap find() {
    find_same_and_exact();
    index_shingles();
    if (!documents_.empty()) compare_shingles();
    for (const std::size_t item : order_) {
      if (copy_of_[item]) (is_train(item) ? result_.in_train : result_.in_eval).push_back(*copy_of_[item]);
    }
    find_branches();
    find_shared_messages();
    return std::move(result_);
  }

 private:
  bool is_train(std::size_t item) const { return items_[item].held_out < 0; }

  // Copies that need no shingles. Train comes first, so that an evaluation conversation finds its copy in train before
  // one in another set.
  void find_same_and_exact() {
    std::unordered_map<std::string, std::size_t> train_ids;
    Digests train_digests, eval_digests;
    for (const std::size_t item : order_) {
      const std::string id = whole_id(items_[item].id);
      const Sha256Digest& digest = items_[item].sketch.folded;
      if (is_train(item)) {
        train_ids.try_emplace(id, item);
      } else if (const auto same = train_ids.find(id); same != train_ids.end()) {
        copy_of_[item] = Copy{item, same->second, OverlapKind::kSameConversation, 1};
        continue;
      }
      if (const auto first = train_digests.find(digest); first != train_digests.end()) {
        copy_of_[item] = Copy{item, first->second, OverlapKind::kExact, 1};
        continue;
      }
      const auto [first, is_new] = (is_train(item) ? train_digests : eval_digests).try_emplace(digest, item);
      if (!is_new) copy_of_[item] = Copy{item, first->second, OverlapKind::kExact, 1};
    }
  }

  void index_shingles() {
    std::vector<std::span<const std::uint64_t>> sets;
    for (const std::size_t item : order_) {
      if (copy_of_[item] || items_[item].sketch.shingles.empty()) continue;
      documents_.push_back(item);
      sets.emplace_back(items_[item].sketch.shingles);
      if (is_train(item)) ++train_documents_;
    }
    if (!documents_.empty()) index_.emplace(sets);
    counts_.resize(documents_.size());
  }

  void compare_shingles() {
    for (std::uint32_t document = 0; document < documents_.size(); ++document) {
      const std::vector<std::uint32_t> shingles = index_->rarest_first(document);
      // Sets of index >= t share at least t * n shingles, so one of the n - t * n + 1 rarest.
      const auto needed = static_cast<std::size_t>(std::ceil(kNearCopy * static_cast<double>(shingles.size()) - 1e-9));
      const std::vector<std::uint32_t> near =
          most_shared(std::span(shingles).first(shingles.size() - needed + 1), shingles.size(), document);
      if (find_near(document, near) || document < train_documents_) continue;
      find_passages(document, shingles);
    }
  }

  // Documents before `limit` by how many of the shingles they hold, most first, then in order.
  std::vector<std::uint32_t> most_shared(std::span<const std::uint32_t> shingles, std::size_t size,
                                         std::uint32_t limit) {
    std::vector<std::uint32_t> seen;
    std::size_t left = kHoldersPerShingle * size;
    for (const std::uint32_t shingle : shingles) {
      const auto holders = index_->documents_with(shingle);
      if (holders.size() == 1) continue;  // only this document, as for most shingles
      for (const std::uint32_t holder : holders) {
        if (holder >= limit || left == 0) break;
        --left;
        if (counts_[holder]++ == 0) seen.push_back(holder);
      }
    }
    const auto more = [this](std::uint32_t a, std::uint32_t b) {
      return counts_[a] != counts_[b] ? counts_[a] > counts_[b] : a < b;
    };
    const std::size_t kept = std::min(seen.size(), kCompared);
    std::partial_sort(seen.begin(), seen.begin() + static_cast<std::ptrdiff_t>(kept), seen.end(), more);
    for (const std::uint32_t holder : seen) counts_[holder] = 0;
    seen.resize(kept);
    return seen;
  }

  bool find_near(std::uint32_t document, const std::vector<std::uint32_t>& candidates) {
    const auto own = index_->shingles_of(document);
    for (const std::uint32_t other : candidates) {
      const auto theirs = index_->shingles_of(other);
      const auto [smaller, larger] = std::minmax({own.size(), theirs.size()});
      if (static_cast<double>(smaller) < kNearCopy * static_cast<double>(larger) - 1e-9) continue;
      const double similarity = jaccard(own, theirs);
      if (similarity < kNearCopy) continue;
      copy_of_[documents_[document]] = Copy{documents_[document], documents_[other], OverlapKind::kNear, similarity};
      return true;
    }
    return false;
  }

  void find_passages(std::uint32_t document, const std::vector<std::uint32_t>& shingles) {
    std::vector<std::uint32_t> in_train;
    for (const std::uint32_t shingle : shingles) {
      if (index_->documents_with(shingle).front() < train_documents_) in_train.push_back(shingle);
    }
    const double share = static_cast<double>(in_train.size()) / static_cast<double>(shingles.size());
    if (share < kSharedPassages) return;
    const std::uint32_t most = most_shared(in_train, shingles.size(), train_documents_).front();
    result_.passages.push_back({documents_[document], documents_[most], share});
  }

  // Of conversations that are no copies. Only those with the same third message are compared, and at most 64 of them.
  void find_branches() {
    std::unordered_map<std::uint64_t, std::vector<std::size_t>> by_start;
    for (const std::size_t item : order_) {
      const std::vector<std::uint64_t>& bodies = items_[item].sketch.bodies;
      if (copy_of_[item] || bodies.size() < kBranchMessages) continue;
      std::vector<std::size_t>& others = by_start[bodies[kBranchMessages - 1]];
      Branch best{item, item, 0};
      for (const std::size_t other : others) {
        const std::vector<std::uint64_t>& theirs = items_[other].sketch.bodies;
        const auto differ = std::mismatch(bodies.begin(), bodies.end(), theirs.begin(), theirs.end()).first;
        const auto shared = static_cast<std::size_t>(differ - bodies.begin());
        if (shared > best.messages) best = {item, other, shared};
      }
      if (best.messages >= kBranchMessages) result_.branches.push_back(best);
      if (others.size() < kCompared) others.push_back(item);
    }
  }

  void find_shared_messages() {
    std::unordered_map<std::uint64_t, std::size_t> in_train;
    std::map<std::int32_t, MessageShare> sets;
    for (const std::size_t item : order_) {
      for (const std::uint64_t message : items_[item].sketch.messages) {
        if (is_train(item)) {
          in_train.try_emplace(message, item);
          continue;
        }
        MessageShare& set = sets[items_[item].held_out];
        ++set.of;
        const auto found = in_train.find(message);
        if (found == in_train.end()) continue;
        if (set.shared++ == 0) {
          set.item = item;
          set.train = found->second;
        }
      }
    }
    for (auto& [number, set] : sets) {
      if (static_cast<double>(set.shared) <= kSharedMessages * static_cast<double>(set.of)) continue;
      set.set = number;
      result_.messages.push_back(set);
    }
  }

  std::span<const OverlapItem> items_;
  std::vector<std::size_t> order_;  // train, then evaluation
  std::vector<std::optional<Copy>> copy_of_;
  std::vector<std::size_t> documents_;  // items that are compared by shingles, by number of the index
  std::uint32_t train_documents_ = 0;
  std::optional<ShingleIndex> index_;
  std::vector<std::uint32_t> counts_;
  Overlap result_;
};

}  // namespace

Overlap find_overlap(std::span<const OverlapItem> items) { return OverlapFinder(items).find(); }

}  // namespace shori
