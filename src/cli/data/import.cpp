// shori-data import: LimaRP, ShareGPT, chat and SillyTavern files as conversations.
#include "shori/data/import.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "shori/config/config_text.h"
#include "shori/data/length_buckets.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/choice.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/inputs.h"
#include "src/cli/path_option.h"

namespace shori {

template <>
inline constexpr auto kWords<ImportLengths> = word_list("keep", "auto", "none");
template <>
inline constexpr auto kWords<KeepOrDrop> = word_list("keep", "drop");
template <>
inline constexpr auto kWords<ImportFormat> = word_list("blockml", "yaml", "jsonl");

namespace {

struct ImportArguments {
  ImportOptions options;
  std::vector<std::string> names;
  std::string tokenizer;
};

[[noreturn]] void refuse_names(const std::string& names) {
  throw Error(Diagnostic("E0116", concat("`--names ", escape_for_log(names), "` is not a list of who=NAME"))
                  .help("--names user=Aya,char=Nitori; SPEAKER=NAME renames anyone else"));
}

// One side or speaker has one name.
void set_name(std::string& into, const std::string& who, const std::string& name) {
  if (!into.empty() && into != name)
    throw Error(Diagnostic("E0116", concat("`--names` gives `", escape_for_log(who),
                                           "` two names: ", escape_for_log(into), " and ", escape_for_log(name)))
                    .help("give one of them"));
  into = name;
}

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// "user=Aya,char=Nitori". The words for the two sides are those of all formats; anything else is a speaker or a role as
// the files have it.
void read_names(const std::string& names, ImportOptions& options) {
  for (std::size_t begin = 0; begin < names.size();) {
    const std::size_t end = std::min(names.find(',', begin), names.size());
    const std::string item = names.substr(begin, end - begin);
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == item.size()) refuse_names(names);
    const std::string who = item.substr(0, equals), name = item.substr(equals + 1);
    if (find_invalid_utf8(who) || find_invalid_utf8(name)) refuse_names(names);
    if (name.find(':') != std::string::npos)
      throw Error(Diagnostic("E0116", concat("`--names ", escape_for_log(item), "`: a name cannot hold a colon"))
                      .note("in a message the name ends at the first colon")
                      .help("leave the colon out"));
    if (is_one_of(who, {"human", "user"}))
      set_name(options.human_name, who, name);
    else if (is_one_of(who, {"gpt", "assistant", "char"}))
      set_name(options.gpt_name, who, name);
    else
      set_name(options.names[who], who, name);
    begin = end + 1;
  }
}

DataType type_of(ImportFormat format) {
  return format == ImportFormat::kYaml    ? DataType::kBlockmlYaml
         : format == ImportFormat::kJsonl ? DataType::kBlockmlJsonl
                                          : DataType::kBlockml;
}

// The text of a list that may be long.
std::string short_list(const std::vector<std::string>& items, std::size_t limit) {
  std::string text;
  for (std::size_t i = 0; i < std::min(items.size(), limit); ++i)
    text += (i == 0 ? "" : ", ") + escape_for_log(items[i], 200);
  if (items.size() > limit) text += concat(", and ", items.size() - limit, " more");
  return text;
}

bool is_left_out(std::string_view kind) {
  return is_one_of(kind.substr(std::min(kind.size(), kind.rfind(' ') + 1)), {"out", "dropped", "written", "used"});
}

// One line for each kind of change, with examples.
std::string change_lines(const ImportReport& report, bool left_out) {
  std::string text;
  for (const auto& [kind, times] : report.changes) {
    if (is_left_out(kind) != left_out || times == 0) continue;
    text += concat("\n  ", kind, ": ", times);
    const auto examples = report.examples.find(kind);
    if (examples != report.examples.end()) text += concat(" (", short_list(examples->second, 3), ")");
  }
  return text;
}

std::string config_lines(const ImportOptions& options) {
  std::string text = concat("\nin a stage config:\n  datasets:\n    - path: ", yaml_text(options.out),
                            "\n      type: ", word_of(type_of(options.format)));
  if (!options.category.empty()) text += "\n      category: " + yaml_text(options.category);
  return text;
}

void print_report(const ImportOptions& options, const ImportReport& report) {
  std::string text =
      concat("files read: ", report.files, "\nconversations: ", report.conversations, ", messages: ", report.messages,
             "\nfiles written: ", report.written, " to ", escape_for_log(options.out, 400));
  if (report.unchanged > 0) text += concat("\nalready imported, unchanged: ", report.unchanged);
  if (report.existing > 0) text += concat("\nalready there with other content, left as they are: ", report.existing);
  const std::string changed = change_lines(report, false), left_out = change_lines(report, true);
  text += concat("\nchanges:", changed.empty() ? " none" : changed);
  if (!left_out.empty()) text += "\nnot imported:" + left_out;
  if (!report.bad.empty()) text += concat("\nleft out because of problems (--skip-bad): ", report.bad.size());
  for (const std::string& bad : report.bad) text += "\n  " + escape_for_log(bad, 600);
  std::vector<std::string> fields;
  for (const auto& [key, times] : report.unknown_keys) fields.push_back(key);
  if (!fields.empty()) text += "\nother fields, not used: " + short_list(fields, 12);
  if (!report.other_files.empty())
    text += concat("\nfiles of other kinds, not read: ", report.other_files.size(), " (",
                   short_list(report.other_files, 3), ")");
  if (report.conversations > 0) text += config_lines(options);
  std::printf("%s\n", text.c_str());
}

// The progress line is gone before anything else is printed.
ImportReport import_with_progress(ImportOptions& options, Diagnostics& diagnostics) {
  Progress progress(2);
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.live(concat("importing ", format_bytes(done), " of ", format_bytes(total), " (read, then written)"));
  };
  ImportReport report = import_files(options, diagnostics);
  diagnostics.throw_if_errors();
  return report;
}

