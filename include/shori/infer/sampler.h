// From logits to the next token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace shori {

struct SamplerSettings {
  float temperature = 1.0f;  // <= 0: the largest logit
  bool temperature_last = false;
  std::int64_t top_k = 0;           // <= 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // <= 0: off
  float repetition_penalty = 1.0f;  // finite and above 0; 1: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::int64_t penalty_window = 2048;  // last ids of prompt and reply that penalties count; 0: off; -1: the context
  int mirostat = 0;                    // 0 or 2; 2: temperature, then Mirostat alone
  float mirostat_tau = 5.0f;
  float mirostat_eta = 0.1f;

  bool operator==(const SamplerSettings&) const = default;
};

// A setting that cannot be used: the member's name, and what it has to be ("at least 0 and at most 1").
struct SettingProblem {
  const char* name;
  const char* demand;
};
// The first problem of `settings`, in the order of the members.
std::optional<SettingProblem> find_setting_problem(const SamplerSettings& settings);

// Chooses the ids of one reply. The order of the steps is penalties, temperature, top-k, top-p, min-p, draw; with
// `temperature_last` temperature comes after min-p; with Mirostat 2 there are only temperature and Mirostat. Ids and
// probabilities are those of llama.cpp's samplers (b10256). A draw is a function of the seed, the number of the reply
// and the number of the token in it: Philox4x32-10 with counter (token, reply, 0, 0x53414D50).
class Sampler {
 public:
  // `settings` have no problem.
  Sampler(const SamplerSettings& settings, std::uint64_t seed, std::uint32_t reply);

  // The id after `context`, all ids of prompt and reply; logits [vocab]. Counts the tokens of the reply by its calls. A
  // NaN or +Inf among the logits is E0606, as is a row without a finite one.
  std::int32_t next(std::span<const float> logits, std::span<const std::int32_t> context);

 private:
  SamplerSettings settings_;
  std::uint64_t seed_;
  std::uint32_t reply_;
  std::uint32_t token_ = 0;
  double mu_;  // of Mirostat
  std::vector<float> logits_;
};

}  // namespace shori
