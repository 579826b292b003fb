// The JSON of answers in llama.cpp's and OpenAI's forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/json_text.h"
#include "src/chat/server/completion_request.h"
#include "src/chat/server/http/http_server.h"
#include "src/chat/server/text_engine.h"

namespace shori {

// One finished reply and what was measured.
struct FinishedReply {
  std::string text;
  EngineResult result;
  std::int64_t prompt_ms = 0, reply_ms = 0;
};

// What all parts of the answer to one request share.
struct ReplyContext {
  std::string id;  // "cmpl-…"
  std::int64_t created = 0;
  const ServedModel* model = nullptr;
  const CompletionRequest* request = nullptr;
  std::uint64_t seed = 0;
  std::int64_t prompt_tokens = 0;
  std::string prompt_text;  // llama.cpp's form repeats it
};

Json llama_part(const ReplyContext& context, std::string_view text, std::int64_t tokens);
Json llama_final(const ReplyContext& context, const FinishedReply& reply);  // `text` is empty at the end of a stream
Json openai_part(const ReplyContext& context, std::int64_t choice, std::string_view text);
Json openai_end(const ReplyContext& context, std::int64_t choice, const EngineResult& result);
Json openai_usage_part(const ReplyContext& context, std::int64_t tokens);
Json openai_final(const ReplyContext& context, const std::vector<FinishedReply>& replies);

Json props_json(const ServedModel& model);
Json models_json(const ServedModel& model, std::int64_t created);
Json slots_json(const ServedModel& model, bool is_busy);

// The body of an error: OpenAI's form at paths under /v1/, else llama.cpp's.
Json error_json(const RequestError& error, std::string_view path);
HttpAnswer error_answer(const RequestError& error, std::string_view path);
// One server-sent event.
std::string event(const Json& data);

}  // namespace shori
