// The files beside the weights of an exported model: tokenizer, chat template, generation settings.
#pragma once

#include <string>
#include <string_view>

#include "shori/export/merge.h"

namespace shori {

// Copies the tokenizer files of the model folder `base` to `folder`, with the chat template of chat_template.h instead of
// the base's, makes a tokenizer.json where there is none, and writes generation_config.json with `</s>` and `▄` as end
// ids. A base without a tokenizer that BlockML can be written with keeps its templates and settings. W0801 for a tokenizer.json whose ids would not be
// those of training, E0804 for a tokenizer_config.json that is not a JSON object.
void write_model_extras(const std::string& base, const std::string& folder, SamplingDefaults sampling);

// `text`, a JSON object, with the member `key` replaced, or appended if it is absent; all else is kept byte for byte.
// `value` is JSON. Throws E0804 if `text` is not an object; `name` is shown in the message.
std::string with_json_member(std::string_view text, std::string_view key, std::string_view value,
                             const std::string& name);

// tokenizer_config.json with the chat template replaced; in a list of named templates only the one named `default`.
std::string with_chat_template(std::string_view tokenizer_config, const std::string& name);

// Keys sorted, indent 2. `base` is the base's generation_config.json (empty: none), `config` its config.json. Every key
// but `_from_model_config` is kept, and `end_id` joins the end ids.
std::string generation_config(std::string_view base, std::string_view config, std::int32_t end_id,
                              SamplingDefaults sampling);

}  // namespace shori
