// One request for completions, from its ids to the last part of its answer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/chat/server/http/http_server.h"
#include "src/chat/server/replies.h"
#include "src/chat/server/turn_queue.h"

namespace shori {

class CompletionJob {
 public:
  // RequestError 400 if the prompt does not fit into the context.
  CompletionJob(TextEngine& engine, CompletionRequest request, Interface interface, Client& client);

  bool streams() const { return request_.stream; }
  // Waits for the turn; false if the client has gone before.
  bool wait_in(TurnQueue& queue);
  HttpAnswer answer();                     // after all replies
  bool stream(const SendPart& send);       // while they are made
  HttpAnswer answer_of_cancelled() const;  // for a client that does not wait any more

 private:
  FinishedReply generate(std::int64_t choice, const TakePart& on_part);
  bool stream_choice(std::int64_t choice, const SendPart& send);
  bool send_end(std::int64_t choice, const FinishedReply& reply, const SendPart& send) const;
  bool send_error(const RequestError& error, const SendPart& send) const;
  void note_numbers();

  TextEngine& engine_;
  CompletionRequest request_;
  Interface interface_;
  Client& client_;
  std::vector<std::int32_t> prompt_;
  ReplyContext context_;
  std::shared_ptr<TurnQueue::Turn> turn_;
  std::int64_t tokens_ = 0, reply_ms_ = 0;
};

}  // namespace shori
