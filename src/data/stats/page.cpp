// The statistics as markup.
#include <string>

#include "shori/data/corpus_stats.h"
#include "shori/util/page/markup.h"
#include "shori/util/text.h"
#include "src/data/stats/table.h"

namespace shori {
namespace {

std::string text_block(const std::string& text) { return concat("<pre>", escape_markup(text), "</pre>\n"); }

}  // namespace

std::string CorpusStats::html(std::size_t characters) const {
  return concat(text_block(overview_text() + figures_text()), "<h2>Message lengths</h2>\n<figure>\n", svg(),
                "</figure>\n", text_block(quantiles_text()), role_table().html("Roles"),
                category_table().html("Categories"), character_table(characters).html("Characters"),
                hint_table().html("Length hints"));
}

}  // namespace shori
