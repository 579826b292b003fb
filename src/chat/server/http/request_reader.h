// Reads one whole HTTP/1.1 request from a socket before anything looks at it: within time, within bounds.
//
// cpp-httplib bounds neither the number of header lines nor the time of a client that sends a byte now and then, and the
// versions of Debian 12 and Ubuntu 24.04 do not bound chunked bodies. It is therefore given bytes that were read here.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

#include "src/chat/server/http/request_error.h"
#include "src/chat/server/http/request_head.h"

namespace shori {

struct ReadLimits {
  std::chrono::milliseconds head_time{10'000};
  std::chrono::milliseconds body_time{30'000};
  std::size_t head_bytes = 16u << 10;
  std::size_t body_bytes = 2u << 20;
};

struct RawRequest {
  // Request line, Host, Content-Length and body. What would make cpp-httplib wait, decompress, cut or compress
  // (Transfer-Encoding, Expect, Range, Accept-Encoding, ...) is not among them, nor Content-Type, by which it would take
  // forms apart: every body is JSON, as llama.cpp reads it.
  std::string bytes;
  bool is_empty = false;  // the client closed the connection without sending anything
};

// Throws RequestError: 408 too slow, 431 head too long, 413 body too long, what parse_request_head() throws, 400 where
// the connection ends early, 503 when `stop` returned true, and what `judge` throws: it sees the head before any byte of
// the body is waited for.
RawRequest read_request(int socket, const ReadLimits& limits, const std::function<bool()>& stop,
                        const std::function<void(const RequestHead&)>& judge);

}  // namespace shori
