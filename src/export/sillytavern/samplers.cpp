// The card's three settings as text-completion presets.
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "src/export/sillytavern/presets.h"

namespace shori {
namespace {

// Every sampler at the value that does nothing.
Json neutral_samplers() {
  Json json;
  for (const char* key : {"top_k",          "top_a",
                          "min_p",          "nsigma",
                          "min_keep",       "epsilon_cutoff",
                          "eta_cutoff",     "xtc_probability",
                          "rep_pen_range",  "rep_pen_decay",
                          "rep_pen_size",   "freq_pen",
                          "presence_pen",   "no_repeat_ngram_size",
                          "dry_multiplier", "dry_penalty_last_n",
                          "mirostat_mode",  "penalty_alpha",
                          "min_length",     "smoothing_factor",
                          "min_temp",       "skew"})
    json[key] = 0;
  for (const char* key : {"temp", "top_p", "tfs", "typical_p", "rep_pen", "rep_pen_slope", "encoder_rep_pen",
                          "smoothing_curve", "dynatemp_exponent", "num_beams", "length_penalty", "guidance_scale"})
    json[key] = 1;
  json["max_temp"] = 2;
  json["xtc_threshold"] = 0.1;
  json["dry_base"] = 1.75;
  json["dry_allowed_length"] = 2;
  json["mirostat_tau"] = 5;
  json["mirostat_eta"] = 0.1;
  for (const char* key : {"dynatemp", "early_stopping", "ban_eos_token", "ignore_eos_token", "speculative_ngram"})
    json[key] = false;
  // The samples of training begin with BOS.
  for (const char* key : {"do_sample", "skip_special_tokens", "spaces_between_special_tokens", "add_bos_token"})
    json[key] = true;
  for (const char* key : {"negative_prompt", "grammar_string", "banned_tokens"}) json[key] = "";
  json["logit_bias"] = Json::array();
  return json;
}

// The decimal number that `value` was written as, if it is not the neutral one.
void set_number(Json& json, const char* key, float value) {
  if (value != json[key].get<float>()) json[key] = decimal_of(value);
}

// Where temperature stands: `samplers` is read by llama.cpp, `sampler_order` by KoboldCpp (5 is temperature), the flag by
// text-generation-webui.
void set_order(Json& json, bool temperature_last) {
  json["temperature_last"] = temperature_last;
  json["samplers"] =
      temperature_last
          ? Json{"penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"}
          : Json{"penalties", "dry", "temperature", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc"};
  json["sampler_order"] = temperature_last ? Json{6, 0, 1, 3, 4, 2, 5} : Json{6, 5, 0, 1, 3, 4, 2};
}

}  // namespace

std::string sampler_name(SamplerPreset preset) {
  return preset == SamplerPreset::kMain ? "ShoriRP main" : concat("ShoriRP alternative ", static_cast<int>(preset));
}

Json sampler_preset(SamplerPreset preset) {
  const SamplerSettings settings = preset_settings(preset);
  Json json = neutral_samplers();
  set_number(json, "temp", settings.temperature);
  set_number(json, "min_p", settings.min_p);
  set_number(json, "presence_pen", settings.presence_penalty);
  set_number(json, "freq_pen", settings.frequency_penalty);
  set_number(json, "mirostat_tau", settings.mirostat_tau);
  set_number(json, "mirostat_eta", settings.mirostat_eta);
  json["mirostat_mode"] = settings.mirostat;
  // With a range of 0, llama.cpp and KoboldCpp leave all penalties out.
  json["rep_pen_range"] = settings.penalty_window;
  set_order(json, settings.temperature_last);
  return json;
}

}  // namespace shori
