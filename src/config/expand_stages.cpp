#include "src/config/expand_stages.h"

#include <algorithm>
#include <set>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/config/arrow_rates.h"
#include "src/config/category_order.h"
#include "src/config/check_stage.h"
#include "src/config/run_shares.h"

namespace shori {
namespace {

bool has_value(const Setting* setting) { return setting != nullptr && setting->value.kind != YamlNode::Kind::kNull; }

void erase_setting(Settings& settings, std::string_view key) {
  std::erase_if(settings, [&](const Setting& setting) { return setting.key == key; });
}

void replace_setting(Settings& settings, const Setting& setting) {
  erase_setting(settings, setting.key);
  settings.push_back(setting);
}

// What the program writes beside the folders of the stages.
constexpr std::string_view kFilesOfARecipe[] = {"report.html", "loss.svg", "run.lock"};

class RecipeBuilder {
 public:
  RecipeBuilder(RecipeSource& source, LoadedConfig& loaded, Diagnostics& diagnostics)
      : source_(source), loaded_(loaded), diagnostics_(diagnostics) {}

  void build() {
    const bool was_arrow = has_arrow(find_setting(source_.shared, "learning_rate"));
    apply_overrides();
    refuse_keys_of_the_recipe(source_.stage_overrides, diagnostics_);
    const Setting* rate = find_setting(source_.shared, "learning_rate");
    if (was_arrow && has_value(rate) && !has_arrow(rate) && !source_.stages_key)
      diagnostics_.add(one_rate_for_an_arrow(*rate));
    const std::string name = text_of("name"), output_dir = text_of("output_dir");
    loaded_.is_recipe = source_.stages_key.has_value() || has_arrow(rate);
    loaded_.output_dir = output_dir.empty() ? "" : path_in(loaded_.folder, output_dir);
    loaded_.name = name.empty() ? last_part(loaded_.output_dir) : name;
    refuse_order_without_arrow(rate);
    if (source_.stages_key) {
      build_stages();
    } else if (has_arrow(rate)) {
      build_arrow_stages(*rate);
    } else {
      override_stage(loaded_.name, source_.shared);
      add_stage(loaded_.name, source_.shared, file_place());
    }
    refuse_unused_overrides(source_.stage_overrides, loaded_.stages, diagnostics_);
    for (const StageConfig& stage : loaded_.stages) add_warnings(stage_warnings(stage));
  }

 private:
  SourceLocation file_place() const {
    SourceLocation location;
    location.file = source_.document->file;
    return location;
  }

  std::string text_of(std::string_view key) const {
    const Setting* setting = find_setting(source_.shared, key);
    return has_value(setting) ? setting->value.text : "";
  }

  static std::string last_part(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return file_name(path);
  }

  void apply_overrides() {
    for (const Setting& setting : source_.overrides) {
      replace_setting(source_.shared, setting);
      for (const StageItem& item : source_.items) {
        const Setting* own = find_setting(item.settings, setting.key);
        if (own == nullptr) continue;
        diagnostics_.add(
            Diagnostic("E0107", concat("`--set ", setting.key, "` does not go with a stage that sets this key"))
                .at(own->key_location())
                .note("`--set KEY=VALUE` replaces a key that the stages share")
                .help(concat("replace it in one stage: `--set ", stage_text(item), ".", setting.key, "=...`")));
      }
    }
  }

  static std::string stage_text(const StageItem& item) {
    const Setting* name = find_setting(item.settings, "name");
    return has_value(name) ? escape_for_log(name->value.text) : "STAGE";
  }

  void override_stage(const std::string& stage, Settings& settings) {
    for (StageOverride& override : source_.stage_overrides) {
      if (override.stage != stage) continue;
      override.used = true;
      replace_setting(settings, override.setting);
    }
  }

  void refuse_order_without_arrow(const Setting* rate) {
    const Setting* order = find_setting(source_.shared, "category_order");
    if (!has_value(order) || (has_arrow(rate) && !source_.stages_key)) return;
    diagnostics_.add(Diagnostic("E0107", "`category_order` goes only with rates `a -> b`")
                         .at(order->key_location())
                         .note("it is the order of the stages that the categories make")
                         .help("delete the line"));
  }

  void refuse_arrow(const Settings& settings) {
    if (const Setting* rate = find_setting(settings, "learning_rate"); has_arrow(rate))
      diagnostics_.add(arrow_beside_stages(*rate));
  }

