#include "src/chat/server/http/http_server.h"

#include <httplib.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <thread>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/chat/server/http/access.h"
#include "src/chat/server/http/connection_threads.h"
#include "src/chat/server/http/peer_connections.h"
#include "src/chat/server/http/reason_phrase.h"
#include "src/chat/server/http/socket_stream.h"

namespace shori {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPollTime{50};  // how soon a stop is seen

// A connection is served by one thread from its request to its answer.
class Connection : public Client {
 public:
  Connection(int socket, std::chrono::milliseconds write_time, const std::atomic<bool>& stops)
      : watch_(socket, write_time), stops_(stops) {
    current_ = this;
  }
  ~Connection() override { current_ = nullptr; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  static Connection& current() { return *current_; }

  bool has_gone() override { return stops_ || watch_.has_gone(); }
  bool server_stops() const override { return stops_; }
  PeerWatch& watch() { return watch_; }
  std::int64_t milliseconds() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began_).count();
  }

 private:
  static thread_local Connection* current_;

  PeerWatch watch_;
  const std::atomic<bool>& stops_;
  Clock::time_point began_ = Clock::now();
};
thread_local Connection* Connection::current_ = nullptr;

void log_request(std::string_view what, int status, const Connection& connection) {
  log_info(concat(escape_for_log(what), " ", status, ", ", ratio_text(connection.milliseconds(), 1000, 2), " s",
                  connection.remark));
}

HttpRequest request_of(const httplib::Request& from) {
  return {.method = from.method, .path = from.path, .body = from.body};
}

// The text may hold what a client must not see.
void log_failure(std::string_view what) { log_error(Diagnostic("E0001", concat("a request failed: ", what))); }

void give_stream(const HttpAnswer& answer, bool in_chunks, httplib::Response& to) {
  const auto provide = [stream = answer.stream](std::size_t, httplib::DataSink& sink) {
    // The model's thread may call this while the connection's waits.
    const auto send = [&sink, &connection = Connection::current()](std::string_view part) {
      return !connection.has_gone() && sink.write(part.data(), part.size());
    };
    // cpp-httplib catches nothing here.
    try {
      if (!stream(send)) return false;
    } catch (const std::exception& problem) {
      log_failure(problem.what());
      return false;
    }
    sink.done();
    return true;
  };
  if (in_chunks) return to.set_chunked_content_provider(answer.content_type, provide);
  Connection::current().watch().stream_without_chunks();
  to.set_content_provider(answer.content_type, provide);
}

void give_answer(const HttpAnswer& answer, const httplib::Request& request, httplib::Response& to) {
  to.status = answer.status;
  for (const auto& [name, value] : answer.headers) to.set_header(name, value);
  answer.stream ? give_stream(answer, request.version != "HTTP/1.0", to)
                : to.set_content(answer.body, answer.content_type);
}

// An answer as bytes, for requests that do not reach cpp-httplib.
std::string plain_answer(const HttpAnswer& answer) {
  std::string head =
      concat("HTTP/1.1 ", answer.status, " ", reason_phrase(answer.status), "\r\nContent-Type: ", answer.content_type,
             "\r\nContent-Length: ", answer.body.size(), "\r\nConnection: close\r\n");
  for (const auto& [name, value] : answer.headers) head += concat(name, ": ", value, "\r\n");
  return concat(head, "\r\n", answer.body);
}

HttpAnswer answer_of(const HttpHandlers& handlers, const HttpRoute& route, const HttpRequest& request) {
  try {
    return route.handle(request, Connection::current());
  } catch (const RequestError& error) {
    return handlers.answer_error(error, request.path);
  } catch (const std::exception& problem) {
    log_failure(problem.what());
    return handlers.answer_error({.status = 500, .type = "server_error", .message = "internal error, see the log"},
                                 request.path);
  }
}

// A pattern that matches `path` only.
std::string exactly(const std::string& path) {
  std::string pattern;
  for (const char c : path) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
  return pattern;
}

}  // namespace

class HttpServer::Listener : public httplib::Server {
 public:
  Listener(HttpHandlers handlers, HttpLimits limits) : handlers_(std::move(handlers)), limits_(limits) {
    new_task_queue = [this] { return new ConnectionThreads(limits_.connections); };
    set_tcp_nodelay(true);
    // cpp-httplib would set SO_REUSEPORT, with which a second server takes the port of the first without an error.
    // Bounded buffers, which connections inherit: the kernel would grow each to megabytes for clients that do not read.
    set_socket_options([](socket_t socket) {
      const int on = 1, bytes = 64 << 10;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
      setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
      setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    });
    add_routes();
  }

  ~Listener() override {
    if (svr_sock_ != INVALID_SOCKET) ::close(svr_sock_);  // listened, never served
  }

  bool open(const std::string& host, int& port) {
    most_of_one_peer_ = is_loopback(host) ? limits_.connections : limits_.connections / 2;
    if (port == 0) {
      port = bind_to_any_port(host);
    } else if (!bind_to_port(host, port)) {
      port = -1;
    }
    // cpp-httplib asks for five connections that wait to be accepted.
    return port > 0 && ::listen(svr_sock_, SOMAXCONN) == 0;
  }

