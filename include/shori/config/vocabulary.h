// The words of config files and of data, and the values that they name. Each word stands here and nowhere else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "shori/util/linear.h"

namespace shori {

// kWords<E>: the words of E in the order of its enumerators.
template <typename E>
inline constexpr std::array<std::string_view, 0> kWords = {};

template <typename... Words>
constexpr std::array<std::string_view, sizeof...(Words)> word_list(Words... words) {
  return {words...};
}

// word_of(LrScheduler::kLinear) == "linear".
template <typename E>
constexpr std::string_view word_of(E value) {
  return kWords<E>[static_cast<std::size_t>(value)];
}

// The value that `word` names, or nullopt.
template <typename E>
constexpr std::optional<E> find_word(std::string_view word) {
  for (std::size_t i = 0; i < kWords<E>.size(); ++i) {
    if (kWords<E>[i] == word) return static_cast<E>(i);
  }
  return std::nullopt;
}

// "a, b, c", for messages.
template <typename Words>
std::string join_words(const Words& words, std::string_view separator = ", ") {
  std::string text;
  for (const auto& word : words) text.append(text.empty() ? "" : separator).append(word);
  return text;
}

// --- keys of training ---

enum class AdapterKind { kQlora, kLora };
template <>
inline constexpr auto kWords<AdapterKind> = word_list("qlora", "lora");

enum class OptimizerKind { kAdamwBnb8bit };
template <>
inline constexpr auto kWords<OptimizerKind> = word_list("adamw_bnb_8bit");

enum class LrScheduler { kConstant, kLinear, kCosine };
template <>
inline constexpr auto kWords<LrScheduler> = word_list("constant", "linear", "cosine");

enum class DeviceChoice { kAuto, kCpu, kCuda, kEmulated };
template <>
inline constexpr auto kWords<DeviceChoice> = word_list("auto", "cpu", "cuda", "emulated");

enum class ActivationMemory { kAuto, kRecompute, kKeepAttention, kKeep };
template <>
inline constexpr auto kWords<ActivationMemory> = word_list("auto", "recompute", "keep_attention", "keep");

enum class MatmulKernel { kAuto, kCublasLt, kNf4 };
template <>
inline constexpr auto kWords<MatmulKernel> = word_list("auto", "cublaslt", "nf4");

enum class CompatMode { kNone, kAxolotl2024 };
template <>
inline constexpr auto kWords<CompatMode> = word_list("none", "axolotl-2024");

enum class OptimizerStart { kFresh, kCarry };
template <>
inline constexpr auto kWords<OptimizerStart> = word_list("fresh", "carry");

enum class OtherBuild { kError, kWarn };
template <>
inline constexpr auto kWords<OtherBuild> = word_list("error", "warn");

// The linear modules of a decoder layer, which can have an adapter.
inline constexpr auto kLoraModules = kLinearNames;

// --- samples ---

// What happens to a conversation of more than sequence_len ids (BOS and EOS included).
enum class OverlongPolicy {
  kRaise,     // E0305 lists all of them
  kSplit,     // cut between blocks; title, tags, lore, descriptions repeated
  kDrop,      // left out, listed in the ledger
  kTruncate,  // cut after the last whole unit that fits
};
template <>
inline constexpr auto kWords<OverlongPolicy> = word_list("raise", "split", "drop", "truncate");

// Whether EOS (id 2) is a target.
enum class TrainOnEos { kAll, kNone };
template <>
inline constexpr auto kWords<TrainOnEos> = word_list("all", "none");

// Where EOS stands: at the end of every sample, of a conversation's last sample, or nowhere.
enum class EosRule { kEnd, kConversation, kNever };
template <>
inline constexpr auto kWords<EosRule> = word_list("end", "conversation", "never");

// --- BlockML ---

// What a segment of a conversation is: one of the seven roles of a block, or an instruction.
enum class Role : std::uint8_t { kTitle, kTags, kLore, kScenario, kDescription, kMessage, kOoc, kInst };
template <>
inline constexpr auto kWords<Role> =
    word_list("title", "tags", "lore", "scenario", "description", "message", "ooc", "inst");
inline constexpr std::size_t kRoleCount = kWords<Role>.size();
inline constexpr std::span<const std::string_view> kBlockRoles{kWords<Role>.data(), kRoleCount - 1};

// The length of a message, `▀message (length: X)`. Only configs and YAML sources use kAuto, which asks for the word
// of the message's own length; the messages of a document never have it.
enum class LengthHint : std::uint8_t {
  kNone,
  kNano,
  kMicro,
  kTiny,
  kShort,
  kMedium,
  kLong,
  kMassive,
  kHuge,
  kEnormous,
  kAuto,
};
template <>
inline constexpr auto kWords<LengthHint> =
    word_list("none", "nano", "micro", "tiny", "short", "medium", "long", "massive", "huge", "enormous", "auto");
// The nine words of BlockML, and those of them that have an upper bound.
inline constexpr std::span<const std::string_view> kLengthWords{kWords<LengthHint>.data() + 1, 9};
inline constexpr std::span<const std::string_view, 8> kBoundedLengths{kWords<LengthHint>.data() + 1, 8};

// The longest message of each bounded word.
using LengthBounds = std::array<std::int64_t, kBoundedLengths.size()>;
inline constexpr LengthBounds kDefaultLengthBounds = {12, 24, 48, 96, 192, 320, 512, 800};

// What the length of a message counts. Words are separated by white space; chars are code points.
enum class LengthUnit { kTokens, kWords, kChars };
template <>
inline constexpr auto kWords<LengthUnit> = word_list("tokens", "words", "chars");

// --- data sets ---

enum class DataType { kBlockml, kBlockmlJsonl, kBlockmlYaml, kCompletion, kTokenized };
template <>
inline constexpr auto kWords<DataType> =
    word_list("blockml", "blockml_jsonl", "blockml_yaml", "completion", "tokenized");

// Quality, in the order in which a recipe trains.
inline constexpr auto kCategories = word_list("low", "mid", "high", "top", "top-pg13");
// Data may have categories of its own. One becomes the name of a stage and of its folder.
constexpr bool is_category_name(std::string_view name) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_. ";
  return !name.empty() && name.size() <= 64 && name.find_first_not_of(kLetters) == std::string_view::npos &&
         name.front() != '.' && name.front() != ' ' && name.back() != ' ';
}

