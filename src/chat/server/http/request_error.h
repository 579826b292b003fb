// Why a request is refused: the status and what the body of the answer says. Each interface has its own form of the body.
#pragma once

#include <cstdint>
#include <string>

namespace shori {

struct RequestError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string message;
  std::string field = {};          // of the request's body; empty: none
  std::int64_t prompt_tokens = 0;  // of a prompt that does not fit
  std::int64_t context = 0;        // and the tokens that do
  int retry_after = 0;             // seconds; 0: the client need not come again
};

}  // namespace shori
