// shori-data import: LimaRP, ShareGPT, chat and SillyTavern files as conversations.
#include "shori/data/import.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

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
inline constexpr auto kWords<ImportSource> = word_list("limarp", "sharegpt", "messages", "sillytavern", "text");
template <>
inline constexpr auto kWords<ImportLengths> = word_list("keep", "auto", "none");
template <>
inline constexpr auto kWords<ImportFormat> = word_list("blockml", "yaml", "jsonl");

namespace {

struct ImportArguments {
  ImportOptions options;
  std::string names, tokenizer;
};

[[noreturn]] void refuse_names(const std::string& names) {
  throw Error(Diagnostic("E0116", concat("`--names ", escape_for_log(names), "` is not a list of who=NAME"))
                  .help("--names human=Aya,gpt=Nitori"));
}

// "human=Aya,gpt=Nitori"; user and assistant mean the same two.
void read_names(const std::string& names, ImportOptions& options) {
  for (std::size_t begin = 0; begin < names.size();) {
    const std::size_t end = std::min(names.find(',', begin), names.size());
    const std::string item = names.substr(begin, end - begin);
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos || equals + 1 == item.size()) refuse_names(names);
    const std::string who = item.substr(0, equals), name = item.substr(equals + 1);
    if (find_invalid_utf8(name)) refuse_names(names);
    if (who == "human" || who == "user")
      options.human_name = name;
    else if (who == "gpt" || who == "assistant")
      options.gpt_name = name;
    else
      refuse_names(names);
    begin = end + 1;
  }
}

DataType type_of(ImportFormat format) {
  return format == ImportFormat::kYaml    ? DataType::kBlockmlYaml
         : format == ImportFormat::kJsonl ? DataType::kBlockmlJsonl
                                          : DataType::kBlockml;
}

void print_report(const ImportOptions& options, const ImportReport& report) {
  std::string text =
      concat("files read: ", report.files, "\nconversations: ", report.conversations, "\nmessages: ", report.messages,
             "\nfiles written: ", report.written, " to ", escape_for_log(options.out, 400),
             "\nfiles that existed with the same content: ", report.unchanged, "\nchanges:");
  if (report.changes.empty()) text += " none";
  for (const auto& [kind, times] : report.changes) text += concat("\n  ", kind, ": ", times);
  if (!report.unknown_keys.empty()) text += "\nmembers that are not used:";
  for (const std::string& key : report.unknown_keys) text += "\n  " + escape_for_log(key, 400);
  const bool entry = report.conversations > 0;
  if (entry) text += "\nin a stage config:\n  datasets:\n    - path: " + escape_for_log(options.out, 400);
  if (entry) text += concat("\n      type: ", word_of(type_of(options.format)));
  if (entry && !options.category.empty()) text += "\n      category: " + options.category;
  std::printf("%s\n", text.c_str());
}

void import_data(ImportArguments arguments) {
  ImportOptions& options = arguments.options;
  read_names(arguments.names, options);
  if (options.source == ImportSource::kShareGpt && (options.human_name.empty() || options.gpt_name.empty()))
    throw Error(Diagnostic("E0116", "`--from sharegpt` needs the names of both speakers")
                    .note("a message begins with the name of a character")
                    .help("--names human=NAME,gpt=NAME"));
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
  Progress progress(2);
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.live(concat("importing ", format_bytes(done), " of ", format_bytes(total), " (read, then written)"));
  };
  Diagnostics diagnostics;
  const ImportReport report = import_files(options, diagnostics);
  diagnostics.throw_if_errors();
  print_report(options, report);
}

}  // namespace

void add_import_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("import", "LimaRP, ShareGPT, chat and SillyTavern files as conversations");
  const auto arguments = std::make_shared<ImportArguments>();
  ImportOptions& options = arguments->options;
  as_path(command->add_option("PATH", options.inputs, "files, or folders that hold them"))->required();
  add_choice<ImportSource>(*command, "--from", options.source, "what the files are")->required();
  as_path(
      command->add_option("--out", options.out, "folder for the conversations, one file each; nothing is overwritten"))
      ->required();
  command->add_option("--names", arguments->names, "names of the speakers: human=NAME,gpt=NAME (or user=, assistant=)");
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
                                      : concat(escape_for_log(name), ": cannot be the name of a folder");
      });
  add_choice(*command, "--rating", options.rating, kRatings, "content, for the `rating` filter of a data set entry");
  add_choice<ImportFormat>(*command, "--format", options.format, "form of the files (default blockml)");
  as_path(
      command->add_option("--tokenizer", arguments->tokenizer,
                          "tokenizer.model or model folder, for `--lengths auto` (else the variable SHORI_TOKENIZER)"));
  command->footer(
      "Examples:  shori-data import chats/ --from sillytavern --out data/mine\n"
      "           shori-data import chats/ --from sillytavern --out data/mine --lengths auto --tokenizer "
      "models/Mistral-7B-Instruct-v0.2\n"
      "           shori-data import talks.jsonl --from sharegpt --names human=Aya,gpt=Nitori --out data/talks");
  command->callback([arguments] { import_data(*arguments); });
}

}  // namespace shori