  void build_stages() {
    refuse_arrow(source_.shared);
    Settings shared = source_.shared;
    erase_setting(shared, "name");
    for (const StageItem& item : source_.items) {
      const Setting* name = find_setting(item.settings, "name");
      if (!has_value(name)) {
        diagnostics_.add(Diagnostic("E0114", "required key `name` of a stage is missing").at(item.location));
      }
      refuse_stage_keys(item);
      Settings settings = shared;
      for (const Setting& setting : item.settings) replace_setting(settings, setting);
      if (has_value(name)) override_stage(name->value.text, settings);
      refuse_arrow(settings);
      add_stage(has_value(name) ? name->value.text : "", std::move(settings), item.location);
    }
  }

  void refuse_stage_keys(const StageItem& item) {
    refuse_arrow(item.settings);
    if (const Setting* output = find_setting(item.settings, "output_dir")) {
      diagnostics_.add(Diagnostic("E0107", "`output_dir` does not go inside a stage")
                           .at(output->key_location())
                           .note("a stage writes to <output_dir of the recipe>/<name>")
                           .help("delete the line"));
    }
    const Setting* init_from = find_setting(item.settings, "init_from");
    if (has_value(init_from) && !loaded_.stages.empty()) {
      diagnostics_.add(Diagnostic("E0107", "`init_from` goes only into the first stage of a recipe")
                           .at(init_from->key_location())
                           .note("every later stage begins from the stage before it")
                           .help("delete the line"));
    }
  }

  void build_arrow_stages(const Setting& arrow) {
    const Setting rates_setting = arrow;
    const std::vector<Setting> rates = split_rates(rates_setting);
    const std::vector<std::string> categories = categories_present();
    if (rates.size() > categories.size() && !categories.empty())
      diagnostics_.add(too_many_rates(rates_setting, rates, categories));
    if (rates.size() < categories.size()) add_notes({repeated_rate_note(rates_setting, rates, categories)});
    erase_setting(source_.shared, "name");
    // Check every rate and every key, even if the categories give no stages.
    const std::size_t count = std::max({rates.size(), categories.size(), std::size_t{1}});
    for (std::size_t i = 0; i < count; ++i) {
      Settings settings = source_.shared;
      replace_setting(settings, rates[std::min(i, rates.size() - 1)]);
      if (i < categories.size()) override_stage(categories[i], settings);
      add_stage(i < categories.size() ? categories[i] : "stage", std::move(settings), file_place());
      if (i < categories.size()) keep_category(loaded_.stages.back().config.datasets, categories[i]);
    }
  }

  static void keep_category(DatasetList& entries, const std::string& category) {
    std::erase_if(entries, [&](const DataEntry& entry) { return entry.category != category; });
  }

  std::vector<std::string> categories_present() {
    DatasetList entries;
    Diagnostics reported_again;  // add_stage() reads the entries as well, and reports
    const Setting* datasets = find_setting(source_.shared, "datasets");
    if (!has_value(datasets) || !read_datasets(*datasets, loaded_.folder, entries, reported_again)) return {};
    for (const DataEntry& entry : entries) {
      if (!entry.category.empty()) continue;
      diagnostics_.add(
          Diagnostic("E0107", "a dataset entry without `category` does not go with rates `a -> b`")
              .at(entry.location)
              .note("the categories of the entries make the stages")
              .help(concat("add `category:` with one of ", join_words(kCategories), ", or a name of your own")));
    }
    std::string note;
    std::vector<std::string> categories =
        ordered_categories(entries, find_setting(source_.shared, "category_order"), note, diagnostics_);
    if (!note.empty()) add_notes({note});
    return categories;
  }

  void add_stage(const std::string& name, Settings settings, const SourceLocation& location) {
    StageConfig stage;
    stage.name = name;
    stage.in_recipe = loaded_.is_recipe;
    stage.previous_stage = static_cast<int>(loaded_.stages.size()) - 1;
    std::set<std::string> refused;
    if (stage.previous_stage >= 0) erase_setting(settings, "init_from");
    drop_shared_carry(stage, settings);
    for (const Setting& setting : settings) {
      if (read_run_share(settings, setting, stage, diagnostics_)) continue;
      const KeyInfo* key = find_config_key(setting.key);
      if (!apply_setting(*key, setting, loaded_.folder, stage.config, diagnostics_)) refused.insert(setting.key);
      stage.origins[setting.key] = setting.origin();
    }
    stage.config.name = name;
    if (!has_value(find_setting(settings, "name"))) stage.origins["name"].kind = ValueOrigin::Kind::kDerived;
    stage.repeat_epochs = stage.config.max_steps && !has_value(find_setting(settings, "num_epochs"));
    check_required(stage, settings, location);
    allocate_outputs(stage);
    check_name(stage, settings, location);
    check_stage(settings, refused, stage, diagnostics_);
    loaded_.stages.push_back(std::move(stage));
  }

