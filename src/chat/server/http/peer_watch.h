// Whether the client of a connection still waits for its answer.
//
// A client that has closed its end after its request (`nc -N`) waits; one that has gone looks the same to TCP until
// something is sent to it. So parts of the answer are sent early: the bytes that begin the line of every status, one at a
// time, or a comment between the events of a stream. If the client has gone, its machine answers with a reset.
#pragma once

#include <chrono>
#include <cstddef>
#include <string_view>

namespace shori {

// Calls follow one another, on whichever thread serves the connection.
class PeerWatch {
 public:
  explicit PeerWatch(int socket, std::chrono::milliseconds write_time) : socket_(socket), write_time_(write_time) {}

  bool has_gone();
  // What remains to be sent of a part of the answer; the first part has its head. If has_gone() is called again, a stream
  // follows.
  std::string_view rest_of(std::string_view part);
  // Clients of HTTP/1.0 take no chunks.
  void stream_without_chunks() { in_chunks_ = false; }

 private:
  using Clock = std::chrono::steady_clock;

  bool send_early();

  int socket_;
  std::chrono::milliseconds write_time_;
  bool has_begun_ = false, in_chunks_ = true;
  std::size_t sent_ = 0;  // bytes of the status line
  Clock::time_point next_ = Clock::time_point::min();
  Clock::duration pause_ = std::chrono::milliseconds(250);  // doubles with each part
};

}  // namespace shori
