#include "shori/infer/rates.h"

#include <algorithm>
#include <array>
#include <set>

#include "shori/data/length_buckets.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::size_t kGram = 4;
using Gram = std::array<std::int32_t, kGram>;

struct Head {
  LengthHint hint = LengthHint::kNone;
  std::size_t bytes = 0;  // with the newline
};

// The head of a message block that `text` begins with.
std::optional<Head> read_message_head(std::string_view text) {
  const std::size_t newline = text.find('\n');
  if (newline == std::string_view::npos) return std::nullopt;
  const std::string_view line = text.substr(0, newline + 1);
  if (line == block_head(Role::kMessage)) return Head{LengthHint::kNone, line.size()};
  for (const std::string_view word : kLengthWords) {
    const LengthHint hint = *find_word<LengthHint>(word);
    if (line == block_head(Role::kMessage, hint)) return Head{hint, line.size()};
  }
  return std::nullopt;
}

// Of "Reimu:", which no white space follows yet, as of "Reimu: Hi".
std::string_view speaker_of(std::string_view body) {
  if (const auto speaker = find_speaker(body)) return speaker->name;
  if (body.ends_with(':') && find_speaker(concat(body, " "))) return body.substr(0, body.find(':'));
  return {};
}

}  // namespace

std::optional<OpenMessage> find_open_message(std::string_view prompt) {
  OpenMessage open;
  for (std::size_t at = prompt.find(kBlockOpen); at != std::string_view::npos; at = prompt.find(kBlockOpen, at + 1)) {
    const std::optional<Head> head = read_message_head(prompt.substr(at));
    if (!head) continue;
    const std::size_t begin = at + head->bytes, end = prompt.find(kBlockClose, begin);
    const std::string_view body = prompt.substr(begin, end == std::string_view::npos ? end : end - begin);
    const std::string_view speaker = speaker_of(body);
    if (end == std::string_view::npos) {
      if (prompt.find(kBlockOpen, begin) != std::string_view::npos) return std::nullopt;
      open.hint = head->hint;
      open.body = body;
      open.speaker = speaker;
      return open;
    }
    if (!speaker.empty() && std::ranges::find(open.speakers, speaker) == open.speakers.end())
      open.speakers.push_back(speaker);
  }
  return std::nullopt;
}

bool speaks_for_another(std::string_view body, std::string_view asked, std::span<const std::string_view> others) {
  const std::string_view first = speaker_of(body);
  if (asked.empty()) asked = first;
  if (!first.empty() && first != asked) return true;
  for (std::size_t newline = body.find('\n'); newline != std::string_view::npos;
       newline = body.find('\n', newline + 1)) {
    const std::string_view speaker = speaker_of(body.substr(newline + 1));
    if (speaker != asked && std::ranges::find(others, speaker) != others.end()) return true;
  }
  return false;
}

double repetition(std::span<const std::int32_t> prompt, std::span<const std::int32_t> reply) {
  if (reply.size() < kGram) return 0;
  std::vector<std::int32_t> ids(prompt.begin(), prompt.end());
  ids.insert(ids.end(), reply.begin(), reply.end());
  std::set<Gram> seen;
  std::size_t repeated = 0;
  for (std::size_t at = 0; at + kGram <= ids.size(); ++at) {
    Gram gram;
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(at), kGram, gram.begin());
    const bool is_new = seen.insert(gram).second;
    if (!is_new && at >= prompt.size()) ++repeated;
  }
  return static_cast<double>(repeated) / static_cast<double>(reply.size() - kGram + 1);
}

ReplyRates rate_reply(const Tokenizer& tokenizer, std::string_view prompt, std::span<const std::int32_t> prompt_ids,
                      const Reply& reply) {
  ReplyRates rates;
  rates.repetition = repetition(prompt_ids, reply.ids);
  const std::optional<OpenMessage> open = find_open_message(prompt);
  if (!open) return rates;
  const std::string body(trim_blockml(concat(open->body, reply.text)));
  const bool has_text = !trim_blockml(reply.text).empty();
  rates.hint = open->hint;
  rates.bucket = LengthBuckets{}.word_for(has_text ? measure_message(body, LengthUnit::kTokens, &tokenizer) : 0);
  rates.impersonated = speaks_for_another(body, open->speaker, open->speakers);
  return rates;
}

}  // namespace shori
