// The paths of the server: completions, token counts, and what clients ask when they connect.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/chat/server/http/access.h"
#include "src/chat/server/http/http_server.h"
#include "src/chat/server/text_engine.h"
#include "src/chat/server/turn_queue.h"

namespace shori {

class CompletionService {
 public:
  CompletionService(TextEngine& engine, std::size_t most_waiting);

  HttpHandlers handlers(AccessRules rules);

 private:
  HttpAnswer complete(const HttpRequest& request, Client& client, Interface interface);
  HttpAnswer tokenize(const HttpRequest& request) const;
  HttpAnswer detokenize(const HttpRequest& request) const;

  TextEngine& engine_;
  TurnQueue queue_;
  std::int64_t began_;  // seconds since 1970
};

}  // namespace shori
