// Amounts of memory as people write them.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace shori {

// "24GiB", "22.5 GB", "512MiB": a number, then KiB, MiB, GiB (powers of 1024) or KB, MB, GB (powers of 1000). nullopt:
// anything else, 0 included.
std::optional<std::size_t> parse_byte_size(std::string_view text);

}  // namespace shori
