// The conversation of a chat: what was there at its start, and what was said since.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "shori/data/blockml.h"

namespace shori {

class Conversation {
 public:
  Conversation() = default;
  explicit Conversation(std::vector<Segment> segments)
      : segments_(std::move(segments)), is_reply_(segments_.size(), false) {}

  std::span<const Segment> segments() const { return segments_; }
  bool has_message() const;
  // The last segment, where it is a message; nullptr otherwise.
  const Segment* last_message() const;
  bool last_is_reply() const { return !is_reply_.empty() && is_reply_.back(); }
  // Characters that have a description or a message, each once, in that order.
  std::vector<std::string> names() const;

  void add(std::string body, bool is_reply);
  void remove_last();
  void replace_last_body(std::string body) { segments_.back().body = std::move(body); }

 private:
  std::vector<Segment> segments_;
  std::vector<bool> is_reply_;  // of each segment: written by the model in this chat
};

}  // namespace shori
