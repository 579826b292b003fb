// How many connections each remote address has open.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <string>

namespace shori {

// The bytes of an address that stand for one client: those of an IPv4 address, also where it is written as IPv6, and the
// first 64 bits of an IPv6 address, of whose rest every client has all. Empty for other families.
std::string peer_of(const sockaddr_storage& address);

class PeerConnections {
 public:
  // Counts a connection as long as it lives.
  class Entry {
   public:
    Entry(PeerConnections& connections, int socket);
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    std::size_t count() const { return count_; }  // of this peer when this connection began, with this one

   private:
    PeerConnections& connections_;
    std::string peer_;
    std::size_t count_;
  };

 private:
  std::mutex mutex_;
  std::map<std::string, std::size_t> counts_;
};

}  // namespace shori
