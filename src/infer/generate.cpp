#include "shori/infer/generate.h"

#include <algorithm>
#include <optional>

#include "shori/data/token_text.h"
#include "shori/util/error.h"
#include "shori/util/text.h"
#include "src/infer/stop_filter.h"

namespace shori {
namespace {

std::optional<StopReason> stop_of(std::int32_t id, const Tokenizer& tokenizer) {
  if (id == tokenizer.close_id()) return StopReason::kBlockEnd;
  if (id == tokenizer.eos_id()) return StopReason::kEos;
  if (id == tokenizer.open_id()) return StopReason::kNextBlock;
  return std::nullopt;
}

class Generation {
 public:
  Generation(LanguageModel& model, const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
             const GenerateOptions& options, const GenerateEvents& events)
      : model_(model),
        tokenizer_(tokenizer),
        options_(options),
        events_(events),
        sampler_(options.sampler, options.seed, options.reply),
        decoder_(tokenizer, prompt.empty()),
        filter_(options.stop_strings) {
    if (options.bos) context_.push_back(tokenizer.bos_id());
    context_.insert(context_.end(), prompt.begin(), prompt.end());
    SHORI_CHECK(!context_.empty(), "a prompt without ids");
  }

  Reply run() {
    check_room();
    reply_.stop = draw_tokens();
    // The bytes of a character that is not whole are dropped.
    if (reply_.stop != StopReason::kStopString && reply_.stop != StopReason::kCancelled) show(filter_.finish());
    return std::move(reply_);
  }

 private:
  void check_room() const {
    const auto size = static_cast<std::int64_t>(context_.size());
    if (size < model_.context_length()) return;
    throw Error(Diagnostic("E0409", concat("the prompt has ", size, " tokens, and the context ",
                                           model_.context_length(), ": no room for a reply"))
                    .help("a shorter prompt, or a larger `--context`"));
  }

  bool cancelled() const { return events_.cancelled && events_.cancelled(); }

  bool show(const std::string& text) {
    reply_.text += text;
    return text.empty() || !events_.text || events_.text(text, std::ssize(reply_.ids));
  }

  // Logits of the tokenizer's ids: some models have rows for more.
  std::span<const float> known(std::span<const float> logits) const {
    return logits.first(std::min(logits.size(), static_cast<std::size_t>(tokenizer_.vocab_size())));
  }

  StopReason draw_tokens() {
    const auto room = model_.context_length() - static_cast<std::int64_t>(context_.size());
    const std::int64_t limit = std::min(options_.max_tokens, room);
    if (limit <= 0) return StopReason::kLength;
    if (cancelled()) return StopReason::kCancelled;
    std::span<const float> logits = model_.prefill(context_, [this] { return cancelled(); });
    for (std::int64_t count = 0; !logits.empty(); ++count) {
      const std::int32_t id = sampler_.next(known(logits), context_);
      if (const auto stop = stop_of(id, tokenizer_); stop && options_.stop_at_blocks) return *stop;
      context_.push_back(id);
      reply_.ids.push_back(id);
      if (!show(filter_.append(decoder_.append(id)))) return StopReason::kCancelled;
      if (filter_.stopped()) return StopReason::kStopString;
      if (count + 1 == limit) return StopReason::kLength;
      if (cancelled()) return StopReason::kCancelled;
      logits = model_.append(id);
    }
    return StopReason::kCancelled;
  }

  LanguageModel& model_;
  const Tokenizer& tokenizer_;
  const GenerateOptions& options_;
  const GenerateEvents& events_;
  Sampler sampler_;
  TokenTextDecoder decoder_;
  StopFilter filter_;
  std::vector<std::int32_t> context_;  // prompt and reply
  Reply reply_;
};

}  // namespace

Reply generate(LanguageModel& model, const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const GenerateEvents& events) {
  return Generation(model, tokenizer, prompt, options, events).run();
}

}  // namespace shori
