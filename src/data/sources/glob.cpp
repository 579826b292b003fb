#include "src/data/sources/glob.h"

#include <optional>

#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kMaxPaths = 1000;
constexpr std::uint32_t kNoCodePoint = 0xFFFFFFFF;

// A code point, or a byte that is part of none: names of files need not be UTF-8.
CodePoint character_at(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at, 4);
  for (std::size_t bytes = 1; bytes <= rest.size(); ++bytes) {
    if (!find_invalid_utf8(rest.substr(0, bytes))) return code_point_at(rest, 0);
  }
  return {kNoCodePoint - static_cast<unsigned char>(rest.front()), 1};
}

// A class in brackets at the start of a pattern.
struct BracketClass {
  std::size_t bytes = 0;  // its length in the pattern
  bool contains = false;  // whether it has the character
};

// The class that begins at `at`, or nullopt: a `[` without its `]` stands for itself. `]` right after the start is a member.
std::optional<BracketClass> read_class(std::string_view pattern, std::size_t at, std::uint32_t character) {
  std::size_t next = at + 1;
  const bool negated = next < pattern.size() && (pattern[next] == '!' || pattern[next] == '^');
  if (negated) ++next;
  bool contains = false;
  for (bool first = true; next < pattern.size(); first = false) {
    if (pattern[next] == ']' && !first) return BracketClass{next + 1 - at, contains != negated};
    const CodePoint low = character_at(pattern, next);
    next += low.bytes;
    CodePoint high = low;
    if (next + 1 < pattern.size() && pattern[next] == '-' && pattern[next + 1] != ']') {
      high = character_at(pattern, next + 1);
      next += 1 + high.bytes;
    }
    contains = contains || (low.value <= character && character <= high.value);
  }
  return std::nullopt;
}

// Bytes of the pattern and of the name that one step matches; nullopt if it does not.
struct GlobStep {
  std::size_t pattern, name;
};

std::optional<GlobStep> match_character(std::string_view pattern, std::size_t at, std::string_view name,
                                        std::size_t in_name) {
  if (at >= pattern.size()) return std::nullopt;
  const CodePoint character = character_at(name, in_name);
  if (pattern[at] == '?') return GlobStep{1, character.bytes};
  if (pattern[at] == '[') {
    if (const auto bracket = read_class(pattern, at, character.value)) {
      return bracket->contains ? std::optional(GlobStep{bracket->bytes, character.bytes}) : std::nullopt;
    }
  }
  return pattern[at] == name[in_name] ? std::optional(GlobStep{1, 1}) : std::nullopt;
}

// `{b,c}` inside a path.
struct BraceGroup {
  std::size_t begin, end;  // of the group, with its braces
  std::vector<std::string> parts;
};

// The group that begins at `begin`, or nullopt if it has no comma of its own or no end.
std::optional<BraceGroup> read_group(const std::string& path, std::size_t begin) {
  BraceGroup group{begin, 0, {}};
  std::size_t part = begin + 1;
  int depth = 0;
  for (std::size_t i = begin; i < path.size(); ++i) {
    if (path[i] == '{') ++depth;
    if (path[i] == '}') --depth;
    if ((path[i] == ',' && depth == 1) || depth == 0) {
      group.parts.push_back(path.substr(part, i - part));
      part = i + 1;
    }
    if (depth > 0) continue;
    group.end = i + 1;
    return group.parts.size() > 1 ? std::optional(group) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<BraceGroup> first_group(const std::string& path) {
  for (std::size_t i = path.find('{'); i != std::string::npos; i = path.find('{', i + 1)) {
    if (auto group = read_group(path, i)) return group;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> expand_braces(const std::string& path) {
  std::vector<std::string> open = {path}, paths;
  while (!open.empty()) {
    if (open.size() + paths.size() > kMaxPaths) return {path};
    const std::string next = open.back();
    open.pop_back();
    const std::optional<BraceGroup> group = first_group(next);
    if (!group) {
      paths.push_back(next);
      continue;
    }
    for (auto part = group->parts.rbegin(); part != group->parts.rend(); ++part) {
      open.push_back(next.substr(0, group->begin) + *part + next.substr(group->end));
    }
  }
  return paths;
}

bool matches_glob(std::string_view pattern, std::string_view name) {
  if (pattern == name) return true;
  if (is_hidden_name(name) && !is_hidden_name(pattern)) return false;
  std::size_t at = 0, in_name = 0, star = std::string_view::npos, star_name = 0;
  while (in_name < name.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      star_name = in_name;
    } else if (const auto step = match_character(pattern, at, name, in_name)) {
      at += step->pattern;
      in_name += step->name;
    } else if (star != std::string_view::npos) {
      at = star + 1;
      in_name = ++star_name;
    } else {
      return false;
    }
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

}  // namespace shori
