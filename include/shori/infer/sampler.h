// From logits to the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace shori {

struct SamplerSettings {
  float temperature = 1.0f;  // <= 0: the largest logit
  bool temperature_last = false;
  std::int64_t top_k = 0;           // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // <= 0: off
  float repetition_penalty = 1.0f;  // finite and above 0; 1: off
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::int64_t penalty_window = 2048;  // last ids of prompt and reply that penalties count; 0: off; -1: the context
  int mirostat = 0;                    // 0 or 2; 2: temperature, then Mirostat alone
  float mirostat_tau = 5.0f;
  float mirostat_eta = 0.1f;
};

}  // namespace shori
