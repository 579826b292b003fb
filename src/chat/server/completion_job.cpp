#include "src/chat/server/completion_job.h"

#include <chrono>
#include <ctime>
#include <nlohmann/json.hpp>
#include <random>

#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
}

// Text is encoded whole after BOS; chat templates begin with the text of BOS, which then stands for it. Ids are what the
// client says.
std::vector<std::int32_t> prompt_ids(const TextEngine& engine, const Prompt& prompt) {
  if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&prompt)) return *ids;
  std::string_view text = std::get<std::string>(prompt);
  if (text.starts_with("<s>")) text.remove_prefix(3);
  std::vector<std::int32_t> ids = engine.tokenize(text);
  ids.insert(ids.begin(), engine.bos_id());
  return ids;
}

std::string random_id() {
  std::random_device device;
  const std::uint32_t words[3] = {device(), device(), device()};
  return concat("cmpl-", to_hex(words, sizeof words));
}

// At least one token of reply has to fit.
void check_fit(std::int64_t tokens, std::int64_t context) {
  if (tokens < context) return;
  throw RequestError{.type = "exceed_context_size_error",
                     .message = concat("the prompt has ", tokens, " tokens and the context ", context,
                                       ": shorten the prompt, or start the server with a larger --context"),
                     .field = "prompt",
                     .prompt_tokens = tokens,
                     .context = context};
}

}  // namespace

CompletionJob::CompletionJob(TextEngine& engine, CompletionRequest request, Interface interface, Client& client)
    : engine_(engine), request_(std::move(request)), interface_(interface), client_(client) {
  prompt_ = prompt_ids(engine_, request_.prompt);
  const auto tokens = static_cast<std::int64_t>(prompt_.size());
  check_fit(tokens, engine_.model().context);
  const auto* text = std::get_if<std::string>(&request_.prompt);
  context_ = {.id = random_id(),
              .created = static_cast<std::int64_t>(std::time(nullptr)),
              .model = &engine_.model(),
              .request = &request_,
              .seed = request_.seed ? *request_.seed : std::random_device()(),
              .prompt_tokens = tokens,
              .prompt_text = text ? *text : engine_.bytes_of(prompt_)};
}

bool CompletionJob::wait_in(TurnQueue& queue) {
  turn_ = queue.wait([this] { return client_.has_gone(); });
  return turn_ != nullptr;
}

FinishedReply CompletionJob::generate(std::int64_t choice, const TakePart& on_part) {
  const std::int64_t room = context_.model->context - context_.prompt_tokens;
  const EngineTask task{.prompt = prompt_,
                        .max_tokens = request_.max_tokens < 0 ? room : std::min(room, request_.max_tokens),
                        .stops = request_.stops,
                        .sampler = request_.sampler,
                        .ignore_eos = request_.ignore_eos,
                        .seed = context_.seed,
                        .reply = static_cast<std::uint32_t>(choice)};
  FinishedReply reply;
  const auto began = Clock::now();
  auto first = began;
  const auto take = [&](std::string_view text, std::int64_t tokens) {
    if (first == began) first = Clock::now();
    reply.text += text;
    return on_part(text, tokens);
  };
  if (task.max_tokens > 0) reply.result = engine_.generate(task, take, [this] { return client_.has_gone(); });
  reply.prompt_ms = std::chrono::duration_cast<std::chrono::milliseconds>(first - began).count();
  reply.reply_ms = milliseconds_since(first);
  tokens_ += static_cast<std::int64_t>(reply.result.ids.size());
  reply_ms_ += reply.reply_ms;
  note_numbers();
  return reply;
}

void CompletionJob::note_numbers() {
  client_.remark = concat(", prompt ", context_.prompt_tokens, " tokens, reply ", tokens_);
  if (reply_ms_ > 0 && tokens_ > 0)
    client_.remark += concat(" (", ratio_text(tokens_ * 1000, reply_ms_, 1), " tokens/s)");
  for (std::size_t i = 0; i < request_.ignored.size(); ++i)
    client_.remark += concat(i == 0 ? ", ignored: " : ", ", request_.ignored[i]);
}

HttpAnswer CompletionJob::answer() {
  std::vector<FinishedReply> replies;
  for (std::int64_t choice = 0; choice < request_.choices; ++choice) {
    replies.push_back(generate(choice, [](std::string_view, std::int64_t) { return true; }));
    if (replies.back().result.stop == EngineStop::kCancelled) return answer_of_cancelled();
  }
  const Json body =
      interface_ == Interface::kLlama ? llama_final(context_, replies.front()) : openai_final(context_, replies);
  return {.body = json_text(body)};
}

HttpAnswer CompletionJob::answer_of_cancelled() const {
  constexpr int kClientClosedRequest = 499;  // for the log
  const std::string path = interface_ == Interface::kOpenAi ? "/v1/" : "/";
  if (client_.server_stops())
    return error_answer({.status = 503, .type = "unavailable_error", .message = "the server is stopping"}, path);
  return error_answer({.status = kClientClosedRequest, .message = "the client has gone"}, path);
}

bool CompletionJob::send_error(const RequestError& error, const SendPart& send) const {
  return send(event(error_json(error, interface_ == Interface::kOpenAi ? "/v1/" : "/")));
}

bool CompletionJob::stream(const SendPart& send) {
  try {
    for (std::int64_t choice = 0; choice < request_.choices; ++choice)
      if (!stream_choice(choice, send)) return false;
  } catch (const std::exception& problem) {
    log_error(Diagnostic("E0001", concat("a reply failed: ", problem.what())));
    return send_error({.status = 500, .type = "server_error", .message = "internal error, see the log"}, send);
  }
  if (interface_ == Interface::kLlama) return true;
  if (request_.stream_usage && !send(event(openai_usage_part(context_, tokens_)))) return false;
  return send("data: [DONE]\n\n");
}

bool CompletionJob::stream_choice(std::int64_t choice, const SendPart& send) {
  const FinishedReply reply = generate(choice, [&](std::string_view text, std::int64_t tokens) {
    return send(event(interface_ == Interface::kLlama ? llama_part(context_, text, tokens)
                                                      : openai_part(context_, choice, text)));
  });
  if (reply.result.stop == EngineStop::kCancelled) {
    client_.remark += ", cancelled";
    return false;
  }
  return send_end(choice, reply, send);
}

bool CompletionJob::send_end(std::int64_t choice, const FinishedReply& reply, const SendPart& send) const {
  if (interface_ == Interface::kOpenAi) return send(event(openai_end(context_, choice, reply.result)));
  Json last = llama_final(context_, reply);
  last["content"] = "";
  return send(event(last));
}

}  // namespace shori
