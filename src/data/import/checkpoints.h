// Checkpoints: chats that are copies of the beginning of another.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_set>

#include "src/data/import/conversation.h"

namespace shori {

// Chains of hashes over the messages of chats: equal ones are equal beginnings.
class Beginnings {
 public:
  void add(const ImportedConversation& conversation, const std::string& path);
  // Files of checkpoints that another chat holds as a whole.
  std::set<std::string> contained() const;

 private:
  std::unordered_set<std::uint64_t> all_;
  std::map<std::string, std::uint64_t> checkpoints_;
};

}  // namespace shori
