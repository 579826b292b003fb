#include "src/chat/server/completion_service.h"

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>

#include "shori/util/json_text.h"
#include "shori/util/utf8.h"
#include "src/chat/server/completion_job.h"
#include "src/chat/server/replies.h"
#include "src/chat/server/request_fields.h"
#include "src/chat/server/token_list.h"

namespace shori {
namespace {

HttpAnswer answer_with(const Json& body) { return {.body = json_text(body)}; }

// A piece as text, or as a list of bytes where it is a part of a character.
Json piece_json(const std::string& bytes) {
  if (!find_invalid_utf8(bytes)) return bytes;
  Json list = Json::array();
  for (const char byte : bytes) list.push_back(static_cast<unsigned char>(byte));
  return list;
}

[[noreturn]] HttpAnswer refuse_chat(const HttpRequest&, Client&) {
  throw RequestError{.status = 404,
                     .type = "not_found_error",
                     .message = "chat completions are not served: send the prompt as text to /v1/completions"};
}

}  // namespace

CompletionService::CompletionService(TextEngine& engine, std::size_t most_waiting)
    : engine_(engine), queue_(most_waiting), began_(static_cast<std::int64_t>(std::time(nullptr))) {}

HttpAnswer CompletionService::complete(const HttpRequest& request, Client& client, Interface interface) {
  auto job = std::make_shared<CompletionJob>(
      engine_, parse_completion_request(request.body, interface, engine_.model().vocab_size), interface, client);
  const bool streams = job->streams();
  if (!job->wait_in(queue_)) return job->answer_of_cancelled();
  if (!streams) return job->answer();
  return {.body = {},
          .content_type = "text/event-stream",
          .headers = {{"Cache-Control", "no-store"}},
          .stream = [job](const SendPart& send) { return job->stream(send); }};
}

HttpAnswer CompletionService::tokenize(const HttpRequest& request) const {
  const JsonValue object = parse_request_body(request.body);
  const RequestFields fields(object);
  const bool with_pieces = fields.boolean("with_pieces").value_or(false);
  fields.boolean("parse_special");  // texts of control tokens are text here, as in training
  std::vector<std::int32_t> ids = engine_.tokenize(fields.text("content").value_or(""));
  if (fields.boolean("add_special").value_or(false)) ids.insert(ids.begin(), engine_.bos_id());
  Json tokens = Json::array();
  for (const std::int32_t id : ids) {
    if (with_pieces) {
      tokens.push_back({{"id", id}, {"piece", piece_json(engine_.bytes_of({&id, 1}))}});
    } else {
      tokens.push_back(id);
    }
  }
  return answer_with({{"tokens", std::move(tokens)}});
}

HttpAnswer CompletionService::detokenize(const HttpRequest& request) const {
  const JsonValue object = parse_request_body(request.body);
  const JsonValue* tokens = RequestFields(object).find("tokens");
  if (!tokens) refuse_field("tokens", "is missing");
  const auto ids = read_token_ids(*tokens, "tokens", engine_.model().vocab_size);
  return answer_with({{"content", engine_.bytes_of(ids)}});
}

HttpHandlers CompletionService::handlers(AccessRules rules) {
  HttpHandlers handlers;
  const auto get = [&handlers](const char* path, const std::function<Json()>& make) {
    handlers.routes.push_back({"GET", path, [make](const HttpRequest&, Client&) { return answer_with(make()); }});
  };
  const auto post = [&handlers](const char* path, std::function<HttpAnswer(const HttpRequest&, Client&)> handle) {
    handlers.routes.push_back({"POST", path, std::move(handle)});
  };
  for (const char* path : {"/health", "/v1/health"}) get(path, [] { return Json{{"status", "ok"}}; });
  get("/props", [this] { return props_json(engine_.model()); });
  get("/slots", [this] { return slots_json(engine_.model(), queue_.is_busy()); });
  for (const char* path : {"/v1/models", "/models"}) get(path, [this] { return models_json(engine_.model(), began_); });
  for (const char* path : {"/completion", "/completions"})
    post(path, [this](const auto& request, Client& client) { return complete(request, client, Interface::kLlama); });
  post("/v1/completions",
       [this](const auto& request, Client& client) { return complete(request, client, Interface::kOpenAi); });
  for (const char* path : {"/v1/chat/completions", "/chat/completions"})
    for (const char* method : {"GET", "POST"}) handlers.routes.push_back({method, path, refuse_chat});
  post("/tokenize", [this](const auto& request, Client&) { return tokenize(request); });
  post("/detokenize", [this](const auto& request, Client&) { return detokenize(request); });
  handlers.answer_error = error_answer;
  handlers.find_refusal = [rules = std::move(rules)](const RequestHead& head) {
    return find_access_problem(rules, head);
  };
  return handlers;
}

}  // namespace shori
