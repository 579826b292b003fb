#include "src/export/gguf/gguf_metadata.h"

#include <set>

#include "shori/export/chat_template.h"
#include "shori/infer/sampler_presets.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr float kPadScore = -10000.0f;

std::uint32_t u32(std::int64_t value) { return static_cast<std::uint32_t>(value); }

std::uint32_t file_type(GgufModelType type) {
  switch (type) {
    case GgufModelType::kF32:
      return 0;
    case GgufModelType::kF16:
      return 1;
    case GgufModelType::kBf16:
      return 32;
    case GgufModelType::kQ8_0:
      break;
  }
  return 7;
}

void add_base(const std::string& base_name, GgufEntries& entries) {
  if (base_name.empty()) return;
  const std::size_t slash = base_name.find('/');
  entries.emplace_back("general.base_model.count", std::uint32_t{1});
  entries.emplace_back("general.base_model.0.name", base_name.substr(slash == std::string::npos ? 0 : slash + 1));
  if (slash == std::string::npos) return;
  entries.emplace_back("general.base_model.0.organization", base_name.substr(0, slash));
  entries.emplace_back("general.base_model.0.repo_url", "https://huggingface.co/" + base_name);
}

// top-k and top-p of `main` are neutral, because llama.cpp's own defaults would act beside min-p.
void add_sampling(GgufSampling sampling, GgufEntries& entries) {
  if (sampling == GgufSampling::kNone) return;
  const bool is_main = sampling == GgufSampling::kMain;
  const SamplerSettings preset = preset_settings(is_main ? SamplerPreset::kMain : SamplerPreset::kAlternative2);
  entries.emplace_back("general.sampling.temp", preset.temperature);
  if (is_main) {
    entries.emplace_back("general.sampling.min_p", preset.min_p);
    entries.emplace_back("general.sampling.top_k", static_cast<std::int32_t>(preset.top_k));
    entries.emplace_back("general.sampling.top_p", preset.top_p);
  } else {
    entries.emplace_back("general.sampling.mirostat", std::int32_t{preset.mirostat});
    entries.emplace_back("general.sampling.mirostat_tau", preset.mirostat_tau);
    entries.emplace_back("general.sampling.mirostat_eta", preset.mirostat_eta);
  }
}

void add_shape(const HfModelConfig& config, GgufEntries& entries) {
  entries.emplace_back("llama.block_count", u32(config.layers));
  entries.emplace_back("llama.context_length", u32(config.max_position_embeddings));
  entries.emplace_back("llama.embedding_length", u32(config.hidden_size));
  entries.emplace_back("llama.feed_forward_length", u32(config.intermediate_size));
  entries.emplace_back("llama.attention.head_count", u32(config.heads));
  entries.emplace_back("llama.attention.head_count_kv", u32(config.kv_heads));
  entries.emplace_back("llama.attention.key_length", u32(config.head_dim));
  entries.emplace_back("llama.attention.value_length", u32(config.head_dim));
  entries.emplace_back("llama.attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  entries.emplace_back("llama.rope.freq_base", static_cast<float>(config.rope_theta));
  entries.emplace_back("llama.rope.dimension_count", u32(config.head_dim));
  entries.emplace_back("llama.vocab_size", u32(config.vocab_size));
}

// Pieces as in tokenizer.model; ids beyond them are unused. `▄` stays a normal piece: as a control piece it would split
// the text, and a wrong token would follow it.
void add_pieces(const TokenizerModel& tokenizer, std::int64_t vocab_size, GgufEntries& entries) {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  for (const TokenizerPiece& piece : tokenizer.pieces) {
    texts.push_back(piece.text);
    scores.push_back(piece.score);
    types.push_back(static_cast<std::int32_t>(piece.type));
  }
  for (std::int64_t id = std::ssize(texts); id < vocab_size; ++id) {
    texts.push_back(concat("[PAD", id, "]"));
    scores.push_back(kPadScore);
    types.push_back(static_cast<std::int32_t>(PieceType::kUnused));
  }
  std::set<std::string_view> known;
  for (std::size_t id = 0; id < texts.size(); ++id)
    if (texts[id].empty() || !known.insert(texts[id]).second)
      throw Error(Diagnostic("E0211", concat("piece ", id,
                                             " of the tokenizer is empty or occurs twice, which "
                                             "llama.cpp does not load")));
  entries.emplace_back("tokenizer.ggml.tokens", std::move(texts));
  entries.emplace_back("tokenizer.ggml.scores", std::move(scores));
  entries.emplace_back("tokenizer.ggml.token_type", std::move(types));
}

void add_tokenizer(const GgufFacts& facts, GgufEntries& entries) {
  const TokenizerModel& tokenizer = facts.tokenizer;
  entries.emplace_back("tokenizer.ggml.model", "llama");
  entries.emplace_back("tokenizer.ggml.pre", "default");
  add_pieces(tokenizer, facts.config.vocab_size, entries);
  entries.emplace_back("tokenizer.ggml.bos_token_id", u32(tokenizer.bos_id));
  entries.emplace_back("tokenizer.ggml.eos_token_id", u32(tokenizer.eos_id));
  entries.emplace_back("tokenizer.ggml.unknown_token_id", u32(tokenizer.unk_id));
  if (facts.eot == GgufEot::kBlockEnd) entries.emplace_back("tokenizer.ggml.eot_token_id", u32(tokenizer.close_id));
  entries.emplace_back("tokenizer.ggml.add_bos_token", true);
  entries.emplace_back("tokenizer.ggml.add_eos_token", false);
  entries.emplace_back("tokenizer.ggml.add_space_prefix", true);
  entries.emplace_back("tokenizer.chat_template", std::string(kChatTemplate));
}

}  // namespace

std::string size_label(std::int64_t parameters) {
  constexpr std::int64_t kThousand = 1000, kMillion = 1'000'000, kBillion = 1'000'000'000;
  if (parameters >= kBillion) return concat((parameters + kBillion / 2) / kBillion, "B");
  if (parameters >= kMillion) return concat((parameters + kMillion / 2) / kMillion, "M");
  return concat((parameters + kThousand / 2) / kThousand, "K");
}

GgufEntries model_entries(const GgufFacts& facts) {
  GgufEntries entries;
  entries.emplace_back("general.architecture", "llama");
  entries.emplace_back("general.type", "model");
  entries.emplace_back("general.name", facts.name);
  entries.emplace_back("general.size_label", size_label(facts.parameters));
  if (!facts.license.empty()) entries.emplace_back("general.license", facts.license);
  if (!facts.license_link.empty()) entries.emplace_back("general.license.link", facts.license_link);
  add_base(facts.base_name, entries);
  entries.emplace_back("general.tags", std::vector<std::string>{"text-generation"});
  if (!facts.languages.empty()) entries.emplace_back("general.languages", facts.languages);
  entries.emplace_back("general.file_type", file_type(facts.type));
  if (facts.type == GgufModelType::kQ8_0) entries.emplace_back("general.quantization_version", std::uint32_t{2});
  add_sampling(facts.sampling, entries);
  add_shape(facts.config, entries);
  add_tokenizer(facts, entries);
  return entries;
}

GgufEntries lora_entries(const std::string& name, const std::string& base_name, float alpha) {
  GgufEntries entries;
  entries.emplace_back("general.architecture", "llama");
  entries.emplace_back("general.type", "adapter");
  entries.emplace_back("adapter.type", "lora");
  entries.emplace_back("adapter.lora.alpha", alpha);
  entries.emplace_back("general.name", name);
  add_base(base_name, entries);
  return entries;
}

}  // namespace shori