  // A shared `optimizer_state: carry` is meant for stages that follow another; a first stage without init_from does not.
  void drop_shared_carry(const StageConfig& stage, Settings& settings) const {
    const Setting* carry = find_setting(settings, "optimizer_state");
    const bool shared = carry != nullptr && carry->kind != ValueOrigin::Kind::kStage;
    const bool has_source = stage.previous_stage >= 0 || has_value(find_setting(settings, "init_from"));
    if (loaded_.is_recipe && shared && !has_source) erase_setting(settings, "optimizer_state");
  }

  void check_required(const StageConfig& stage, const Settings& settings, const SourceLocation& location) {
    for (const KeyInfo& key : config_keys()) {
      const Setting* setting = find_setting(settings, key.name);
      if (!key.rule.required) continue;
      const bool empty_list =
          setting != nullptr && setting->value.kind == YamlNode::Kind::kSequence && setting->value.items.empty();
      if (has_value(setting) && !empty_list) continue;
      const bool own = source_.stages_key && (key.name == "datasets" || key.name == "learning_rate");
      const std::string of_stage = own ? concat(" of stage `", escape_for_log(stage.name), "`") : "";
      const std::string what = empty_list ? " is empty" : " is missing";
      diagnostics_.add(Diagnostic("E0114", concat("required key `", key.name, "`", of_stage, what))
                           .at(setting != nullptr ? setting->key_location()
                               : own              ? location
                                                  : file_place()));
    }
  }

  void allocate_outputs(StageConfig& stage) const {
    stage.config.output_dir = loaded_.output_dir;
    if (loaded_.is_recipe && !loaded_.output_dir.empty()) {
      stage.config.output_dir = join_path(loaded_.output_dir, stage.name);
    }
    std::string& prepared = stage.config.dataset_prepared_path;
    if (!prepared.empty()) prepared = path_in(loaded_.folder, prepared);
    if (std::string& cache = stage.config.nf4_cache; cache != "auto" && cache != "off" && !cache.empty()) {
      cache = path_in(loaded_.folder, cache);
    }
    if (!stage.config.init_from.empty()) {
      stage.config.init_from = path_in(loaded_.folder, stage.config.init_from);
    }
    for (std::string& prompt : stage.config.sample_prompts) prompt = path_in(loaded_.folder, prompt);
  }

  void check_name(const StageConfig& stage, const Settings& settings, const SourceLocation& location) {
    const Setting* name = find_setting(settings, "name");
    if (has_value(name)) check_stage_name(stage.name, name->value_location(), diagnostics_);
    if (loaded_.is_recipe && std::ranges::find(kFilesOfARecipe, stage.name) != std::end(kFilesOfARecipe))
      diagnostics_.add(Diagnostic("E0104", concat("no stage can be named `", stage.name, "`"))
                           .at(has_value(name) ? name->value_location() : location)
                           .note("the folder of the recipe has a file of that name, and a folder for each stage")
                           .help("give the stage another name, or its category where the categories make the stages"));
    for (const StageConfig& earlier : loaded_.stages) {
      if (!source_.stages_key || stage.name.empty() || earlier.name != stage.name) continue;
      diagnostics_.add(Diagnostic("E0107", concat("two stages are named `", escape_for_log(stage.name), "`"))
                           .at(has_value(name) ? name->value_location() : location)
                           .help("give one of them another name: it is the name of its folder"));
    }
  }

  void add_notes(const std::vector<std::string>& notes) {
    for (const std::string& note : notes) {
      const auto& known = loaded_.notes;
      if (std::find(known.begin(), known.end(), note) == known.end()) loaded_.notes.push_back(note);
    }
  }

  // Keys that stages share are reported once.
  void add_warnings(const std::vector<Diagnostic>& warnings) {
    for (const Diagnostic& warning : warnings) {
      const auto same = [&](const Diagnostic& known) {
        return known.message == warning.message && known.location.line == warning.location.line;
      };
      if (std::ranges::none_of(loaded_.warnings, same)) loaded_.warnings.push_back(warning);
    }
  }

  RecipeSource& source_;
  LoadedConfig& loaded_;
  Diagnostics& diagnostics_;
};

}  // namespace

void expand_recipe(RecipeSource& source, LoadedConfig& loaded, Diagnostics& diagnostics) {
  RecipeBuilder(source, loaded, diagnostics).build();
}

}  // namespace shori
