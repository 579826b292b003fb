#include <algorithm>
#include <optional>

#include "shori/util/splitmix64.h"
#include "shori/util/text.h"
#include "src/data/overlap/overlap.h"

namespace shori {
namespace {

// The base of the rolling hash over words: odd, with its bits spread out.
constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15;

// FNV-1a.
std::uint64_t hash_text(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return splitmix64(hash);
}

void append_folded(std::string_view text, std::string& folded) {
  bool gap = !folded.empty();
  for (const char c : text) {
    if (is_blockml_space(c)) {
      gap = !folded.empty();
      continue;
    }
    if (gap) folded += ' ';
    gap = false;
    folded += lower_ascii(c);
  }
}

std::vector<std::uint64_t> word_hashes(std::string_view folded) {
  std::vector<std::uint64_t> hashes;
  for (std::size_t begin = 0; begin < folded.size();) {
    const std::size_t end = std::min(folded.find(' ', begin), folded.size());
    hashes.push_back(hash_text(folded.substr(begin, end - begin)));
    begin = end + 1;
  }
  return hashes;
}

// sum over i of word[i] * base^(7 - i), rolled from one shingle to the next.
std::vector<std::uint64_t> shingles_of(std::string_view folded) {
  const std::vector<std::uint64_t> words = word_hashes(folded);
  std::vector<std::uint64_t> shingles;
  if (words.size() < kShingleWords) return shingles;
  shingles.reserve(words.size() - kShingleWords + 1);
  std::uint64_t first_weight = 1, rolling = 0;
  for (std::size_t i = 0; i < kShingleWords; ++i) first_weight *= kBase;
  for (std::size_t i = 0; i < words.size(); ++i) {
    rolling = rolling * kBase + words[i];
    if (i >= kShingleWords) rolling -= words[i - kShingleWords] * first_weight;
    if (i + 1 >= kShingleWords) shingles.push_back(splitmix64(rolling));
  }
  std::sort(shingles.begin(), shingles.end());
  shingles.erase(std::unique(shingles.begin(), shingles.end()), shingles.end());
  shingles.shrink_to_fit();
  return shingles;
}

ConversationSketch sketch_folded(const std::string& folded) {
  ConversationSketch sketch;
  sketch.folded = sha256(folded.data(), folded.size());
  sketch.shingles = shingles_of(folded);
  return sketch;
}

// Digits from `at` on; 0 if there are none.
std::size_t count_digits(std::string_view text, std::size_t at) {
  std::size_t count = 0;
  while (at + count < text.size() && text[at + count] >= '0' && text[at + count] <= '9') ++count;
  return count;
}

// Whether text[at, end of text) is digits, `between`, digits.
bool is_part_number(std::string_view text, std::string_view between) {
  const std::size_t first = count_digits(text, 0);
  if (first == 0 || !text.substr(first).starts_with(between)) return false;
  const std::size_t second = count_digits(text, first + between.size());
  return second > 0 && first + between.size() + second == text.size();
}

}  // namespace

std::string fold_text(std::string_view text) {
  std::string folded;
  append_folded(text, folded);
  return folded;
}

ConversationSketch sketch_conversation(std::span<const Segment> segments,
                                       std::span<const std::int64_t> message_lengths) {
  std::string folded;
  std::vector<std::uint64_t> messages, bodies;
  std::size_t message = 0;
  for (const Segment& segment : segments) {
    if (segment.role != Role::kMessage) continue;
    const std::size_t begin = folded.size();
    append_folded(segment.body, folded);
    const std::string_view body = std::string_view(folded).substr(begin);
    bodies.push_back(hash_text(body.substr(body.starts_with(' ') ? 1 : 0)));
    const bool is_long = message < message_lengths.size() && message_lengths[message] >= kSharedMessageTokens;
    ++message;
    if (!is_long) continue;
    const std::optional<Speaker> speaker = find_speaker(segment.body);
    messages.push_back(hash_text(fold_text(std::string_view(segment.body).substr(speaker ? speaker->text_begin : 0))));
  }
  ConversationSketch sketch = sketch_folded(folded);
  sketch.messages = std::move(messages);
  sketch.bodies = std::move(bodies);
  return sketch;
}

ConversationSketch sketch_text(std::string_view text) { return sketch_folded(fold_text(text)); }

std::string whole_id(std::string_view id) {
  const std::size_t hash = id.rfind('#');
  if (hash != std::string_view::npos && is_part_number(id.substr(hash + 1), "/"))
    return std::string(id.substr(0, hash));
  constexpr std::string_view kExtension = ".blockml";
  if (!id.ends_with(kExtension)) return std::string(id);
  const std::string_view stem = id.substr(0, id.size() - kExtension.size());
  const std::size_t dot = stem.rfind('.');
  if (dot == std::string_view::npos || !is_part_number(stem.substr(dot + 1), "-of-")) return std::string(id);
  // A part is known by the name of its file in any folder, as train and evaluation data are usually two folders.
  const std::size_t slash = stem.rfind('/');
  const std::size_t begin = slash == std::string_view::npos ? 0 : slash + 1;
  return std::string(stem.substr(begin, dot - begin)) + std::string(kExtension);
}

}  // namespace shori
