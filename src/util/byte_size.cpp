#include "shori/util/byte_size.h"

#include <charconv>
#include <cstdio>

namespace shori {

namespace {

std::string format_number(const char* format, double number, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, format, number, unit);
  return text;
}

}  // namespace

std::optional<std::size_t> parse_byte_size(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  constexpr Unit kUnits[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  for (const Unit& unit : kUnits) {
    if (text != unit.name) continue;
    const double bytes = number * unit.bytes;
    if (!(bytes >= 1) || bytes > 0x1p50) return std::nullopt;
    return static_cast<std::size_t>(bytes);
  }
  return std::nullopt;
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto number = static_cast<double>(bytes);
  int unit = 0;
  for (; unit < 4 && number >= 1024; ++unit) number /= 1024;
  return format_number(unit == 0 ? "%.0f %s" : "%.1f %s", number, kUnits[unit]);
}

std::string format_gib(std::uint64_t bytes) {
  return format_number("%.2f %s", static_cast<double>(bytes) / 0x1p30, "GiB");
}

}  // namespace shori
