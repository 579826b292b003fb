// Who may ask the server: where it listens, keys, and what keeps web pages away from it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/chat/server/http/request_error.h"
#include "src/chat/server/http/request_head.h"

namespace shori {

struct ListenAddress {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free one
};

// Of `[HOST:]PORT`; an IPv6 address stands in brackets. E0116 for anything else.
ListenAddress parse_listen_address(const std::string& text);
// localhost, 127.x.x.x or ::1.
bool is_loopback(std::string_view host);

// The keys in a file: one a line, empty lines and lines that begin with `#` are skipped. E0116 if there is none or one
// cannot stand in a header.
std::vector<std::string> read_api_keys(const std::string& path);
void warn_if_others_read(const std::string& path);

struct AccessRules {
  bool is_loopback_only = true;
  std::vector<std::string> keys = {};
};

// Why a request is refused: 403 for a Host that is not this machine where only it can connect (a web page whose name was
// pointed at 127.0.0.1), 403 for an Origin that is not the Host (another web page), 401 without one of the keys.
// `/health` without a body needs no key. HTTP/1.0, which no browser speaks, needs no Host.
std::optional<RequestError> find_access_problem(const AccessRules& rules, const RequestHead& head);

}  // namespace shori
