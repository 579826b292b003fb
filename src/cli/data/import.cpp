// shori-data import: LimaRP, ShareGPT, chat and SillyTavern files as conversations.
#include "shori/data/import.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "shori/data/length_buckets.h"
#include "shori/util/byte_size.h"
#include "shori/util/error.h"
#include "shori/util/progress.h"
#include "shori/util/utf8.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/inputs.h"

namespace shori {
namespace {

struct ImportArguments {
  ImportOptions options;
  std::string names, tokenizer;
};

const std::map<std::string, ImportSource> kSources = {{"limarp", ImportSource::kLimarp},
                                                      {"sharegpt", ImportSource::kShareGpt},
                                                      {"messages", ImportSource::kMessages},
                                                      {"sillytavern", ImportSource::kSillyTavern},
                                                      {"text", ImportSource::kText}};
const std::map<std::string, ImportLengths> kLengths = {
    {"auto", ImportLengths::kAuto}, {"keep", ImportLengths::kKeep}, {"none", ImportLengths::kNone}};
const std::map<std::string, ImportFormat> kFormats = {
    {"blockml", ImportFormat::kBlockml}, {"yaml", ImportFormat::kYaml}, {"jsonl", ImportFormat::kJsonl}};

[[noreturn]] void refuse_names(const std::string& names) {
  throw Error(Diagnostic("E0113", "`--names " + escape_for_log(names) + "` is not a list of who=NAME")
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

void print_report(const ImportOptions& options, const ImportReport& report) {
  std::string text = "files read: " + std::to_string(report.files) +
                     "\nconversations: " + std::to_string(report.conversations) +
                     "\nmessages: " + std::to_string(report.messages) +
                     "\nfiles written: " + std::to_string(report.written) + " to " + escape_for_log(options.out, 400) +
                     "\nfiles that were there, the same: " + std::to_string(report.unchanged) + "\nchanges:";
  if (report.changes.empty()) text += " none";
  for (const auto& [kind, times] : report.changes) text += "\n  " + kind + ": " + std::to_string(times);
  if (!report.unknown_keys.empty()) text += "\nmembers that are not used:";
  for (const std::string& key : report.unknown_keys) text += "\n  " + escape_for_log(key, 400);
  const bool entry = report.conversations > 0;
  if (entry) text += "\nin a stage config:\n  datasets:\n    - path: " + escape_for_log(options.out, 400);
  if (entry && options.format == ImportFormat::kYaml) text += "\n      type: blockml_yaml";
  if (entry && options.format == ImportFormat::kJsonl) text += "\n      type: blockml_jsonl";
  if (entry && options.format == ImportFormat::kBlockml) text += "\n      type: blockml";
  if (entry && !options.category.empty()) text += "\n      category: " + options.category;
  std::printf("%s\n", text.c_str());
}

int run_import(ImportArguments arguments) {
  ImportOptions& options = arguments.options;
  read_names(arguments.names, options);
  if (options.source == ImportSource::kShareGpt && (options.human_name.empty() || options.gpt_name.empty()))
    throw Error(Diagnostic("E0113", "`--from sharegpt` needs the names of both speakers")
                    .note("a message begins with the name of a character")
                    .help("--names human=NAME,gpt=NAME"));
  std::shared_ptr<const Tokenizer> tokenizer;
  if (options.lengths == ImportLengths::kAuto) {
    tokenizer = open_tokenizer(arguments.tokenizer);
    if (tokenizer == nullptr)
      throw Error(Diagnostic("E0203", "no tokenizer is named")
                      .note("`--lengths auto` counts the tokens of each message")
                      .help("--tokenizer models/Mistral-7B-Instruct-v0.2, or set the variable SHORI_TOKENIZER"));
    options.hint_of = [&tokenizer](std::string_view body) {
      const LengthBuckets buckets;
      return buckets.word_for(measure_message(body, buckets.unit, tokenizer.get()));
    };
  }
  Progress progress(2);
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.live("importing " + format_bytes(done) + " of " + format_bytes(total) + " (read, then written)");
  };
  Diagnostics diagnostics;
  const ImportReport report = import_files(options, diagnostics);
  diagnostics.throw_if_errors();
  print_report(options, report);
  return 0;
}

}  // namespace

void add_import_command(CLI::App& app, DataWork& work) {
  CLI::App* command = app.add_subcommand("import", "LimaRP, ShareGPT, chat and SillyTavern files as conversations");
  const auto arguments = std::make_shared<ImportArguments>();
  ImportOptions& options = arguments->options;
  command->add_option("PATH", options.inputs, "files, or folders that hold them")->required();
  command->add_option("--from", options.source, "what the files are")
      ->required()
      ->transform(CLI::CheckedTransformer(kSources))
      ->option_text("limarp|sharegpt|messages|sillytavern|text");
  command->add_option("--out", options.out, "folder for the conversations, one file each; nothing is overwritten")
      ->required();
  command->add_option("--names", arguments->names, "names of the speakers: human=NAME,gpt=NAME (or user=, assistant=)");
  command->add_flag("--limarp-clean", options.limarp_clean,
                    "spaces, quotes, dots and dashes as the LimaRP authors clean them");
  command
      ->add_option("--lengths", options.lengths,
                   "length hints: keep those of the source (default), auto: add where there is none, none")
      ->transform(CLI::CheckedTransformer(kLengths))
      ->option_text("auto|keep|none");
  command
      ->add_option("--category", options.category,
                   "quality, named in yaml and jsonl files and in the config entry that is shown")
      ->check(CLI::IsMember({"low", "mid", "high", "top", "top-pg13"}))
      ->option_text("low|mid|high|top|top-pg13");
  command->add_option("--rating", options.rating, "content, for the `rating` filter of a data set entry")
      ->check(CLI::IsMember({"pg13", "explicit", "unknown"}))
      ->option_text("pg13|explicit|unknown");
  command->add_option("--format", options.format, "form of the files (default blockml)")
      ->transform(CLI::CheckedTransformer(kFormats))
      ->option_text("blockml|yaml|jsonl");
  command->add_option("--tokenizer", arguments->tokenizer,
                      "tokenizer.model or model folder, for `--lengths auto` (else the variable SHORI_TOKENIZER)");
  command->footer(
      "Example:  shori-data import chats/ --from sillytavern --out data/mine --lengths auto\n"
      "          shori-data import talks.jsonl --from sharegpt --names human=Aya,gpt=Nitori --out data/talks");
  command->callback([&work, arguments] { work = [arguments] { return run_import(*arguments); }; });
}

}  // namespace shori
