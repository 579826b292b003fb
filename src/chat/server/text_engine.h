// What the server needs of a model: text to ids and back, and replies.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/chat/server/completion_request.h"

namespace shori {

struct ServedModel {
  std::string id;  // no path
  std::int64_t context = 0;
  std::int64_t vocab_size = 0;
  std::string chat_template = {};
};

struct EngineTask {
  std::span<const std::int32_t> prompt;
  std::int64_t max_tokens = 0;
  std::span<const std::string> stops;
  SamplerSettings sampler = {};
  bool ignore_eos = false;
  std::uint64_t seed = 0;
  std::uint32_t reply = 0;  // several replies to one prompt differ by it
};

enum class EngineStop { kEnd, kWord, kLimit, kCancelled };

struct EngineResult {
  EngineStop stop = EngineStop::kLimit;
  std::string stop_word = {};  // of kWord
  std::vector<std::int32_t> ids = {};
};

// Gets the next part of a reply, and how many tokens were drawn so far; returns whether to go on.
using TakePart = std::function<bool(std::string_view part, std::int64_t tokens)>;

class TextEngine {
 public:
  virtual ~TextEngine() = default;

  virtual const ServedModel& model() const = 0;
  // Called from several threads at once. The ids of `text` without BOS; `text` is UTF-8.
  virtual std::vector<std::int32_t> tokenize(std::string_view text) const = 0;
  virtual std::int32_t bos_id() const = 0;
  // The bytes of the ids one after the other, of which those of one id need not be whole characters.
  virtual std::string bytes_of(std::span<const std::int32_t> ids) const = 0;

  // Called from one thread at a time. `on_part` gets the text in parts of whole characters, without the end of the reply
  // and stop strings. `cancelled` is asked during the prompt and between tokens.
  virtual EngineResult generate(const EngineTask& task, const TakePart& on_part,
                                const std::function<bool()>& cancelled) = 0;
};

}  // namespace shori
