#include "src/chat/server/completion_request.h"

#include <limits>

#include "shori/util/text.h"
#include "src/chat/server/http/request_error.h"
#include "src/chat/server/request_fields.h"
#include "src/chat/server/sampling_fields.h"
#include "src/chat/server/token_list.h"

namespace shori {
namespace {

constexpr std::int64_t kMostTokens = std::numeric_limits<std::int32_t>::max();

bool is_number(const JsonValue& value) { return value.kind == JsonValue::Kind::kNumber; }

Prompt read_prompt(const JsonValue& value, std::int64_t vocab_size) {
  if (value.is_string()) return value.text;
  if (!value.is_array() || value.items.empty())
    refuse_field("prompt", "has to be a string or a list of token ids that is not empty");
  const JsonValue& first = value.items.front();
  // Clients that can send several prompts wrap a single one.
  if (value.items.size() == 1 && !is_number(first)) {
    if (first.is_array() && !first.items.empty() && is_number(first.items.front()))
      return read_token_ids(first, "prompt", vocab_size);
    if (first.is_string()) return first.text;
  }
  for (const JsonValue& item : value.items) {
    if (is_number(item) == is_number(first)) continue;
    refuse_field("prompt", "strings and token ids cannot be mixed: send one string, or ids only");
  }
  if (!is_number(first)) refuse_field("prompt", "one prompt a request: send a string or one list of token ids");
  return read_token_ids(value, "prompt", vocab_size);
}

std::vector<std::string> read_stops(const RequestFields& fields) {
  const JsonValue* field = fields.find("stop");
  if (!field) return {};
  std::vector<std::string> stops;
  const auto add = [&stops](const JsonValue& item) {
    if (!item.is_string()) refuse_field("stop", "has to be a string or a list of strings");
    if (item.text.size() > kMaxStopBytes)
      refuse_field("stop", concat("a stop string has at most ", kMaxStopBytes, " bytes"));
    if (!item.text.empty()) stops.push_back(item.text);
  };
  if (field->is_array()) {
    for (const JsonValue& item : field->items) add(item);
  } else {
    add(*field);
  }
  if (stops.size() > kMaxStops) refuse_field("stop", concat("at most ", kMaxStops, " stop strings"));
  return stops;
}

// Clients send the empty value of a field's type for a field that they do not use.
bool is_empty_text(const JsonValue& value) { return value.is_string() && value.text.empty(); }
bool is_empty_object(const JsonValue& value) { return value.is_object() && value.members.empty(); }
bool is_empty_list(const JsonValue& value) { return value.is_array() && value.items.empty(); }

// What changes the text, so that ignoring it would give a wrong answer.
void refuse_what_is_missing(const RequestFields& fields) {
  constexpr const char* kMissing = "does not exist here; leave it out";
  for (const char* name : {"grammar", "grammar_string", "guided_grammar", "suffix"}) {
    const JsonValue* field = fields.find(name);
    if (field && !is_empty_text(*field)) refuse_field(name, kMissing);
  }
  for (const char* name : {"json_schema", "guided_json"}) {
    const JsonValue* field = fields.find(name);
    if (field && !is_empty_object(*field)) refuse_field(name, kMissing);
  }
  const JsonValue* bias = fields.find("logit_bias");
  if (bias && !is_empty_object(*bias) && !is_empty_list(*bias)) refuse_field("logit_bias", kMissing);
  if (fields.boolean("echo").value_or(false)) refuse_field("echo", "does not exist here; send false or leave it out");
  const JsonValue* format = fields.find("response_format");
  const JsonValue* type = format ? format->find("type") : nullptr;
  if (format && (!type || type->text != "text")) refuse_field("response_format", kMissing);
}

void note_probabilities(const RequestFields& fields, std::vector<std::string>& ignored) {
  for (const char* name : {"n_probs", "logprobs"}) {
    const JsonValue* field = fields.find(name);
    if (field && field->text != "0" && (is_number(*field) || field->boolean)) ignored.emplace_back(name);
  }
}

void read_llama_fields(const RequestFields& fields, CompletionRequest& request) {
  request.max_tokens = fields.integer({"n_predict", "max_tokens"}, -2, kMostTokens).value_or(-1);
  request.return_tokens = fields.boolean("return_tokens").value_or(false);
  fields.boolean("cache_prompt");  // what was computed for the same first ids is always used again
}

void read_openai_fields(const RequestFields& fields, CompletionRequest& request) {
  constexpr std::int64_t kDefaultTokens = 16;  // of OpenAI's interface
  request.max_tokens =
      fields.integer({"max_tokens", "n_predict", "max_new_tokens"}, -1, kMostTokens).value_or(kDefaultTokens);
  request.choices = fields.integer({"n"}, 1, kMaxChoices).value_or(1);
  const std::int64_t best_of = fields.integer({"best_of"}, 1, kMostTokens).value_or(1);
  if (best_of > request.choices) refuse_field("best_of", "more than `n` does not exist here");
  fields.text("model");
  fields.text("user");
  if (const JsonValue* options = fields.find("stream_options")) {
    if (!options->is_object()) refuse_field("stream_options", "has to be an object");
    request.stream_usage = RequestFields(*options).boolean("include_usage").value_or(false);
  }
}

void read_common_fields(const RequestFields& fields, Interface interface, CompletionRequest& request) {
  request.stops = read_stops(fields);
  request.stream = fields.boolean("stream").value_or(false);
  const auto seed = fields.integer({"seed"}, -1, std::numeric_limits<std::int64_t>::max());
  if (seed && *seed >= 0) request.seed = static_cast<std::uint64_t>(*seed);
  const bool banned = fields.boolean("ban_eos_token").value_or(false);
  request.ignore_eos = fields.boolean("ignore_eos").value_or(banned);
  SamplingFields sampling = read_sampling_fields(fields, interface == Interface::kLlama);
  request.sampler = sampling.settings;
  request.ignored = std::move(sampling.ignored);
  note_probabilities(fields, request.ignored);
}

}  // namespace

CompletionRequest parse_completion_request(std::string_view body, Interface interface, std::int64_t vocab_size) {
  const JsonValue object = parse_request_body(body);
  const RequestFields fields(object);
  const JsonValue* prompt = fields.find("prompt");
  if (!prompt) refuse_field("prompt", "is missing");
  CompletionRequest request;
  request.prompt = read_prompt(*prompt, vocab_size);
  refuse_what_is_missing(fields);
  read_common_fields(fields, interface, request);
  interface == Interface::kLlama ? read_llama_fields(fields, request) : read_openai_fields(fields, request);
  return request;
}

}  // namespace shori
