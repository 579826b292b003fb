// The head of an HTTP/1.1 request: what is checked and judged before its body is read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shori {

struct RequestHead {
  std::string method = {}, target = {}, version = {};                    // of the request line
  std::string host = {}, origin = {}, authorization = {}, api_key = {};  // header fields; empty: missing
  std::optional<std::uint64_t> length = std::nullopt;                    // Content-Length
  bool expects_continue = false;

  // The target without its query, as the client wrote it.
  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
};

// Of the lines of a head, without the empty one that ends it. Throws RequestError: 400 for what is no request, 411 for a
// body in chunks, 415 for a compressed one.
RequestHead parse_request_head(std::string_view lines);
// Whether a line ends in LF alone.
bool has_bare_line_feed(std::string_view lines);

}  // namespace shori
