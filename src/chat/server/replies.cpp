#include "src/chat/server/replies.h"

#include <nlohmann/json.hpp>

#include "shori/util/build_info.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

std::string_view stop_type(EngineStop stop) {
  switch (stop) {
    case EngineStop::kEnd:
      return "eos";
    case EngineStop::kWord:
      return "word";
    case EngineStop::kLimit:
      return "limit";
    case EngineStop::kCancelled:
      break;
  }
  return "none";
}

std::string_view finish_reason(EngineStop stop) { return stop == EngineStop::kLimit ? "length" : "stop"; }

Json settings_json(const ReplyContext& context) {
  const CompletionRequest& request = *context.request;
  const SamplerSettings& sampler = request.sampler;
  Json samplers = Json::array({"penalties", "top_k", "top_p", "min_p"});
  samplers.insert(sampler.temperature_last ? samplers.end() : samplers.begin() + 1, "temperature");
  return {{"seed", context.seed},
          {"temperature", decimal_of(sampler.temperature)},
          {"top_k", sampler.top_k},
          {"top_p", decimal_of(sampler.top_p)},
          {"min_p", decimal_of(sampler.min_p)},
          {"repeat_last_n", sampler.penalty_window},
          {"repeat_penalty", decimal_of(sampler.repetition_penalty)},
          {"presence_penalty", decimal_of(sampler.presence_penalty)},
          {"frequency_penalty", decimal_of(sampler.frequency_penalty)},
          {"mirostat", sampler.mirostat},
          {"mirostat_tau", decimal_of(sampler.mirostat_tau)},
          {"mirostat_eta", decimal_of(sampler.mirostat_eta)},
          {"stop", request.stops},
          {"n_predict", request.max_tokens},
          {"max_tokens", request.max_tokens},
          {"ignore_eos", request.ignore_eos},
          {"stream", request.stream},
          {"samplers", samplers}};
}

double per_second(std::int64_t count, std::int64_t milliseconds) {
  return milliseconds > 0 ? 1000.0 * static_cast<double>(count) / static_cast<double>(milliseconds) : 0.0;
}

Json timings_json(const ReplyContext& context, const FinishedReply& reply) {
  const auto tokens = static_cast<std::int64_t>(reply.result.ids.size());
  return {{"prompt_n", context.prompt_tokens},
          {"prompt_ms", reply.prompt_ms},
          {"prompt_per_second", per_second(context.prompt_tokens, reply.prompt_ms)},
          {"predicted_n", tokens},
          {"predicted_ms", reply.reply_ms},
          {"predicted_per_second", per_second(tokens, reply.reply_ms)}};
}

Json openai_choice(std::int64_t index, std::string_view text, const Json& reason) {
  return {{"index", index}, {"text", text}, {"logprobs", nullptr}, {"finish_reason", reason}};
}

Json openai_object(const ReplyContext& context, Json choices) {
  return {{"id", context.id},
          {"object", "text_completion"},
          {"created", context.created},
          {"model", context.model->id},
          {"choices", std::move(choices)}};
}

Json usage_json(const ReplyContext& context, std::int64_t tokens) {
  return {{"prompt_tokens", context.prompt_tokens},
          {"completion_tokens", tokens},
          {"total_tokens", context.prompt_tokens + tokens}};
}

}  // namespace

Json llama_part(const ReplyContext& context, std::string_view text, std::int64_t tokens) {
  return {{"index", 0},
          {"content", text},
          {"stop", false},
          {"id_slot", 0},
          {"tokens_predicted", tokens},
          {"tokens_evaluated", context.prompt_tokens}};
}

