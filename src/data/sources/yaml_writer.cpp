// Segments as YAML: what fits the keys of the header goes there, everything else goes to `messages` in its order.
#include <algorithm>
#include <map>

#include "shori/data/yaml_source.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

// Characters that YAML does not take as they are, or reads as line ends.
bool needs_escape(char32_t c) {
  return (c < 0x20 && c != '\n') || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 || c == 0xFEFF ||
         (c >= 0xFFFE && c <= 0xFFFF);
}

std::string quoted(std::string_view text) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (c.value == '"' || c.value == '\\') {
      out += '\\';
      out += static_cast<char>(c.value);
    } else if (c.value == '\n') {
      out += "\\n";
    } else if (c.value == '\t') {
      out += "\\t";
    } else if (needs_escape(c.value)) {
      out += "\\u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[(c.value >> shift) & 15];
    } else {
      out.append(text, at, c.bytes);
    }
    at += c.bytes;
  }
  return out + '"';
}

// Whether a block scalar `|-` can hold the text: nothing to escape, no space at the start or at the end of a line.
bool fits_block(std::string_view text) {
  if (text.front() == ' ' || text.back() == ' ' || text.find(" \n") != std::string_view::npos) return false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    if (needs_escape(c.value)) return false;
    at += c.bytes;
  }
  return true;
}

