// A completion as a client asks for it, in llama.cpp's or OpenAI's form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shori/infer/sampler.h"

namespace shori {

enum class Interface { kLlama, kOpenAi };

inline constexpr std::int64_t kMaxChoices = 8;
inline constexpr std::size_t kMaxStops = 64;
inline constexpr std::size_t kMaxStopBytes = 1024;

using Prompt = std::variant<std::string, std::vector<std::int32_t>>;  // text, or ids that are taken as they are

struct CompletionRequest {
  Prompt prompt = {};
  std::int64_t max_tokens = -1;  // -1: until the context is full
  std::vector<std::string> stops = {};
  std::optional<std::uint64_t> seed = {};  // none: a random one
  std::int64_t choices = 1;
  bool stream = false;
  bool stream_usage = false;  // OpenAI: a last chunk with the numbers of tokens
  bool ignore_eos = false;    // ends of replies are written on
  bool return_tokens = false;
  SamplerSettings sampler = {};
  std::vector<std::string> ignored = {};  // what was asked for and has no effect, for the log
};

// Reads the body of a request. Ids are checked against `vocab_size`. RequestError 400 names the field.
CompletionRequest parse_completion_request(std::string_view body, Interface interface, std::int64_t vocab_size);

}  // namespace shori
