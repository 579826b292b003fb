#include "src/chat/server/http/access.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include <algorithm>

#include "shori/data/plain_text.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::string_view kBearer = "bearer ";

std::optional<int> port_of(std::string_view text) {
  return parse_number<std::uint16_t>(text);  // of which it reads digits only
}

// The host of `localhost:8080` or `[::1]:8080`; empty for what is of another form.
std::string_view host_of(std::string_view authority) {
  const bool in_brackets = authority.starts_with('[');
  const std::size_t end = std::min(authority.find(in_brackets ? ']' : ':'), authority.size());
  const std::string_view host = authority.substr(in_brackets ? 1 : 0, in_brackets ? end - 1 : end);
  std::string_view rest = authority.substr(end);
  if (in_brackets != (host.find(':') != std::string_view::npos) || in_brackets != rest.starts_with(']')) return {};
  if (in_brackets) rest.remove_prefix(1);
  const bool has_port = rest.starts_with(':') && port_of(rest.substr(1));
  return rest.empty() || has_port ? host : std::string_view();
}

// As the Host header names it; some clients write names with the dot of the root.
bool is_this_machine(std::string_view host) { return is_loopback(host) || lower_ascii(host) == "localhost."; }

// Compares digests, so that the time says nothing of where two keys differ or how long they are.
bool is_same_key(std::string_view given, std::string_view key) {
  const Sha256Digest a = sha256(given.data(), given.size()), b = sha256(key.data(), key.size());
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

std::string make_key_command(const std::string& path) { return concat("openssl rand -hex 24 > ", shell_word(path)); }

bool is_ipv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool has_key(const AccessRules& rules, const RequestHead& head) {
  std::string_view key = head.api_key;
  const std::string_view authorization = head.authorization;
  if (lower_ascii(authorization.substr(0, kBearer.size())) == kBearer) key = trim(authorization.substr(kBearer.size()));
  bool found = false;
  for (const std::string& known : rules.keys) found |= is_same_key(key, known);
  return found;
}

RequestError forbidden(std::string message) {
  return {.status = 403, .type = "permission_error", .message = std::move(message)};
}

}  // namespace

ListenAddress parse_listen_address(const std::string& text) {
  ListenAddress address;
  const std::size_t colon = text.rfind(':');
  const bool has_host = colon != std::string::npos;
  const auto port = port_of(std::string_view(text).substr(has_host ? colon + 1 : 0));
  if (has_host) address.host = text.substr(0, colon);
  const bool in_brackets = address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']';
  if (in_brackets) address.host = address.host.substr(1, address.host.size() - 2);
  if (!port || address.host.empty() || (!in_brackets && address.host.find(':') != std::string::npos)) {
    Diagnostic problem("E0116", concat("--serve ", text, ": not of the form [HOST:]PORT"));
    if (port && is_ipv6(address.host))
      problem.help(concat("an IPv6 address stands in brackets: `--serve [", address.host, "]:", *port, '`'));
    throw Error(problem.help("`--serve 8080`, or `--serve 0.0.0.0:8080 --api-key-file FILE` for other machines"));
  }
  address.port = *port;
  return address;
}

bool is_loopback(std::string_view host) {
  if (lower_ascii(host) == "localhost" || host == "::1") return true;
  const bool is_address = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return is_address && host.starts_with("127.") && std::count(host.begin(), host.end(), '.') == 3;
}

namespace {

// plain_text() would show the line.
std::string text_of_keys(const std::string& bytes, const std::string& path) {
  try {
    return plain_text(bytes, path);
  } catch (const Error&) {
    throw Error(Diagnostic("E0116", concat("--api-key-file: ", quoted_path(path), " is not a text file"))
                    .help(make_key_command(path)));
  }
}

}  // namespace

std::vector<std::string> read_api_keys(const std::string& path) {
  constexpr std::uint64_t kMaxBytes = 64u << 10;
  const InputFile file = InputFile::open(path, "E0108");
  const std::string text = text_of_keys(read_whole_file(file, kMaxBytes, "E0116"), path);
  std::vector<std::string> keys;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = trim(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.empty() || line.starts_with('#')) continue;
    if (!std::all_of(line.begin(), line.end(), [](char c) { return c > ' ' && c < 0x7f; }))
      throw Error(Diagnostic("E0116", concat("--api-key-file: a key in ", quoted_path(path),
                                             " holds white space or characters that are not ASCII"))
                      .help(make_key_command(path)));
    keys.emplace_back(line);
  }
  if (keys.empty())
    throw Error(
        Diagnostic("E0116", concat("--api-key-file: no key in ", quoted_path(path))).help(make_key_command(path)));
  return keys;
}

void warn_if_others_read(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0 || (status.st_mode & 077) == 0) return;
  log_warning(Diagnostic("W0102", concat("other users can read the key in ", quoted_path(path)))
                  .help(shell_words({"chmod", "600", path})));
}

std::optional<RequestError> find_access_problem(const AccessRules& rules, const RequestHead& head) {
  const bool may_lack_host = head.version == "HTTP/1.0" && head.host.empty();
  if (rules.is_loopback_only && !may_lack_host && !is_this_machine(host_of(head.host)))
    return forbidden("the Host header names another machine; connect to 127.0.0.1 or localhost");
  const std::string_view origin = head.origin;
  const std::size_t scheme = origin.find("://");
  const std::string_view page = scheme == std::string_view::npos ? origin : origin.substr(scheme + 3);
  if (!origin.empty() && lower_ascii(page) != lower_ascii(head.host))
    return forbidden("requests from web pages are refused");
  const bool is_open = head.path() == "/health" && head.length.value_or(0) == 0;
  if (rules.keys.empty() || is_open || has_key(rules, head)) return std::nullopt;
  return RequestError{.status = 401, .type = "authentication_error", .message = "invalid API key"};
}

}  // namespace shori