  void serve(const std::function<bool()>& stop) {
    std::thread thread([this] { listen_after_bind(); });
    while (!is_running()) std::this_thread::yield();
    while (!stop()) std::this_thread::sleep_for(kPollTime);
    stops_ = true;
    this->stop();
    thread.join();
  }

 private:
  void add_routes() {
    for (const HttpRoute& route : handlers_.routes) {
      const Handler handler = [this, &route](const httplib::Request& request, httplib::Response& response) {
        give_answer(answer_of(handlers_, route, request_of(request)), request, response);
      };
      route.method == "GET" ? Get(exactly(route.path), handler) : Post(exactly(route.path), handler);
    }
    set_error_handler([this](const httplib::Request& request, httplib::Response& response) {
      if (response.body.empty()) give_answer(error_without_handler(request, response.status), request, response);
    });
    set_logger([](const httplib::Request& request, const httplib::Response& response) {
      log_request(concat(request.method, " ", request.path), response.status, Connection::current());
    });
  }

  // What cpp-httplib answers by itself: no route, or no request.
  HttpAnswer error_without_handler(const httplib::Request& request, int status) const {
    if (status != 404)
      return handlers_.answer_error({.status = status, .message = "this is no HTTP request"}, request.path);
    for (const HttpRoute& route : handlers_.routes) {
      if (route.path != request.path) continue;
      HttpAnswer answer = handlers_.answer_error(
          {.status = 405, .message = concat(route.path, " takes ", route.method, " only")}, request.path);
      answer.headers.emplace_back("Allow", route.method);
      return answer;
    }
    return handlers_.answer_error({.status = 404, .type = "not_found_error", .message = "nothing is at this path"},
                                  request.path);
  }

  // What cpp-httplib calls on the thread of a connection.
  bool process_and_close_socket(socket_t socket) override {
    Connection connection(socket, limits_.write_time, stops_);
    const PeerConnections::Entry peer(peers_, socket);
    const bool is_greedy = peer.count() > most_of_one_peer_;
    if (ConnectionThreads::is_one_too_many() || is_greedy) {
      const char* message = is_greedy ? "too many connections from this address" : "too many connections";
      refuse(socket, {.status = 503, .type = "unavailable_error", .message = message, .retry_after = 5}, {},
             std::chrono::milliseconds(0));
      close_gently(socket, false);
      return false;
    }
    const bool was_read = read_and_answer(socket, connection);
    close_gently(socket, !was_read && !stops_);
    return was_read;
  }

  // False if the request was not read to its end.
  bool read_and_answer(socket_t socket, Connection& connection) {
    RawRequest request;
    RequestHead head;
    const auto judge = [this, &head](const RequestHead& arrived) {
      head = arrived;
      if (const auto refusal = handlers_.find_refusal(head)) throw RequestError(*refusal);
    };
    try {
      request = read_request(socket, limits_.read, [&connection] { return connection.server_stops(); }, judge);
    } catch (const RequestError& error) {
      refuse(socket, error, head, limits_.write_time);
      return false;
    }
    if (request.is_empty) return true;
    SocketStream stream(socket, std::move(request.bytes), connection.watch(), limits_.write_time);
    process(*this, stream);
    return true;
  }

  // `head`: of the request; empty where it has not been read.
  void refuse(socket_t socket, const RequestError& error, const RequestHead& head,
              std::chrono::milliseconds time) const {
    const std::string bytes = plain_answer(handlers_.answer_error(error, head.path()));
    send_all(socket, bytes.data(), bytes.size(), time);
    const std::string what = head.method.empty() ? "connection" : concat(head.method, " ", head.path());
    log_request(concat(what, " (", error.message, ")"), error.status, Connection::current());
  }

  // cpp-httplib 0.15 added the addresses of both ends. A template, so that the other form is not compiled.
  template <typename Self>
  static void process(Self& self, httplib::Stream& stream) {
    bool closed = true;
    if constexpr (requires { self.process_request(stream, true, closed, nullptr); }) {
      self.process_request(stream, true, closed, nullptr);
    } else {
      const std::string address;
      self.process_request(stream, address, 0, address, 0, true, closed, nullptr);
    }
  }

  HttpHandlers handlers_;
  HttpLimits limits_;
  std::size_t most_of_one_peer_ = 0;
  PeerConnections peers_;
  std::atomic<bool> stops_ = false;
};

HttpServer::HttpServer(HttpHandlers handlers, HttpLimits limits)
    : listener_(std::make_unique<Listener>(std::move(handlers), limits)) {}

HttpServer::~HttpServer() = default;

int HttpServer::listen(const std::string& host, int port) {
  errno = 0;
  int bound = port;
  if (listener_->open(host, bound)) return bound;
  const int problem = errno;
  Diagnostic diagnostic("E0120", concat("cannot listen on ", host, " port ", port,
                                        problem == EADDRINUSE ? ": another program listens there" : ""));
  if (problem != 0 && problem != EADDRINUSE) diagnostic.note(error_text(problem));
  throw Error(diagnostic.help("give another port, or `--serve 0` for any free one"));
}

void HttpServer::run(const std::function<bool()>& stop) { listener_->serve(stop); }

}  // namespace shori
