#include "src/train/plan/host_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <ranges>

#include "shori/util/error.h"
#include "shori/util/file.h"

namespace shori {
namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

// The number after `name` at the start of a line, as in /proc/meminfo and memory.stat.
std::optional<std::size_t> read_number(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string word; file >> word;) {
    std::size_t value = 0;
    if (word == name && file >> value) return value;
    file.clear();
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

// A file that holds one number; nullopt for "max" too.
std::optional<std::size_t> read_number(const std::string& path) {
  std::ifstream file(path);
  std::size_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// What the group leaves. Its pages of files that nobody uses can be given up, so they count as free.
std::size_t left_in_group(const std::string& group, const char* limit_name, const char* usage_name,
                          const char* inactive_name) {
  const auto limit = read_number(join_path(group, limit_name));
  const auto usage = read_number(join_path(group, usage_name));
  if (!limit || !usage) return kNoLimit;
  const std::size_t inactive = read_number(join_path(group, "memory.stat"), inactive_name).value_or(0);
  const std::size_t used = *usage - std::min(*usage, inactive);
  return *limit - std::min(*limit, used);
}

// The least that the group and the groups around it leave. In a container the path of the group is often that of the host,
// and only the root of the mounted tree is there.
std::size_t left_in_tree(const std::string& tree, std::string path, const char* limit_name, const char* usage_name,
                         const char* inactive_name) {
  std::size_t left = kNoLimit;
  for (;;) {
    left = std::min(left, left_in_group(tree + path, limit_name, usage_name, inactive_name));
    if (path.size() <= 1) return left;
    path.resize(std::max<std::size_t>(path.rfind('/'), 1));
  }
}

// Lines "id:controllers:path"; version 2 has the one line "0::path".
std::size_t left_in_groups(const std::string& root) {
  std::size_t left = kNoLimit;
  std::ifstream groups(join_path(root, "proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    const std::string tree = join_path(root, "sys/fs/cgroup");
    if (controllers.empty())
      left = std::min(left, left_in_tree(tree, path, "memory.max", "memory.current", "inactive_file"));
    if (controllers == "memory")
      left = std::min(left, left_in_tree(tree + "/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                         "total_inactive_file"));
  }
  return left;
}

}  // namespace

std::size_t available_host_bytes() { return available_host_bytes("/"); }

std::size_t available_host_bytes(const std::string& root) {
  const auto kibibytes = read_number(join_path(root, "proc/meminfo"), "MemAvailable:");
  return std::min(kibibytes.value_or(0) * 1024, left_in_groups(root));
}

CheckpointingPolicy choose_host_checkpointing(std::int64_t layers, const SavedBytes& bytes, ActivationMemory choice,
                                              std::size_t available) {
  switch (choice) {
    case ActivationMemory::kAuto:
      break;
    case ActivationMemory::kRecompute:
      return CheckpointingPolicy::uniform(layers, Recompute::kAll);
    case ActivationMemory::kKeepAttention:
      return CheckpointingPolicy::uniform(layers, Recompute::kMlp);
    case ActivationMemory::kKeep:
      return CheckpointingPolicy::uniform(layers, Recompute::kNone);
  }
  CheckpointingPolicy policy = CheckpointingPolicy::uniform(layers, Recompute::kAll);
  std::size_t left = available / 5 * 4;
  for (Recompute& layer : std::views::reverse(policy.layers)) {
    const std::size_t need = bytes.whole <= left ? bytes.whole : bytes.attention;
    if (need > left) break;
    layer = need == bytes.whole ? Recompute::kNone : Recompute::kMlp;
    left -= need;
  }
  return policy;
}

}  // namespace shori