std::string scalar(std::string_view text, std::size_t indent) {
  if (text.find_first_of("\n\"\\") == std::string_view::npos || !fits_block(text)) return quoted(text);
  std::string out = "|-";
  const std::string margin = "\n" + std::string(indent, ' ');
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    out += end == begin ? "\n" : margin + std::string(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

bool is_trimmed(std::string_view text) {
  return !text.empty() && !is_blockml_space(text.front()) && !is_blockml_space(text.back());
}

// Tags whose join by ", " is the body: its parts, or the body as one.
std::string tag_list(std::string_view body) {
  std::vector<std::string_view> tags;
  for (std::size_t begin = 0; begin <= body.size();) {
    const std::size_t end = std::min(body.find(", ", begin), body.size());
    tags.push_back(body.substr(begin, end - begin));
    begin = end + 2;
  }
  if (!std::all_of(tags.begin(), tags.end(), is_trimmed) || body.ends_with(", ")) tags = {body};
  std::string out;
  for (const std::string_view tag : tags) out += (out.empty() ? "" : ", ") + quoted(tag);
  return "[" + out + "]";
}

class ConversationWriter {
 public:
  explicit ConversationWriter(std::span<const Segment> segments) : segments_(segments) {}

  std::string write(std::string_view id, std::string_view category, std::string_view rating) {
    if (!id.empty()) out_ += "id: " + quoted(id) + "\n";
    if (!category.empty()) out_ += "category: " + std::string(category) + "\n";
    if (!rating.empty()) out_ += "rating: " + std::string(rating) + "\n";
    name_characters();
    std::size_t next = header();
    out_ += "messages:\n";
    for (; next < segments_.size(); ++next) next = item(next);
    return std::move(out_);
  }

 private:
  // Ids for the speakers and for cards that begin with a name. A text with `<<` might be read as an id: then there are
  // none, and every text stands in full.
  void name_characters() {
    for (const Segment& segment : segments_) {
      if (segment.body.find("<<") != std::string::npos) return;
    }
    for (const Segment& segment : segments_) {
      if (segment.role != Role::kMessage) continue;
      const auto speaker = find_speaker(segment.body);
      if (speaker && fits_who(segment.body, *speaker)) id_of(speaker->name);
    }
    for (const Segment& segment : segments_) {
      if (segment.role == Role::kDescription && is_name(first_line(segment.body))) id_of(first_line(segment.body));
    }
  }

  static std::string_view first_line(std::string_view body) { return body.substr(0, body.find('\n')); }

  static bool is_name(std::string_view line) {
    const std::string body = std::string(line) + ": x";
    const auto speaker = find_speaker(body);
    return speaker && speaker->name == line && is_trimmed(line);
  }

  static bool fits_who(std::string_view body, const Speaker& speaker) {
    return body[speaker.text_begin - 1] == ' ' && is_trimmed(body.substr(speaker.text_begin)) &&
           is_trimmed(speaker.name);
  }

  void id_of(std::string_view name) {
    if (ids_.contains(name)) return;
    std::string id;
    for (const char c : name) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
      if (plain || (c >= 'A' && c <= 'Z')) id += lower_ascii(c);
      if (c == ' ' && !id.empty() && id.back() != '_') id += '_';
    }
    while (id.ends_with('_')) id.pop_back();
    if (id.empty() || (id[0] >= '0' && id[0] <= '9') || id == "null") id = "c" + id;
    std::string free = id;
    for (int number = 2; taken_.contains(free); ++number) free = concat(id, '_', number);
    taken_[free] = true;
    names_.push_back({free, std::string(name)});
    ids_[std::string(name)] = free;
  }

  bool follows(std::size_t at, Role role) const { return at < segments_.size() && segments_[at].role == role; }

  // Writes title, tags, lore, cards, scenario and system as long as they come in this order; returns the first segment
  // that does not.
  std::size_t header() {
    std::size_t at = 0;
    if (follows(at, Role::kTitle)) out_ += "title: " + scalar(segments_[at++].body, 2) + "\n";
    if (follows(at, Role::kTags)) out_ += "tags: " + tag_list(segments_[at++].body) + "\n";
    if (follows(at, Role::kLore)) out_ += "lore:\n";
    while (follows(at, Role::kLore)) out_ += "  - " + scalar(segments_[at++].body, 6) + "\n";
    at = cards(at);
    if (follows(at, Role::kScenario)) out_ += "scenario: " + scalar(segments_[at++].body, 2) + "\n";
    if (follows(at, Role::kInst) && follows(at + 1, Role::kMessage))
      out_ += "system: " + scalar(segments_[at++].body, 2) + "\n";
    return at;
  }

  // Cards come in the order of the characters, so those with a card stand first, then the other speakers.
  std::size_t cards(std::size_t at) {
    std::vector<std::pair<std::string, std::string_view>> described;
    std::map<std::string, bool> used;
    for (; !names_.empty() && follows(at, Role::kDescription); ++at) {
      const std::string_view body = segments_[at].body;
      const std::size_t line = body.find('\n');
      const std::string name(body.substr(0, line));
      if (line == std::string_view::npos || !ids_.contains(name) || used[name] || !is_trimmed(body.substr(line + 1)))
        break;
      used[name] = true;
      described.push_back({name, body.substr(line + 1)});
    }
    if (names_.empty()) return at;
    out_ += "characters:\n";
    for (const auto& [name, text] : described)
      out_ += "  " + ids_[name] + ":\n    name: " + quoted(name) + "\n    description: " + scalar(text, 6) + "\n";
    for (const auto& [id, name] : names_) {
      if (!used[name]) out_ += "  " + id + ":\n    name: " + quoted(name) + "\n";
    }
    return at;
  }

  // Writes the item that begins at segment `at`; returns the last segment in it.
  std::size_t item(std::size_t at) {
    const Segment& segment = segments_[at];
    switch (segment.role) {
      case Role::kTitle:
        out_ += "  - title: " + scalar(segment.body, 6) + "\n";
        if (!follows(at + 1, Role::kTags)) return at;
        out_ += "    tags: " + tag_list(segments_[at + 1].body) + "\n";
        return at + 1;
      case Role::kTags:
        out_ += "  - tags: " + tag_list(segment.body) + "\n";
        return at;
      case Role::kMessage:
        message(segment);
        return at;
      case Role::kInst:
        out_ += "  - note: " + scalar(segment.body, 6) + "\n";
        return at;
      default:
        out_ += "  - " + std::string(role_name(segment.role)) + ": " + scalar(segment.body, 6) + "\n";
        return at;
    }
  }

  void message(const Segment& segment) {
    const std::string_view body = segment.body;
    const auto speaker = find_speaker(body);
    const auto id = speaker && fits_who(body, *speaker) ? ids_.find(speaker->name) : ids_.end();
    const bool named = id != ids_.end();
    out_ += "  - ";
    if (named) out_ += "who: " + id->second + "\n    ";
    if (segment.hint != LengthHint::kNone) out_ += "length: " + std::string(length_name(segment.hint)) + "\n    ";
    out_ += "text: " + scalar(named ? body.substr(speaker->text_begin) : body, 6) + "\n";
  }

  std::span<const Segment> segments_;
  std::map<std::string, std::string, std::less<>> ids_;  // name -> id
  std::map<std::string, bool> taken_;
  std::vector<std::pair<std::string, std::string>> names_;  // id and name, in order
  std::string out_;
};

}  // namespace

std::string render_yaml_conversation(std::span<const Segment> segments, std::string_view id, std::string_view category,
                                     std::string_view rating) {
  return ConversationWriter(segments).write(id, category, rating);
}

}  // namespace shori
