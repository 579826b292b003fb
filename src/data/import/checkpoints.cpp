#include "src/data/import/checkpoints.h"

#include <charconv>

#include "shori/util/hash.h"
#include "shori/util/text.h"

namespace shori {

void Beginnings::add(const ImportedConversation& conversation, const std::string& path) {
  std::uint64_t chain = 0;
  for (const Segment& segment : conversation.segments) {
    if (segment.role != Role::kMessage && segment.role != Role::kInst) continue;
    if (chain != 0) all_.insert(chain);
    const std::string hash = sha256_hex(concat(chain, role_name(segment.role), segment.body));
    std::from_chars(hash.data(), hash.data() + 16, chain, 16);
  }
  if (conversation.checkpoint)
    checkpoints_[path] = chain;
  else
    all_.insert(chain);
}

std::set<std::string> Beginnings::contained() const {
  std::set<std::string> paths;
  for (const auto& [path, chain] : checkpoints_) {
    if (all_.contains(chain)) paths.insert(path);
  }
  return paths;
}

}  // namespace shori
