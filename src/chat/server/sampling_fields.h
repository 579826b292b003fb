// Sampler settings of a request, under the names that llama.cpp, OpenAI and the programs around them use.
#pragma once

#include <string>
#include <vector>

#include "shori/infer/sampler.h"
#include "src/chat/server/request_fields.h"

namespace shori {

struct SamplingFields {
  SamplerSettings settings;
  std::vector<std::string> ignored;  // samplers that the request turns on and that do not exist here
};

// A setting that is missing is off, and temperature is 1. `temperature_last` is where temperature stands if neither
// `samplers` nor `temperature_last` says so. As in llama.cpp, a sampler that the list `samplers` leaves out is off.
// RequestError for a value that cannot be used, and for an order of `samplers` that would give another result than the
// two orders that exist.
SamplingFields read_sampling_fields(const RequestFields& fields, bool temperature_last);

}  // namespace shori
