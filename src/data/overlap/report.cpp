#include <algorithm>
#include <cmath>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/overlap/overlap.h"

namespace shori {
namespace {

constexpr std::size_t kListed = 50;

std::string shown(const OverlapItem& item) { return escape_for_log(location_of(item), 200); }

// "0.93", rounded down, so that 1.00 is a copy in every shingle.
std::string hundredths(double share) {
  const auto whole = static_cast<int>(std::floor(share * 100 + 1e-9));
  return concat(whole / 100, '.', whole % 100 < 10 ? "0" : "", whole % 100);
}

std::string copy_text(std::span<const OverlapItem> items, const Copy& copy) {
  std::string text = shown(items[copy.item]) + " = " + shown(items[copy.of]);
  switch (copy.kind) {
    case OverlapKind::kSameConversation:
      text += " (the same conversation";
      break;
    case OverlapKind::kExact:
      text += " (exact";
      break;
    case OverlapKind::kNear:
      text += " (near, " + hundredths(copy.similarity);
      break;
  }
  const bool both_eval = items[copy.item].held_out >= 0 && items[copy.of].held_out >= 0;
  return text + (both_eval ? ", both in evaluation data)" : ")");
}

template <typename Items, typename Text>
void list(Diagnostic& problem, const Items& items, Text text) {
  for (std::size_t i = 0; i < std::min(items.size(), kListed); ++i) problem.note(text(items[i]));
  if (items.size() > kListed) problem.note(concat("and ", items.size() - kListed, " more"));
}

Diagnostic& at_item(Diagnostic& problem, const OverlapItem& item) {
  return problem.at(item.file, static_cast<std::size_t>(item.line));
}

void report_eval(std::span<const OverlapItem> items, const Overlap& overlap, bool allow_overlap,
                 Diagnostics& diagnostics) {
  if (overlap.in_eval.empty()) return;
  const auto total = std::count_if(items.begin(), items.end(), [](const auto& item) { return item.held_out >= 0; });
  const auto in_train = std::count_if(overlap.in_eval.begin(), overlap.in_eval.end(),
                                      [&](const Copy& copy) { return items[copy.of].held_out < 0; });
  const auto twice = static_cast<std::ptrdiff_t>(overlap.in_eval.size()) - in_train;
  const std::string of_total = concat(" of ", total, " evaluation conversations are ");
  std::string message;
  if (in_train > 0) message = concat(in_train, of_total, "also in train");
  if (twice > 0) message += concat(message.empty() ? "" : ", ", twice, of_total, "there twice");
  Diagnostic problem("E0307", message);
  at_item(problem, items[overlap.in_eval.front().item]);
  list(problem, overlap.in_eval, [&](const Copy& copy) { return copy_text(items, copy); });
  if (allow_overlap) {
    problem.severity = Severity::kWarning;
  } else {
    problem.help("remove them from one of the two, or set `allow_overlap: true`");
  }
  diagnostics.add(std::move(problem));
}

void report_train(std::span<const OverlapItem> items, const Overlap& overlap, Diagnostics& diagnostics) {
  if (overlap.in_train.empty()) return;
  const std::size_t count = overlap.in_train.size();
  Diagnostic problem("W0301", concat(count, count == 1 ? " conversation of train is a copy of another"
                                                       : " conversations of train are copies of others"));
  at_item(problem, items[overlap.in_train.front().item]);
  list(problem, overlap.in_train, [&](const Copy& copy) { return copy_text(items, copy); });
  problem.help("delete one of each pair; `dedupe: true` keeps the first of exact copies");
  diagnostics.add(std::move(problem));
}

void report_branches(std::span<const OverlapItem> items, const Overlap& overlap, Diagnostics& diagnostics) {
  if (overlap.branches.empty()) return;
  const std::size_t count = overlap.branches.size();
  Diagnostic problem("W0301", concat(count,
                                     count == 1 ? " conversation is a branch of another: it begins"
                                                : " conversations are branches of others: they begin",
                                     " with the same messages"));
  at_item(problem, items[overlap.branches.front().item]);
  list(problem, overlap.branches, [&](const Branch& branch) {
    const bool one_eval = (items[branch.item].held_out >= 0) != (items[branch.of].held_out >= 0);
    return concat(shown(items[branch.item]), " = ", shown(items[branch.of]), " (the first ", branch.messages,
                  " messages", one_eval ? "; one is evaluation data)" : ")");
  });
  problem.help("keep the best branch of each chat, or cut what the branches share from all but one");
  diagnostics.add(std::move(problem));
}

void report_passages(std::span<const OverlapItem> items, const Overlap& overlap, Diagnostics& diagnostics) {
  if (overlap.passages.empty()) return;
  const std::size_t count = overlap.passages.size();
  Diagnostic problem("W0303",
                     concat(count, count == 1 ? " evaluation conversation shares" : " evaluation conversations share",
                            " passages with train"));
  at_item(problem, items[overlap.passages.front().item]);
  list(problem, overlap.passages, [&](const PassageShare& passages) {
    return shown(items[passages.item]) + ": " + hundredths(passages.share) + " of it is in train, most of that in " +
           shown(items[passages.most]);
  });
  problem.help("look at both: the more an evaluation shares with train, the less it measures");
  diagnostics.add(std::move(problem));
}

}  // namespace

std::string location_of(const OverlapItem& item) {
  return item.is_line ? concat(item.file, ':', item.line) : item.file;
}

void report_overlap(std::span<const OverlapItem> items, const Overlap& overlap, std::span<const std::string> set_names,
                    bool allow_overlap, bool errors_only, Diagnostics& diagnostics) {
  if (!(errors_only && allow_overlap)) report_eval(items, overlap, allow_overlap, diagnostics);
  if (errors_only) return;
  report_train(items, overlap, diagnostics);
  report_branches(items, overlap, diagnostics);
  report_passages(items, overlap, diagnostics);
  for (const MessageShare& share : overlap.messages) {
    const std::string& set = set_names[static_cast<std::size_t>(share.set)];
    Diagnostic problem("W0303", concat(share.shared, " of ", share.of, " long messages of evaluation set `",
                                       escape_for_log(set), "` are also messages of train"));
    at_item(problem, items[share.item]);
    problem.note("the first: " + shown(items[share.item]) + ", also in " + shown(items[share.train]))
        .note(concat("long: ", kSharedMessageTokens, " tokens or more"))
        .help("look at both: the more an evaluation shares with train, the less it measures");
    diagnostics.add(std::move(problem));
  }
}

}  // namespace shori
