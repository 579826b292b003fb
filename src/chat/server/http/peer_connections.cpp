#include "src/chat/server/http/peer_connections.h"

#include <netinet/in.h>

#include <cstring>

namespace shori {
namespace {

template <typename Address>
Address as(const sockaddr_storage& address) {
  Address copy;
  std::memcpy(&copy, &address, sizeof copy);
  return copy;
}

std::string bytes_of(const void* begin, std::size_t size) { return {static_cast<const char*>(begin), size}; }

std::string peer_at(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  return getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? peer_of(address) : std::string();
}

}  // namespace

std::string peer_of(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto v4 = as<sockaddr_in>(address);
    return bytes_of(&v4.sin_addr, sizeof v4.sin_addr);
  }
  if (address.ss_family != AF_INET6) return {};
  const auto v6 = as<sockaddr_in6>(address);
  constexpr std::size_t kMappedPrefix = 12, kNetwork = 8;
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return bytes_of(v6.sin6_addr.s6_addr + kMappedPrefix, sizeof(in_addr));
  return bytes_of(v6.sin6_addr.s6_addr, kNetwork);
}

PeerConnections::Entry::Entry(PeerConnections& connections, int socket)
    : connections_(connections), peer_(peer_at(socket)) {
  const std::lock_guard lock(connections_.mutex_);
  count_ = ++connections_.counts_[peer_];
}

PeerConnections::Entry::~Entry() {
  const std::lock_guard lock(connections_.mutex_);
  const auto count = connections_.counts_.find(peer_);
  if (--count->second == 0) connections_.counts_.erase(count);
}

}  // namespace shori
