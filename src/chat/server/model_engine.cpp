#include "src/chat/server/model_engine.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "shori/data/token_text.h"
#include "shori/export/chat_template.h"
#include "shori/infer/generate.h"
#include "shori/util/text.h"

namespace shori {
namespace {

std::string model_id(const std::string& name) {
  return lower_ascii(name).find("shori") == std::string::npos ? concat("shori-", name) : name;
}

// The model without the ids that end a reply, as llama.cpp has it for `ignore_eos`.
class EndlessModel : public LanguageModel {
 public:
  EndlessModel(LanguageModel& model, const Tokenizer& tokenizer)
      : model_(model), ends_{tokenizer.eos_id(), tokenizer.close_id()} {}

  std::int64_t vocab_size() const override { return model_.vocab_size(); }
  std::int64_t context_length() const override { return model_.context_length(); }
  std::span<const float> prefill(std::span<const std::int32_t> ids, const std::function<bool()>& stop) override {
    return without_ends(model_.prefill(ids, stop));
  }
  std::span<const float> append(std::int32_t id) override { return without_ends(model_.append(id)); }

 private:
  std::span<const float> without_ends(std::span<const float> logits) {
    logits_.assign(logits.begin(), logits.end());
    if (logits_.empty()) return {};
    for (const std::int32_t end : ends_)
      logits_[static_cast<std::size_t>(end)] = -std::numeric_limits<float>::infinity();
    return logits_;
  }

  LanguageModel& model_;
  std::int32_t ends_[2];
  std::vector<float> logits_;
};

// The stop string that `text` holds first.
std::string first_stop(std::span<const std::string> stops, std::string_view text) {
  std::size_t first = std::string_view::npos;
  std::string word;
  for (const std::string& stop : stops) {
    const std::size_t at = text.find(stop);
    if (at < first) first = at, word = stop;
  }
  return word;
}

EngineResult result_of(Reply reply, std::string stop_word) {
  EngineResult result{.ids = std::move(reply.ids)};
  switch (reply.stop) {
    case StopReason::kBlockEnd:
    case StopReason::kEos:
      result.stop = EngineStop::kEnd;
      break;
    case StopReason::kNextBlock:
      result.stop = EngineStop::kWord;
      result.stop_word = "▀";
      break;
    case StopReason::kStopString:
      result.stop = EngineStop::kWord;
      result.stop_word = std::move(stop_word);
      break;
    case StopReason::kLength:
      result.stop = EngineStop::kLimit;
      break;
    case StopReason::kCancelled:
      result.stop = EngineStop::kCancelled;
      break;
  }
  return result;
}

}  // namespace

ModelEngine::ModelEngine(LanguageModel& model, const Tokenizer& tokenizer, const std::string& name, ModelThread& thread)
    : model_(model),
      tokenizer_(tokenizer),
      thread_(thread),
      served_{.id = model_id(name),
              .context = model.context_length(),
              .vocab_size = std::min(model.vocab_size(), tokenizer.vocab_size()),
              .chat_template = std::string(kChatTemplate)} {}

std::string ModelEngine::bytes_of(std::span<const std::int32_t> ids) const {
  std::string bytes;
  for (const std::int32_t id : ids) bytes += piece_bytes(tokenizer_, id);
  return bytes;
}

EngineResult ModelEngine::generate(const EngineTask& task, const TakePart& on_part,
                                   const std::function<bool()>& cancelled) {
  const GenerateOptions options{.sampler = task.sampler,
                                .seed = task.seed,
                                .reply = task.reply,
                                .max_tokens = task.max_tokens,
                                .stop_strings = {task.stops.begin(), task.stops.end()},
                                .bos = false};
  EndlessModel endless(model_, tokenizer_);
  LanguageModel& model = task.ignore_eos ? static_cast<LanguageModel&>(endless) : model_;
  Reply reply;
  thread_.call([&] {
    reply = shori::generate(model, tokenizer_, task.prompt, options, {.text = on_part, .cancelled = cancelled});
  });
  std::string word;
  if (reply.stop == StopReason::kStopString) word = first_stop(task.stops, decode_ids(tokenizer_, reply.ids, false));
  return result_of(std::move(reply), std::move(word));
}

}  // namespace shori
