// Which part of a growing text may be shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  // Adds to the text; returns the part that can be shown now. After a stop string nothing is shown any more.
  std::string append(std::string_view text);
  // The rest, when nothing follows.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  bool cut_at_stop();
  std::size_t held_back() const;
  std::string take(std::size_t bytes);

  const std::vector<std::string>& stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace shori
