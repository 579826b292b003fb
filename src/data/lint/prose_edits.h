// What the fixes of rules of prose replace in a block, before any look at whether the block keeps its meaning (fix.cpp).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/lint.h"
#include "src/data/blockml/text_span.h"

namespace shori {

struct Edit {
  TextSpan span;
  std::string replacement;
};

struct ProseFix {
  LintRule rule;
  // The edits in order, found in a text with its fences blanked.
  std::vector<Edit> (*find)(std::string_view prose);
};
std::span<const ProseFix> prose_fixes();

}  // namespace shori
