#include "kernels/cuda/architectures.h"

#include <charconv>

namespace shori {

bool has_code_for(std::string_view list, int sm_major, int sm_minor) {
  const int card = sm_major * 10 + sm_minor;
  while (!list.empty()) {
    const std::string_view entry = list.substr(0, list.find(','));
    list.remove_prefix(entry.size() == list.size() ? entry.size() : entry.size() + 1);
    int number = 0;
    std::from_chars(entry.data(), entry.data() + entry.size(), number);
    const bool real = !entry.ends_with("-virtual"), is_virtual = !entry.ends_with("-real");
    if (real && number / 10 == sm_major && number % 10 <= sm_minor) return true;
    if (is_virtual && number <= card) return true;
  }
  return false;
}

}  // namespace shori