Json llama_final(const ReplyContext& context, const FinishedReply& reply) {
  const auto tokens = static_cast<std::int64_t>(reply.result.ids.size());
  const std::int64_t used = context.prompt_tokens + tokens;
  Json ids = Json::array();
  if (context.request->return_tokens) ids = reply.result.ids;
  return {{"index", 0},
          {"content", reply.text},
          {"tokens", ids},
          {"id_slot", 0},
          {"stop", true},
          {"model", context.model->id},
          {"tokens_predicted", tokens},
          {"tokens_evaluated", context.prompt_tokens},
          {"generation_settings", settings_json(context)},
          {"prompt", context.prompt_text},
          {"has_new_line", reply.text.find('\n') != std::string::npos},
          {"truncated", reply.result.stop == EngineStop::kLimit && used >= context.model->context},
          {"stop_type", stop_type(reply.result.stop)},
          {"stopping_word", reply.result.stop_word},
          {"tokens_cached", used},
          {"timings", timings_json(context, reply)}};
}

Json openai_part(const ReplyContext& context, std::int64_t choice, std::string_view text) {
  return openai_object(context, Json::array({openai_choice(choice, text, nullptr)}));
}

Json openai_end(const ReplyContext& context, std::int64_t choice, const EngineResult& result) {
  return openai_object(context, Json::array({openai_choice(choice, "", finish_reason(result.stop))}));
}

Json openai_usage_part(const ReplyContext& context, std::int64_t tokens) {
  Json part = openai_object(context, Json::array());
  part["usage"] = usage_json(context, tokens);
  return part;
}

Json openai_final(const ReplyContext& context, const std::vector<FinishedReply>& replies) {
  Json choices = Json::array();
  std::int64_t tokens = 0;
  for (const FinishedReply& reply : replies) {
    choices.push_back(
        openai_choice(static_cast<std::int64_t>(choices.size()), reply.text, finish_reason(reply.result.stop)));
    tokens += static_cast<std::int64_t>(reply.result.ids.size());
  }
  Json answer = openai_object(context, std::move(choices));
  answer["usage"] = usage_json(context, tokens);
  return answer;
}

Json props_json(const ServedModel& model) {
  const CompletionRequest defaults{.sampler = {.temperature_last = true}};
  const ReplyContext context{.id = {}, .model = &model, .request = &defaults, .prompt_text = {}};
  return {{"default_generation_settings",
           {{"id", 0},
            {"n_ctx", model.context},
            {"is_processing", false},
            {"params", settings_json(context)},
            {"prompt", ""}}},
          {"total_slots", 1},
          {"model_alias", model.id},
          {"model_path", model.id},
          {"chat_template", model.chat_template},
          {"bos_token", "<s>"},
          {"eos_token", "</s>"},
          {"modalities", {{"vision", false}, {"audio", false}}},
          {"build_info", concat("shori-chat ", version())}};
}

Json models_json(const ServedModel& model, std::int64_t created) {
  Json entry = {{"id", model.id},
                {"object", "model"},
                {"created", created},
                {"owned_by", "shori-train"},
                {"meta", {{"n_ctx", model.context}, {"n_vocab", model.vocab_size}}}};
  return {{"object", "list"}, {"data", Json::array({std::move(entry)})}};
}

Json slots_json(const ServedModel& model, bool is_busy) {
  Json slot = {{"id", 0}, {"n_ctx", model.context}, {"is_processing", is_busy}};
  return Json::array({std::move(slot)});
}

Json error_json(const RequestError& error, std::string_view path) {
  Json inner = {{"code", error.status}, {"message", error.message}, {"type", error.type}};
  if (path.starts_with("/v1/")) {
    inner["code"] = error.type == "exceed_context_size_error" ? Json("context_length_exceeded") : Json(nullptr);
    inner["param"] = text_or_null(error.field);
  } else if (!error.field.empty()) {
    inner["param"] = error.field;
  }
  if (error.context > 0) {
    inner["n_prompt_tokens"] = error.prompt_tokens;
    inner["n_ctx"] = error.context;
  }
  return {{"error", std::move(inner)}};
}

HttpAnswer error_answer(const RequestError& error, std::string_view path) {
  HttpAnswer answer{.status = error.status, .body = json_text(error_json(error, path))};
  if (error.retry_after > 0) answer.headers.emplace_back("Retry-After", concat(error.retry_after));
  if (error.status == 401) answer.headers.emplace_back("WWW-Authenticate", "Bearer");
  return answer;
}

std::string event(const Json& data) { return concat("data: ", json_text(data), "\n\n"); }

}  // namespace shori
