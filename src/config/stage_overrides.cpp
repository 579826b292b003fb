// `--set STAGE.key=value` that no stage can take.
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/expand_stages.h"

namespace shori {

void refuse_keys_of_the_recipe(const std::vector<StageOverride>& overrides, Diagnostics& diagnostics) {
  for (const StageOverride& override : overrides) {
    const std::string& key = override.setting.key;
    if (key != "name" && key != "output_dir" && key != "category_order" && key != "init_from") continue;
    const std::string option = concat("--set ", escape_for_log(override.stage), ".", key);
    diagnostics.add(Diagnostic("E0107", concat("`", option, "`: this key is not one of a single stage"))
                        .note(key == "init_from" ? "every stage but the first begins from the one before it"
                                                 : "a stage writes to <output_dir of the recipe>/<name>")
                        .help(concat("leave out `", option, "=...`")));
  }
}

void refuse_unused_overrides(const std::vector<StageOverride>& overrides, const std::vector<StageConfig>& stages,
                             Diagnostics& diagnostics) {
  std::vector<std::string> names;
  for (const StageConfig& stage : stages) names.push_back(stage.name);
  for (const StageOverride& override : overrides) {
    if (override.used) continue;
    const std::string name = escape_for_log(override.stage), &key = override.setting.key;
    Diagnostic unknown("E0117", concat("`--set ", name, ".", key, "`: no stage is named `", name, "`"));
    unknown.note("stages: " + join_words(names));
    const std::string similar = find_similar_name(override.stage, names);
    if (!similar.empty())
      unknown.help(concat("write `--set ", similar, ".", key, "=", value_text(override.setting.value), "`"));
    diagnostics.add(std::move(unknown));
  }
}

}  // namespace shori
