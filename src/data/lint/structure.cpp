// Rules about a whole conversation: speakers, order of blocks, length hints.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

constexpr std::size_t kComparedSpeakers = 1000;
constexpr int kStepsOff = 2;  // words by which a hint may differ from the text's length

struct SpeakerUse {
  std::string name;
  std::size_t segment;  // of the first message
  std::size_t messages = 0;
};

std::string_view first_line(std::string_view body) { return body.substr(0, body.find('\n')); }

std::u32string code_points(std::string_view text) {
  std::u32string result;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    result.push_back(c.value);
    at += c.bytes;
  }
  return result;
}

// One insertion, deletion, replacement, or swap of neighbours.
bool one_edit_apart(std::u32string_view a, std::u32string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() - a.size() > 1 || a == b) return false;
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  const auto at = static_cast<std::size_t>(in_a - a.begin());
  if (a.size() < b.size()) return a.substr(at) == b.substr(at + 1);
  if (a.substr(at + 1) == b.substr(at + 1)) return true;
  return at + 1 < a.size() && a[at] == b[at + 1] && a[at + 1] == b[at] && a.substr(at + 2) == b.substr(at + 2);
}

class StructureLint {
 public:
  StructureLint(const BlockmlDocument& document, std::span<const std::int64_t> message_ids, const LintOptions& options,
                std::vector<LintFinding>& findings)
      : segments_(document.segments), message_ids_(message_ids), options_(options), findings_(findings) {}

  void run() {
    collect_speakers();
    unknown_speakers();
    name_drift();
    order();
    lengths();
  }

 private:
  void report(LintRule rule, std::size_t segment, std::string subject = {}, std::size_t count = 1) {
    BlockFindings block(segment, options_);
    block.add_block(rule, std::string(lint_rule_message(rule)), std::move(subject), count);
    block.move_to(findings_);
  }

  void collect_speakers() {
    std::map<std::string_view, std::size_t> known;
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      if (segments_[i].role != Role::kMessage) continue;
      const std::optional<Speaker> speaker = find_speaker(segments_[i].body);
      if (!speaker) {
        report(LintRule::kNoSpeaker, i);
        continue;
      }
      const auto [at, is_new] = known.try_emplace(speaker->name, speakers_.size());
      if (is_new) speakers_.push_back({std::string(speaker->name), i});
      ++speakers_[at->second].messages;
    }
  }

  static std::string shown(const SpeakerUse& speaker) { return speaker_text(speaker.name, speaker.messages); }

  void unknown_speakers() {
    if (options_.level(LintRule::kUnknownSpeaker) == LintLevel::kOff) return;
    std::string descriptions;
    for (const Segment& segment : segments_) {
      if (segment.role == Role::kDescription) descriptions.append(segment.body).append("\n");
    }
    for (std::size_t i = 0; i < std::min(speakers_.size(), kComparedSpeakers); ++i) {
      const SpeakerUse& speaker = speakers_[i];
      if (descriptions.find(speaker.name) == std::string::npos)
        report(LintRule::kUnknownSpeaker, speaker.segment, shown(speaker), speaker.messages);
    }
  }

  // Of two names that are alike, the later one is reported.
  void name_drift() {
    if (options_.level(LintRule::kNameDrift) == LintLevel::kOff) return;
    std::map<std::string, std::size_t> by_folded;
    std::vector<std::u32string> names;
    for (std::size_t i = 0; i < speakers_.size(); ++i) {
      const auto [first, is_new] = by_folded.try_emplace(lower_ascii(speakers_[i].name), i);
      std::optional<std::size_t> like = is_new ? std::nullopt : std::optional(first->second);
      if (i < kComparedSpeakers) {
        names.push_back(code_points(speakers_[i].name));
        for (std::size_t j = 0; j < i && !like; ++j) {
          if (one_edit_apart(names[i], names[j])) like = j;
        }
      }
      if (like)
        report(LintRule::kNameDrift, speakers_[i].segment, shown(speakers_[*like]) + " and " + shown(speakers_[i]));
    }
  }

  void order() {
    bool had_message = false, had_title = false;
    std::size_t last_message = 0;
    std::set<std::string_view> described;
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const Segment& segment = segments_[i];
      if (segment.role == Role::kTags && (i == 0 || segments_[i - 1].role != Role::kTitle)) report(LintRule::kTags, i);
      if (segment.role == Role::kTitle && !had_title && i > 0 && !had_message) report(LintRule::kTitle, i);
      had_title = had_title || segment.role == Role::kTitle;
      if (segment.role == Role::kDescription && !described.insert(first_line(segment.body)).second)
        report(LintRule::kDuplicateDescription, i, "`" + escape_for_log(first_line(segment.body)) + "`");
      if (segment.role != Role::kMessage) continue;
      had_message = true;
      last_message = i;
      described.clear();
    }
    for (std::size_t i = last_message + 1; i < segments_.size(); ++i) {
      if (segments_[i].role != Role::kOoc) report(LintRule::kNoEffect, i);
    }
  }

  void lengths() {
    const bool in_tokens = options_.buckets.unit == LengthUnit::kTokens;
    if (options_.level(LintRule::kLengthMismatch) == LintLevel::kOff || (in_tokens && message_ids_.empty())) return;
    std::size_t message = 0;
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const Segment& segment = segments_[i];
      if (segment.role != Role::kMessage) continue;
      const std::size_t number = message++;
      if (segment.hint == LengthHint::kNone) continue;
      const std::int64_t length =
          in_tokens ? message_ids_[number] : measure_message(segment.body, options_.buckets.unit, nullptr);
      const LengthHint word = options_.buckets.word_for(length);
      if (std::abs(static_cast<int>(word) - static_cast<int>(segment.hint)) <= kStepsOff) continue;
      report(LintRule::kLengthMismatch, i,
             concat("`", length_name(segment.hint), "`, the text has ", length, ' ', unit_name(), " (",
                    length_name(word), ')'));
    }
  }

  std::string_view unit_name() const {
    return options_.buckets.unit == LengthUnit::kChars ? "characters" : word_of(options_.buckets.unit);
  }

  const std::vector<Segment>& segments_;
  std::span<const std::int64_t> message_ids_;
  const LintOptions& options_;
  std::vector<LintFinding>& findings_;
  std::vector<SpeakerUse> speakers_;
};

}  // namespace

void lint_structure(const BlockmlDocument& document, std::span<const std::int64_t> message_ids,
                    const LintOptions& options, std::vector<LintFinding>& findings) {
  StructureLint(document, message_ids, options, findings).run();
}

}  // namespace shori
