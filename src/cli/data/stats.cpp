// shori-data stats: conversations, messages, tokens and lengths in figures.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "shori/data/corpus_stats.h"
#include "shori/data/data_options.h"
#include "shori/data/pack_plan.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/json_text.h"
#include "shori/util/log.h"
#include "shori/util/page/markup.h"
#include "shori/util/text.h"
#include "src/cli/choice.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/inputs.h"
#include "src/cli/path_option.h"

namespace shori {
namespace {

constexpr std::size_t kShownCharacters = 10, kPageCharacters = 100;
constexpr std::size_t kAll = static_cast<std::size_t>(-1);
constexpr std::int64_t kSequenceLen = 16384;  // that of the published card; for files, which have no config

enum class Table { kCategory, kRole, kCharacter };

}  // namespace

template <>
inline constexpr auto kWords<Table> = word_list("category", "role", "character");

namespace {

struct StatsArguments {
  InputArguments inputs;
  std::optional<Table> by;
  std::string svg, html;
  std::int64_t sequence_len = kSequenceLen;
  std::optional<LengthUnit> unit;
  bool lengths = false, json = false, list = false, card = false;
};

struct StageFigures {
  std::string name;
  CorpusStats stats;
  std::optional<Ledger> ledger;  // empty if nothing is trained
};

PlanOptions plan_of(const InputSet& set, const Dataset& data, const StatsArguments& arguments) {
  PlanOptions options = plan_options(set.config);
  if (!set.stage.empty()) return options;
  options.sequence_len = arguments.sequence_len;
  for (const Sample& sample : data.train) {
    options.sequence_len = std::max(options.sequence_len, static_cast<std::int64_t>(sample.ids.size()));
  }
  return options;
}

// Reads a set into its own figures and into those of all sets.
StageFigures read_stage(InputSet set, const StatsArguments& arguments, CorpusStats& all) {
  set.options.allow_overlap = true;  // an error of `check`, but no reason to hide the figures
  StageFigures figures{set.stage, CorpusStats(all.unit()), std::nullopt};
  Diagnostics diagnostics;
  const auto observe = [&](const ReadConversation& conversation) {
    if (conversation.entry >= set.entries.size()) return;  // evaluation data of its own is not training data
    figures.stats.add(conversation);
  };
  const Dataset data = load_with_progress(set, observe, diagnostics);
  diagnostics.throw_if_errors();
  for (const Diagnostic& diagnostic : diagnostics.all()) log_warning(diagnostic);
  figures.stats.finish(data, set.stage.empty() ? arguments.sequence_len : set.config.sequence_len);
  all.merge(figures.stats);
  if (!data.train.empty()) {
    figures.ledger = build_ledger(data, make_pack_plan(sample_costs(data.train), plan_of(set, data, arguments)));
  }
  return figures;
}

std::string chosen_text(const CorpusStats& stats, const StatsArguments& arguments) {
  std::string text;
  if (arguments.by == Table::kRole) text = stats.role_text();
  if (arguments.by == Table::kCategory) text = stats.category_text();
  if (arguments.by == Table::kCharacter) text = stats.character_text(kAll);
  if (arguments.lengths) text += (text.empty() ? "" : "\n") + stats.lengths_text();
  return text.empty() ? stats.text(kShownCharacters) : stats.overview_text() + "\n" + text;
}

void print_text(const CorpusStats& all, const std::vector<StageFigures>& stages, const StatsArguments& arguments) {
  if (arguments.card) {
    std::fputs(all.card_text().c_str(), stdout);
    return;
  }
  std::string text = chosen_text(all, arguments);
  for (const StageFigures& stage : stages) {
    if (stages.size() > 1) text += concat("\nStage ", stage.name, "\n", stage.stats.overview_text());
    if (stage.ledger) text += "\n" + stage.ledger->to_text(arguments.list ? kAll : 5);
  }
  std::fputs(text.c_str(), stdout);
}

void print_json(const CorpusStats& all, const std::vector<StageFigures>& stages) {
  if (stages.size() == 1) {
    const auto& ledger = stages.front().ledger;
    std::fputs(all.json(ledger ? &*ledger : nullptr).c_str(), stdout);
    return;
  }
  Json json = {{"total", raw_json(all.json(nullptr))}, {"stages", Json::object()}};
  for (const StageFigures& stage : stages)
    json["stages"][stage.name] = raw_json(stage.stats.json(stage.ledger ? &*stage.ledger : nullptr));
  std::printf("%s\n", json_text(json).c_str());
}

std::string page_of(const CorpusStats& all, const std::vector<StageFigures>& stages) {
  std::string body = all.html(kPageCharacters);
  for (const StageFigures& stage : stages) {
    if (stages.size() > 1)
      body += concat("<h2>Stage ", escape_markup(stage.name), "</h2>\n<pre>",
                     escape_markup(stage.stats.overview_text()), "</pre>\n");
    if (stage.ledger)
      body += concat("<h2>What training makes of it</h2>\n<pre>", escape_markup(stage.ledger->to_text(5)), "</pre>\n");
  }
  return html_page("Data set", body);
}

void print_stats(const StatsArguments& arguments) {
  const std::vector<InputSet> sets = open_inputs(arguments.inputs, true);
  CorpusStats all(arguments.unit.value_or(sets.front().options.length_buckets.unit));
  std::vector<StageFigures> stages;
  for (const InputSet& set : sets) stages.push_back(read_stage(set, arguments, all));
  if (!arguments.svg.empty()) {
    write_file_atomically(parent_path(arguments.svg), file_name(arguments.svg), all.svg());
  }
  if (!arguments.html.empty()) {
    write_file_atomically(parent_path(arguments.html), file_name(arguments.html), page_of(all, stages));
  }
  arguments.json ? print_json(all, stages) : print_text(all, stages, arguments);
}

}  // namespace

void add_stats_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("stats", "conversations, messages, tokens and lengths in figures");
  const auto arguments = std::make_shared<StatsArguments>();
  add_input_arguments(*command, arguments->inputs);
  add_choice<Table>(*command, "--by", arguments->by, "one table in full");
  command->add_flag("--lengths", arguments->lengths,
                    "lengths of messages, and bounds that give the nine words equal counts");
  add_choice<LengthUnit>(*command, "--length-unit", arguments->unit,
                         "what --lengths counts (default: the config's, else tokens)");
  command
      ->add_option("--sequence-len", arguments->sequence_len,
                   "maximum length of a sample for files (default 16384; a config has its own)")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20));
  command->add_flag("--list", arguments->list, "name every conversation that a line of the ledger counts");
  command->add_flag("--json", arguments->json, "everything as one JSON object");
  command->add_flag("--card", arguments->card, "only five lines, in the words of the published data card");
  as_path(command->add_option("--svg", arguments->svg, "also write the lengths of messages as a picture"))
      ->type_name("FILE");
  as_path(command->add_option("--html", arguments->html, "also write everything as one page for a browser"))
      ->type_name("FILE");
  command->footer(
      "Examples:  shori-data stats configs/stage_high.yaml\n"
      "           shori-data stats data/high --tokenizer models/Mistral-7B-Instruct-v0.2 --by character --svg lengths.svg");
  command->callback([arguments] { print_stats(*arguments); });
}

}  // namespace shori
