#include "src/chat/server/http/peer_connections.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>

namespace shori {
namespace {

std::string peer(const char* text) {
  sockaddr_storage storage{};
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  static std::uint16_t port = 0;  // each connection of a client has another one
  v4.sin_port = v6.sin6_port = htons(++port);
  if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
    std::memcpy(&storage, &v4, sizeof v4);
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6.sin6_addr), 1) << text;
    std::memcpy(&storage, &v6, sizeof v6);
  }
  return peer_of(storage);
}

TEST(PeerConnectionsTest, AClientIsAnAddressOrANetworkOfIpv6) {
  EXPECT_EQ(peer("192.0.2.1"), peer("192.0.2.1"));
  EXPECT_NE(peer("192.0.2.1"), peer("192.0.2.2"));
  EXPECT_EQ(peer("192.0.2.1"), peer("::ffff:192.0.2.1"));
  EXPECT_NE(peer("::ffff:192.0.2.1"), peer("::ffff:192.0.2.2"));
  EXPECT_EQ(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff::9"));
  EXPECT_NE(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
}

TEST(PeerConnectionsTest, AConnectionCountsAsLongAsItLives) {
  PeerConnections connections;
  constexpr int kNoSocket = -1;
  const PeerConnections::Entry first(connections, kNoSocket);
  EXPECT_EQ(first.count(), 1u);
  EXPECT_EQ(PeerConnections::Entry(connections, kNoSocket).count(), 2u);
  EXPECT_EQ(PeerConnections::Entry(connections, kNoSocket).count(), 2u);
}

}  // namespace
}  // namespace shori
