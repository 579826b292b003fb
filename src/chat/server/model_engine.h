// The server's model: a LanguageModel and its tokenizer.
#pragma once

#include <string>
#include <utility>

#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"
#include "src/chat/server/model_thread.h"
#include "src/chat/server/text_engine.h"

namespace shori {

class ModelEngine : public TextEngine {
 public:
  // Generates by `thread`. `name` becomes the id of the model; SillyTavern's presets know a model by the word shori in it.
  ModelEngine(LanguageModel& model, const Tokenizer& tokenizer, const std::string& name, ModelThread& thread);

  const ServedModel& model() const override { return served_; }
  std::vector<std::int32_t> tokenize(std::string_view text) const override { return tokenizer_.encode(text); }
  std::int32_t bos_id() const override { return tokenizer_.bos_id(); }
  std::string bytes_of(std::span<const std::int32_t> ids) const override;
  EngineResult generate(const EngineTask& task, const TakePart& on_part,
                        const std::function<bool()>& cancelled) override;

 private:
  LanguageModel& model_;
  const Tokenizer& tokenizer_;
  ModelThread& thread_;
  ServedModel served_;
};

}  // namespace shori
