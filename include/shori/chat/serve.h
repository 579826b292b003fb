// shori-chat --serve: a model for the clients of llama.cpp's server and of OpenAI's completions, such as SillyTavern.
#pragma once

#include <cstddef>
#include <string>

#include "shori/data/tokenizer.h"
#include "shori/infer/language_model.h"

namespace shori {

struct ServeOptions {
  std::string address;            // [HOST:]PORT
  std::string api_key_file = {};  // empty: no key; needed where other machines can connect
  std::size_t most_waiting = 64;  // requests that wait for their turn; further ones get 503
};

// Refuses what cannot be served with before a model is loaded. E0108, E0116, E0120.
void check_serve_options(const ServeOptions& options);

// Serves until a stop is requested (signals.h). `name` is that of the run; no path. Generates on the calling thread.
void serve(LanguageModel& model, const Tokenizer& tokenizer, const std::string& name, const ServeOptions& options);

}  // namespace shori
