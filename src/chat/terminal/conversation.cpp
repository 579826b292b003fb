#include "src/chat/terminal/conversation.h"

#include <algorithm>

#include "src/chat/terminal/message_text.h"

namespace shori {

bool Conversation::has_message() const {
  return std::ranges::find(segments_, Role::kMessage, &Segment::role) != segments_.end();
}

const Segment* Conversation::last_message() const {
  return !segments_.empty() && segments_.back().role == Role::kMessage ? &segments_.back() : nullptr;
}

std::vector<std::string> Conversation::names() const {
  std::vector<std::string> names;
  const auto add_name = [&names](std::string_view name) {
    if (std::ranges::find(names, name) == names.end() && is_character_name(name)) names.emplace_back(name);
  };
  for (const Segment& segment : segments_)
    if (segment.role == Role::kDescription) add_name(std::string_view(segment.body).substr(0, segment.body.find('\n')));
  for (const Segment& segment : segments_)
    if (const auto speaker = find_speaker(segment.body); speaker && segment.role == Role::kMessage)
      add_name(speaker->name);
  return names;
}

void Conversation::add(std::string body, bool is_reply) {
  segments_.push_back({.role = Role::kMessage, .body = std::move(body)});
  is_reply_.push_back(is_reply);
}

void Conversation::remove_last() {
  segments_.pop_back();
  is_reply_.pop_back();
}

}  // namespace shori
