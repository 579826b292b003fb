#include "src/train/step/samples.h"

#include "shori/infer/generate.h"
#include "shori/infer/rates.h"
#include "shori/infer/sampler_presets.h"
#include "shori/util/signals.h"
#include "src/train/plan/sample_prompts.h"

namespace shori {
namespace {

SampleMetrics metrics_of(const PreparedStage& stage, std::uint64_t step, const SamplePrompt& prompt,
                         SamplerPreset preset, const Reply& reply) {
  const ReplyRates rates = rate_reply(*stage.base->tokenizer, prompt.text, prompt.ids, reply);
  return {.stage = stage.name,
          .step = step,
          .prompt = prompt.name,
          .preset = std::string(word_of(preset)),
          .seed = stage.config.seed,
          .hint = length_name(rates.hint),
          .bucket = length_name(rates.bucket),
          .tokens = std::ssize(reply.ids),
          .stop = std::string(word_of(reply.stop)),
          .impersonated = rates.impersonated,
          .repetition = rates.repetition,
          .text = reply.text};
}

}  // namespace

std::optional<std::vector<SampleMetrics>> write_samples(CachedModel& model, const PreparedStage& stage,
                                                        std::uint64_t step) {
  model.forget();  // the weights have changed
  std::vector<SampleMetrics> samples;
  for (const SamplePrompt& prompt : stage.sample_prompts) {
    for (const SamplerPreset preset : kSamplerPresets) {
      const Reply reply = generate(model, *stage.base->tokenizer, prompt.ids,
                                   {.sampler = preset_settings(preset),
                                    .seed = static_cast<std::uint64_t>(stage.config.seed),
                                    .max_tokens = stage.config.sample_max_tokens},
                                   {.cancelled = stop_requested});
      if (reply.stop == StopReason::kCancelled) return std::nullopt;
      samples.push_back(metrics_of(stage, step, prompt, preset, reply));
    }
  }
  return samples;
}

}  // namespace shori
