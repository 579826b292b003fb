// A request that was read and the socket that takes its answer, as cpp-httplib wants to see them.
#pragma once

#include <httplib.h>

#include <chrono>
#include <string>

#include "src/chat/server/http/peer_watch.h"

namespace shori {

class SocketStream : public httplib::Stream {
 public:
  SocketStream(int socket, std::string request, PeerWatch& watch, std::chrono::milliseconds write_time)
      : socket_(socket), request_(std::move(request)), watch_(watch), write_time_(write_time) {}

  bool is_readable() const override { return offset_ < request_.size(); }
  bool is_writable() const override { return !has_failed_; }
  ssize_t read(char* into, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override { ip = "", port = 0; }
  void get_local_ip_and_port(std::string& ip, int& port) const override { ip = "", port = 0; }
  socket_t socket() const override { return socket_; }

 private:
  int socket_;
  std::string request_;
  PeerWatch& watch_;
  std::chrono::milliseconds write_time_;
  std::size_t offset_ = 0;
  bool has_failed_ = false;
};

// Sends all of `data` within `time`; false if that was not possible.
bool send_all(int socket, const char* data, std::size_t size, std::chrono::milliseconds time);
// Ends a connection so that the client gets what was sent to it, although it may still be sending: the rest of what it
// sends is read, for a short time and up to a bound.
void close_gently(int socket, bool drain);

}  // namespace shori
