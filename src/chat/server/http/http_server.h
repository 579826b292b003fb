// HTTP/1.1 on one address: connections, limits, answers. What is answered is the business of its handler.
//
// One request a connection, one thread a connection, a bounded number of both. cpp-httplib listens, accepts, finds the
// route and writes the answer; the request reaches it whole (request_reader.h).
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/chat/server/http/request_error.h"
#include "src/chat/server/http/request_reader.h"

namespace shori {

struct HttpLimits {
  ReadLimits read;
  std::chrono::milliseconds write_time{10'000};  // for a client that does not read its answer
  std::size_t connections = 128;  // one address has at most half of them, unless only this machine can connect
};

// The client at the other end of a connection, and what the log says about its request.
class Client {
 public:
  virtual ~Client() = default;
  // Whether nobody waits for the answer any more: the client has gone, or the server stops. May send a part of the answer.
  virtual bool has_gone() = 0;
  virtual bool server_stops() const = 0;

  std::string remark;  // for the log line: ", 12 tokens of prompt, ..."
};

struct HttpRequest {
  std::string method, path, body;
};

// Sends a part of an answer at once; false when the client has gone.
using SendPart = std::function<bool(std::string_view part)>;

struct HttpAnswer {
  int status = 200;
  std::string body;
  std::string content_type = "application/json; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers = {};
  // Set: the body is what it sends. Returning false breaks the connection off, so that the client sees that something is
  // missing. Called on the thread of the handler, after it.
  std::function<bool(const SendPart& send)> stream = nullptr;
};

struct HttpRoute {
  std::string method, path;
  std::function<HttpAnswer(const HttpRequest&, Client&)> handle;
};

struct HttpHandlers {
  std::vector<HttpRoute> routes;
  // Why a request is refused before its body is read.
  std::function<std::optional<RequestError>(const RequestHead&)> find_refusal;
  std::function<HttpAnswer(const RequestError&, std::string_view path)> answer_error;
};

class HttpServer {
 public:
  HttpServer(HttpHandlers handlers, HttpLimits limits);
  ~HttpServer();

  // Listens on `host`, a name or address, and `port`, 0: any free one. Returns the port. E0120 if that is not possible.
  int listen(const std::string& host, int port);
  // Answers until `stop` returns true, then ends open connections and returns.
  void run(const std::function<bool()>& stop);

 private:
  class Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace shori
