#include "src/config/arrow_rates.h"

#include <algorithm>

#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::string_view kArrow = "->";

}  // namespace

bool has_arrow(const Setting* setting) {
  return setting != nullptr && setting->value.kind == YamlNode::Kind::kScalar &&
         setting->value.text.find(kArrow) != std::string::npos;
}

std::vector<Setting> split_rates(const Setting& rates) {
  std::vector<Setting> parts;
  const std::string& text = rates.value.text;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(kArrow, begin), text.size());
    const std::size_t first = std::min(text.find_first_not_of(' ', begin), end);
    std::size_t last = end;
    while (last > first && text[last - 1] == ' ') --last;
    Setting part = rates;
    part.value.text = text.substr(first, last - first);
    // The arrow form is a text, so it may be quoted as a whole; the rates inside are plain numbers.
    part.value.column += first + (rates.value.quoted ? 1 : 0);
    part.value.quoted = false;
    parts.push_back(std::move(part));
    begin = end + kArrow.size();
  }
  return parts;
}

Diagnostic arrow_beside_stages(const Setting& rates) {
  return Diagnostic("E0107", "`learning_rate` with `->` does not go with `stages`")
      .at(rates.value_location())
      .note("`->` makes stages of the categories of `datasets`")
      .help("give each stage its own `learning_rate`");
}

Diagnostic one_rate_for_an_arrow(const Setting& rate) {
  const std::string value = value_text(rate.value);
  return Diagnostic("E0107", concat("`--set learning_rate=", value, "` would make one stage of this recipe"))
      .note("the file gives rates with `->`, one per category")
      .help(concat("`--set 'learning_rate=", value, " -> ", value, "'`"));
}

Diagnostic too_many_rates(const Setting& arrow, const std::vector<Setting>& rates,
                          const std::vector<std::string>& categories) {
  std::vector<std::string> texts;
  for (const Setting& rate : rates) texts.push_back(value_text(rate.value));
  return Diagnostic("E0107", concat("`learning_rate` has more rates (", rates.size(), ") than there are categories (",
                                    categories.size(), ")"))
      .at(arrow.value_location())
      .note("rates: " + join_words(texts))
      .note("categories of `datasets`: " + join_words(categories))
      .help("delete rates, or add the datasets of the missing categories");
}

std::string repeated_rate_note(const Setting& arrow, const std::vector<Setting>& rates,
                               const std::vector<std::string>& categories) {
  const std::vector<std::string> rest(categories.begin() + static_cast<std::ptrdiff_t>(rates.size()) - 1,
                                      categories.end());
  const SourceLocation location = arrow.value_location();
  return concat(escape_for_log(location.file, 400), ":", location.line, ": `learning_rate` has ",
                counted(rates.size(), "rate"), " for ", categories.size(), " categories: the last, ",
                value_text(rates.back().value), ", is the rate of ", join_words(rest));
}

}  // namespace shori
