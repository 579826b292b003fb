// Amounts of memory as people read and write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace shori {

// Reads "24GiB", "22.5 GB", "512MiB": a number, then KiB, MiB, GiB (powers of 1024) or KB, MB, GB (powers of 1000).
// nullopt for anything else, 0 included.
std::optional<std::size_t> parse_byte_size(std::string_view text);

// In the largest unit from B to TiB (powers of 1024) that gives at least 1: "4.1 GiB", "512.0 MiB", "17 B".
std::string format_bytes(std::uint64_t bytes);
// Always in GiB, for tables and comparisons of GPU memory: "22.47 GiB".
std::string format_gib(std::uint64_t bytes);

}  // namespace shori
