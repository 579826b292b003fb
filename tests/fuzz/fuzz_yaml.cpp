#include "fuzz_targets.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"

namespace shori::fuzz {

void yaml(std::string_view bytes) {
  constexpr YamlLimits limits = {64u << 20, 8, 1'000'000, 1u << 20};
  Diagnostics diagnostics;
  const std::optional<YamlDocument> document = parse_yaml("fuzz", std::string(bytes), limits, diagnostics);
  require(document.has_value() || diagnostics.has_errors(), "a text is read, or told why not");
  for (const Diagnostic& problem : diagnostics.all())
    require(!find_invalid_utf8(problem.message), "messages are UTF-8");
}

}  // namespace shori::fuzz
