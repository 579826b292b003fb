// shori-data inspect: tokens, regions and labels of one sample.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "shori/data/regions.h"
#include "shori/data/token_text.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/ignored_label.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/choice.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/inputs.h"
#include "src/cli/path_option.h"

namespace shori {
namespace {

constexpr std::size_t kNoCut = static_cast<std::size_t>(-1);

enum class View { kTokens, kText };

}  // namespace

template <>
inline constexpr auto kWords<View> = word_list("tokens", "text");

namespace {

struct InspectArguments {
  std::string file, type, tokenizer, config;
  std::optional<View> view;  // empty: text on a terminal, tokens otherwise
  bool ids = false;
};

// FILE, or FILE:n where no file has that whole name.
std::pair<std::string, std::size_t> file_and_number(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (path_exists(text) || colon == std::string::npos) return {text, 1};
  const std::size_t number = parse_number<std::size_t>(std::string_view(text).substr(colon + 1)).value_or(0);
  if (number == 0) return {text, 1};
  return {text.substr(0, colon), number};
}

// The file's data, with masks and lengths as the config says.
InputSet open_sample_set(const InspectArguments& arguments, const std::string& file) {
  InputArguments inputs{{file}, arguments.tokenizer, arguments.type};
  if (arguments.config.empty()) return open_inputs(inputs, true).front();
  inputs.paths = {arguments.config};
  InputSet set = open_inputs(inputs, true).front();
  if (set.stage.empty())
    throw Error(
        Diagnostic("E0116", concat("`--config` does not name a training config: ", escape_for_log(arguments.config))));
  DataEntry entry;
  entry.path = file;
  entry.resolved_path = absolute_path(file);
  entry.type = arguments.type;
  set.entries = {std::move(entry)};
  set.test_entries.clear();
  set.options.val_set_size = 0;
  set.options.skip_samples.clear();
  return set;
}

std::string region_of(const Sample& sample, std::size_t index) {
  if (sample.regions.empty()) return "-";
  return std::string(region_name(static_cast<Region>(sample.regions[index])));
}

void print_tokens(const Sample& sample, const Tokenizer& tokenizer) {
  for (std::size_t i = 0; i < sample.ids.size(); ++i) {
    const std::string piece = escape_for_log(tokenizer.piece(sample.ids[i]), kNoCut);
    std::printf("%zu %d %s %s %d\n", i, sample.ids[i], piece.c_str(), region_of(sample, i).c_str(),
                sample.trained[i] != 0 ? sample.ids[i] : kIgnoredLabel);
  }
}

const char* colour_of(const std::string& region) {
  static const std::map<std::string, const char*, std::less<>> colours = {
      {"bos", "35"},  {"eos", "35"}, {"head", "34"}, {"speaker", "36"}, {"text", "32"},
      {"body", "33"}, {"end", "34"}, {"inst", "31"}, {"gap", "34"}};
  const auto found = colours.find(region);
  return found == colours.end() ? "39" : found->second;
}

// Runs of one region and label in one colour: bold is trained, faint is not.
void print_text(const Sample& sample, const Tokenizer& tokenizer) {
  for (std::size_t begin = 0; begin < sample.ids.size();) {
    const std::string region = region_of(sample, begin);
    std::string text;
    std::size_t end = begin;
    for (; end < sample.ids.size() && region_of(sample, end) == region && sample.trained[end] == sample.trained[begin];
         ++end) {
      text += piece_bytes(tokenizer, sample.ids[end]);
    }
    std::string shown;
    for (std::size_t from = 0; from <= text.size();) {
      const std::size_t line = std::min(text.find('\n', from), text.size());
      shown += escape_for_log(std::string_view(text).substr(from, line - from), kNoCut);
      if (line < text.size()) shown += '\n';
      from = line + 1;
    }
    std::printf("\x1b[%s;%sm%s\x1b[0m", sample.trained[begin] != 0 ? "1" : "2", colour_of(region), shown.c_str());
    begin = end;
  }
  std::printf("\nbold: trained; faint: masked. ");
  for (const char* region : {"head", "speaker", "text", "body", "end", "inst", "eos"})
    std::printf("\x1b[%sm%s\x1b[0m ", colour_of(region), region);
  std::printf("\n");
}

void print_ids(const Sample& sample) {
  for (std::size_t i = 0; i < sample.ids.size(); ++i) std::printf("%s%d", i == 0 ? "" : " ", sample.ids[i]);
  std::printf("\n");
}

void inspect(const InspectArguments& arguments) {
  const auto [file, number] = file_and_number(arguments.file);
  InputSet set = open_sample_set(arguments, file);
  set.options.keep_regions = true;
  set.options.compare = set.options.dedupe = false;
  Diagnostics diagnostics;
  const Dataset data = load_with_progress(set, {}, diagnostics);
  diagnostics.throw_if_errors();
  if (number > data.train.size()) {
    throw Error(Diagnostic("E0117", concat("there is no sample ", number, " in ", escape_for_log(file)))
                    .note(concat("samples: ", data.train.size()))
                    .help("write FILE:n with n from 1"));
  }
  const Sample& sample = data.train[number - 1];
  const View view = arguments.view.value_or(isatty(STDOUT_FILENO) == 1 ? View::kText : View::kTokens);
  if (arguments.ids) {
    print_ids(sample);
  } else if (view == View::kText) {
    print_text(sample, *set.tokenizer);
  } else {
    print_tokens(sample, *set.tokenizer);
  }
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  const auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "tokens, regions and labels of one sample");
  as_path(command->add_option("FILE[:n]", arguments->file, "a data file, and which of its samples (default 1)"))
      ->required();
  add_type_option(*command, arguments->type);
  as_path(command->add_option("--tokenizer", arguments->tokenizer,
                              "tokenizer.model or model folder (default: that of --config, else $SHORI_TOKENIZER)"));
  as_path(command->add_option("--config", arguments->config, "training config: its masks, lengths and splitting"));
  command->add_flag("--ids", arguments->ids, "the ids alone, on one line");
  add_choice<View>(*command, "--view", arguments->view,
                   "tokens: `index id token region label`; text: coloured (default on a terminal)");
  command->footer(
      "Examples:  shori-data inspect data/high/shrine.blockml --tokenizer models/Mistral-7B-Instruct-v0.2\n"
      "           shori-data inspect data/chats.jsonl:12 --config configs/stage_high.yaml --view tokens");
  command->callback([arguments] { inspect(*arguments); });
}

}  // namespace shori
