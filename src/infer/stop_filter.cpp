#include "src/infer/stop_filter.h"

#include <algorithm>

#include "shori/data/blockml.h"

namespace shori {
namespace {

std::size_t without_trailing_space(std::string_view text) {
  while (!text.empty() && is_blockml_space(text.back())) text.remove_suffix(1);
  return text.size();
}

}  // namespace

// Cuts at the stop string that begins first.
bool StopFilter::cut_at_stop() {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_)
    if (!stop.empty()) first = std::min(first, pending_.find(stop));
  if (first == std::string::npos) return false;
  pending_.resize(first);
  return true;
}

// Bytes at the end that may be the begin of a stop string.
std::size_t StopFilter::held_back() const {
  std::size_t held = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size(), pending_.size() + 1); size-- > held + 1;) {
      if (!std::string_view(pending_).ends_with(std::string_view(stop).substr(0, size))) continue;
      held = size;
      break;
    }
  }
  return held;
}

std::string StopFilter::take(std::size_t bytes) {
  std::string shown = pending_.substr(0, without_trailing_space(std::string_view(pending_).substr(0, bytes)));
  pending_.erase(0, shown.size());
  return shown;
}

std::string StopFilter::append(std::string_view text) {
  if (stopped_) return "";
  pending_ += text;
  stopped_ = cut_at_stop();
  return take(stopped_ ? pending_.size() : pending_.size() - held_back());
}

std::string StopFilter::finish() { return stopped_ ? "" : take(pending_.size()); }

}  // namespace shori