void import_data(ImportArguments arguments) {
  ImportOptions& options = arguments.options;
  for (const std::string& names : arguments.names) read_names(names, options);
  std::shared_ptr<const Tokenizer> tokenizer;
  if (options.lengths == ImportLengths::kAuto) {
    tokenizer = open_tokenizer(arguments.tokenizer);
    if (tokenizer == nullptr)
      throw Error(Diagnostic("E0218", "no tokenizer given")
                      .note("`--lengths auto` counts the tokens of each message")
                      .help("--tokenizer models/Mistral-7B-Instruct-v0.2, or set the variable SHORI_TOKENIZER"));
    options.hint_of = [&tokenizer](std::string_view body) {
      const LengthBuckets buckets;
      return buckets.word_for(measure_message(body, buckets.unit, tokenizer.get()));
    };
  }
  Diagnostics diagnostics;
  print_report(options, import_with_progress(options, diagnostics));
}

}  // namespace

void add_import_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("import", "LimaRP, ShareGPT, chat and SillyTavern files as conversations");
  const auto arguments = std::make_shared<ImportArguments>();
  ImportOptions& options = arguments->options;
  as_path(command->add_option("PATH", options.inputs, "files, or folders that hold them"))->required();
  add_choice<ImportSource>(*command, "--from", options.source, "what the files are")->required();
  as_path(
      command->add_option("--out", options.out,
                          "folder for the conversations: files NAME-KEY, where the key follows from the texts, so that "
                          "the same conversation keeps its name; nothing is overwritten"))
      ->required();
  command->add_option(
      "--names", arguments->names,
      "user=NAME,char=NAME: the two sides, also for {{user}} and {{char}} (or human=, gpt=, assistant=); "
      "SPEAKER=NAME renames anyone else");
  as_path(
      command->add_option("--cards", options.cards,
                          "character cards (PNG, JSON) and lorebooks of the chats, or folders of them: description, "
                          "scenario and lore of who speaks"));
  command->add_flag("--skip-bad", options.skip_bad, "write what has no problem, and list the rest");
  command->add_flag("--skip-existing", options.skip_existing,
                    "leave files that exist with other content as they are: for new chats of a folder you have edited");
  add_choice<KeepOrDrop>(*command, "--hidden", options.hidden, "messages that /hide has hidden (default keep)");
  add_choice<KeepOrDrop>(*command, "--think", options.thinking, "<think> parts (default drop)");
  add_choice<KeepOrDrop>(*command, "--pictures", options.pictures, "![...](...) and <img> (default drop)");
  add_choice<KeepOrDrop>(*command, "--status", options.status, "blocks in ``` and <details> (default keep)");
  add_choice<KeepOrDrop>(*command, "--checkpoints", options.checkpoints,
                         "SillyTavern checkpoints that another chat contains as a whole (default drop)");
  command->add_flag("--limarp-clean", options.limarp_clean,
                    "spaces, quotes, dots and dashes as the LimaRP authors clean them");
  add_choice<ImportLengths>(*command, "--lengths", options.lengths,
                            "length hints: keep those of the source (default), auto: add where there is none, none");
  command
      ->add_option("--category", options.category,
                   "quality, named in yaml and jsonl files and in the config entry that is shown")
      ->type_name(word_choices(kCategories) + "|NAME")
      ->check([](const std::string& name) {
        const std::string meant = misspelt_category(name);
        if (!meant.empty()) return concat(escape_for_log(name), ": did you mean `", meant, "`?");
        return is_category_name(name) ? std::string()
                                      : concat(escape_for_log(name), ": cannot be the name of a folder: ", kNameRule);
      });
  add_choice(*command, "--rating", options.rating, kRatings, "content, for the `rating` filter of a data set entry");
  add_choice<ImportFormat>(*command, "--format", options.format, "form of the files (default blockml)");
  as_path(
      command->add_option("--tokenizer", arguments->tokenizer,
                          "tokenizer.model or model folder, for `--lengths auto` (else the variable SHORI_TOKENIZER)"));
  command->footer(
      "Examples:  shori-data import chats/ --from sillytavern --out data/mine --names user=Ilario --cards characters/\n"
      "           shori-data import talks.jsonl --from sharegpt --names human=Aya,gpt=Nitori --out data/talks\n"
      "           shori-data import logs/ --from auto --out data/logs --skip-existing");
  command->callback([arguments] { import_data(*arguments); });
}

}  // namespace shori