enum class Rating { kPg13, kExplicit, kUnknown };
template <>
inline constexpr auto kWords<Rating> = word_list("pg13", "explicit", "unknown");
inline constexpr auto& kRatings = kWords<Rating>;

// --- lint ---

enum class LintLevel : std::uint8_t { kOff, kInfo, kWarn, kError };
template <>
inline constexpr auto kWords<LintLevel> = word_list("off", "info", "warn", "error");

enum class LintRule : std::uint8_t {
  kThoughts,
  kOnomatopoeia,
  kEmphasis,
  kDialogueQuotes,
  kCurlyQuotes,
  kNondialogueQuotes,
  kCaps,
  kQuotedLines,
  kFences,
  kEmoji,
  kEllipsis,
  kSpacing,
  kUsername,
  kInternalUrl,
  kInlineOoc,
  kNoSpeaker,
  kUnknownSpeaker,
  kNameDrift,
  kTags,
  kTitle,
  kDuplicateDescription,
  kNoEffect,
  kLengthMismatch,
  kInst,
  kU2581,
  kLookalike,
  kMacro,
  kThink,
  kTemplate,
  kRefusal,
  kUrl,
  kHtml,
  kEmail,
  kDoubledSpeaker,
  kOtherSpeaker,
  kRepeatedMessage,
};
template <>
inline constexpr auto kWords<LintRule> =
    word_list("prose/thoughts", "prose/onomatopoeia", "prose/emphasis", "prose/dialogue-quotes", "prose/curly-quotes",
              "prose/nondialogue-quotes", "prose/caps", "prose/quoted-lines", "prose/fences", "prose/emoji",
              "prose/ellipsis", "prose/spacing", "privacy/username", "privacy/internal-url", "ooc/inline",
              "structure/no-speaker", "structure/unknown-speaker", "structure/name-drift", "order/tags", "order/title",
              "order/duplicate-description", "order/no-effect", "length/mismatch", "text/inst", "text/u2581",
              "text/lookalike", "text/macro", "text/think", "text/template", "text/refusal", "text/url", "text/html",
              "privacy/email", "structure/doubled-speaker", "structure/other-speaker", "structure/repeated-message");
inline constexpr std::size_t kLintRuleCount = kWords<LintRule>.size();

}  // namespace shori
