// The line at the bottom of a terminal while a stage trains.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shori {

struct LiveState {
  std::string stage;
  std::uint64_t step = 0, total = 0;  // completed steps, all steps of the stage
  double moved = 0;                   // share of the next step that is done, 0 to 1
  std::optional<double> seconds_left, recipe_seconds_left;
  // Of the last completed step; nothing is shown of them before there is one.
  double grad_norm = 0, learning_rate = 0, tokens_per_second = 0;
  std::optional<double> share_of_peak;  // of the card's arithmetic; nullopt: not known
  std::size_t memory_bytes = 0;
  bool saved = false;          // the last completed step is known to be on the disk
  std::vector<double> losses;  // of the completed steps of this start, oldest first
  double average_loss = 0;
};

// What fits into `columns` code points, the most important parts first. Without `unicode` only ASCII is used.
std::string live_text(const LiveState& state, std::size_t columns, bool unicode);

}  // namespace shori
