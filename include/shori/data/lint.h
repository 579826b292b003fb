// Conventions of prose, order, privacy and lengths as rules with a level. A rule reports once per block, with the
// count.
//
// prose/* and privacy/* check the bodies of message, lore, scenario, description and ooc; text/u2581 and text/lookalike
// check every text, text/inst every block, the others what their message says. Text between triple-backtick fences is
// exempt from prose/*.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "shori/config/vocabulary.h"
#include "shori/data/blockml.h"
#include "shori/data/length_buckets.h"
#include "shori/util/error.h"

namespace shori {

inline std::string_view lint_level_name(LintLevel level) { return word_of(level); }  // "off", "info", "warn", "error"
inline std::string_view lint_rule_name(LintRule rule) { return word_of(rule); }      // "prose/thoughts"

struct LintOptions {
  // Empty: the default. For privacy/* the default is warn for patterns, error for what the two lists name.
  std::array<std::optional<LintLevel>, kLintRuleCount> levels{};
  std::unordered_set<std::string> usernames;  // lower case (ASCII)
  std::vector<std::string> internal_hosts;    // lower case (ASCII)
  LengthBuckets buckets;
  bool errors_only = false;  // rules below level error are off

  LintLevel level(LintRule rule, bool listed = false) const;
};

// What a rule found in one block.
struct LintFinding {
  LintRule rule = LintRule::kThoughts;
  LintLevel level = LintLevel::kWarn;
  std::size_t segment = 0;            // index into the document
  std::optional<std::size_t> offset;  // byte of the body where it occurs first; empty: the block itself
  std::size_t bytes = 1;              // that it covers there
  std::size_t count = 1;              // occurrences in this block
  std::string message;                // without the rule's name
  std::string subject;                // what it names: "`Old Tam` (3 messages)"; empty: nothing
};

// Findings of all rules that are not off, in the order of the text. `message_ids`: lengths of the messages in tokens;
// if empty, they are not known and length/mismatch in tokens is left out. Linear in the text, because only the first
// 1,000 speakers of a conversation are searched for in descriptions and compared by edits.
std::vector<LintFinding> lint_document(const BlockmlDocument& document, std::span<const std::int64_t> message_ids,
                                       const LintOptions& options);

// Reports each finding as a diagnostic: W0304 (of severity info at level info), or E0319 at level error. `text` is what
// the offsets of the segments count in; empty if the segments have positions in the file itself (YAML).
void print_findings(const BlockmlDocument& document, std::string_view text, const TextSource& source,
                    std::span<const LintFinding> findings, const std::function<void(Diagnostic)>& report);

// A count for each rule.
using LintFixes = std::array<std::size_t, kLintRuleCount>;

// What became of the findings that have a fix. Those dropped are still findings.
struct FixOutcome {
  LintFixes fixed{};
  LintFixes dropped{};  // the fix would change more than the text it is about
};

// Applies the fixes of rules that have one and are not off. A fix changes prose and never what a block is: number and
// order of the blocks, roles, hints, speakers and fenced text stay, no message gains or loses a speaker or its text,
// and out-of-character talk becomes `ooc` blocks directly after its message. A fix that would do anything else is
// dropped. Bodies that need no fix keep their bytes, and a second run changes nothing.
FixOutcome fix_document(BlockmlDocument& document, const LintOptions& options);

}  // namespace shori
