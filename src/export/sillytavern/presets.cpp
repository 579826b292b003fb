#include "src/export/sillytavern/presets.h"

#include "shori/data/blockml.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr const char* kContextName = "BlockML";

// `text` only if the variable is not empty.
std::string if_present(std::string_view variable, std::string_view text) {
  return concat("{{#if ", variable, "}}", text, "{{/if}}");
}

std::string block_if_present(std::string_view variable, Role role, std::string_view body) {
  return if_present(variable, concat(block_head(role), body, kBlockEnd));
}

// The order of the card's template. Each part ends with its own newline, so that nothing remains of an empty one.
std::string story_string() {
  return concat(if_present("anchorBefore", "{{anchorBefore}}\n"),
                block_if_present("wiBefore", Role::kLore, "{{wiBefore}}"),
                block_if_present("description", Role::kDescription, "{{char}}\n{{description}}"),
                block_if_present("personality", Role::kDescription, "{{char}}'s personality: {{personality}}"),
                block_if_present("persona", Role::kDescription, "{{user}}\n{{persona}}"),
                block_if_present("scenario", Role::kScenario, "{{scenario}}"),
                block_if_present("wiAfter", Role::kLore, "{{wiAfter}}"), if_present("system", "{{system}}\n"),
                if_present("anchorAfter", "{{anchorAfter}}\n"));
}

}  // namespace

std::string instruct_name(LengthHint hint) {
  return hint == LengthHint::kMedium ? kContextName : concat(kContextName, " ", length_name(hint));
}

Json instruct_preset(LengthHint hint, const std::string& model_pattern) {
  const std::string message = block_head(Role::kMessage);
  // `names` and `names_force_groups` are read by versions before `names_behavior`.
  return {{"name", instruct_name(hint)},
          {"input_sequence", message},
          {"output_sequence", message},
          {"last_output_sequence", block_head(Role::kMessage, hint)},
          {"input_suffix", kBlockEnd},
          {"output_suffix", kBlockEnd},
          {"system_sequence", kInstBegin},
          {"system_suffix", kInstEnd},
          {"stop_sequence", kBlockClose},
          {"wrap", false},
          {"macro", true},
          {"names_behavior", "always"},
          {"names", true},
          {"names_force_groups", true},
          {"sequences_as_stop_strings", false},
          {"system_same_as_user", false},
          {"skip_examples", false},
          {"activation_regex", model_pattern},
          {"first_output_sequence", ""},
          {"first_input_sequence", ""},
          {"last_input_sequence", ""},
          {"last_system_sequence", ""},
          {"story_string_prefix", ""},
          {"story_string_suffix", ""},
          {"user_alignment_message", ""}};
}

Json context_preset() {
  // Without a position, newer versions take the template for an old one and add anchors of their own.
  return {{"name", kContextName},       {"story_string", story_string()}, {"example_separator", ""},
          {"chat_start", ""},           {"story_string_position", 0},     {"story_string_depth", 1},
          {"story_string_role", 0},     {"use_stop_strings", false},      {"names_as_stop_strings", false},
          {"always_force_name2", true}, {"trim_sentences", false},        {"single_line", false}};
}

Json system_prompt() {
  return {{"name", concat(kContextName, " - reverse jailbreak")},
          {"content", std::string(trim(concat(kInstBegin, kReverseJailbreak, kInstEnd)))},
          {"post_history", ""}};
}

Json master_preset(const std::string& model_pattern) {
  Json sampler = {{"name", sampler_name(SamplerPreset::kMain)}};
  sampler.update(sampler_preset(SamplerPreset::kMain));
  return {{"instruct", instruct_preset(LengthHint::kMedium, model_pattern)},
          {"context", context_preset()},
          {"sysprompt", system_prompt()},
          {"preset", std::move(sampler)}};
}

}  // namespace shori
