// shori-data convert: between .blockml, JSONL and YAML, without loss.
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "shori/data/blockml.h"
#include "shori/data/yaml_source.h"
#include "shori/util/file.h"
#include "shori/util/json_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/choice.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/inputs.h"
#include "src/cli/data/output.h"
#include "src/cli/path_option.h"

namespace shori {
namespace {

enum class Form { kBlockml, kJsonl, kYaml };

}  // namespace

template <>
inline constexpr auto kWords<Form> = word_list("blockml", "jsonl", "yaml");

namespace {

struct ConvertArguments {
  InputArguments input;
  Form to = Form::kBlockml;
  std::string out;
};

std::string without_extension(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? name : name.substr(0, dot);
}

// Reads the data twice: to check what would be written, and to write it. Files of one conversation are written one by
// one; a JSONL file is built in memory.
class Conversion {
 public:
  explicit Conversion(const ConvertArguments& arguments) : arguments_(arguments), files_(arguments.out) {}

  void run() {
    InputSet set = open_inputs(arguments_.input, false).front();
    if (!set.stage.empty())
      throw Error(
          Diagnostic("E0116", "`convert` takes data files, not a config").help("name the files or their folder"));
    set.options.parse_only = true;
    pass(set, false);
    if (missing_tokenizer_)
      throw Error(Diagnostic("E0218", "`length: auto` counts tokens, and no tokenizer is named")
                      .help("--tokenizer models/Mistral-7B-Instruct-v0.2, or set the variable SHORI_TOKENIZER"));
    diagnostics_.throw_if_errors();
    pass(set, true);
    print();
  }

 private:
  void pass(const InputSet& set, bool write) {
    lines_.clear();
    ids_.clear();
    conversations_ = lost_ = 0;
    load_with_progress(set, [&](const ReadConversation& read) { convert(read, write); }, diagnostics_);
    if (arguments_.to != Form::kJsonl || lines_.empty()) return;
    output(jsonl_name(), lines_, {arguments_.input.paths.front(), 0, 0, 0, {}}, write);
  }

  void convert(const ReadConversation& read, bool write) {
    const SourceLocation location{std::string(read.shown), static_cast<std::size_t>(read.source.line), 0, 0, {}};
    if (read.blocks == nullptr) return refuse_form(location);
    ++conversations_;
    missing_tokenizer_ = missing_tokenizer_ || read.lacks_lengths;
    const Conversation& source = read.source;
    const std::string stem = stem_of(read);
    if (arguments_.to == Form::kJsonl) return add_line(read, stem, location);
    if (arguments_.to == Form::kYaml) {
      const std::string id = has_own_id(read) ? source.id : "";
      const std::string text = render_yaml_conversation(read.blocks->segments, id, source.category, source.rating);
      return output(stem + ".yaml", text, location, write);
    }
    lost_ += !source.category.empty() || !source.rating.empty() ? 1 : 0;
    output(stem + ".blockml", render(*read.blocks), location, write);
  }

  // A conversation without blocks: its problems have been reported, or its type has no blocks.
  void refuse_form(const SourceLocation& location) {
    const bool reported = diagnostics_.error_count() > errors_seen_;
    errors_seen_ = diagnostics_.error_count();
    if (reported) return;
    diagnostics_.add(Diagnostic("E0312", "this is not a conversation of blocks, so it cannot be converted")
                         .at(location)
                         .note("data of the types blockml, blockml_jsonl and blockml_yaml can be converted")
                         .help("leave the file out"));
    errors_seen_ = diagnostics_.error_count();
  }

  void add_line(const ReadConversation& read, const std::string& stem, const SourceLocation& location) {
    const std::string id = has_own_id(read) ? read.source.id : stem;
    if (const auto [first, is_new] = ids_.try_emplace(id, location.file); !is_new) {
      diagnostics_.add(Diagnostic("E0318", concat("two conversations would have the id `", escape_for_log(id), "`"))
                           .at(location)
                           .note("the other comes from " + escape_for_log(first->second, 400))
                           .help("convert them one after the other, each with an `--out` of its own"));
    }
    Json line = {{"id", id}};
    if (!read.source.category.empty()) line["category"] = read.source.category;
    if (!read.source.rating.empty()) line["rating"] = read.source.rating;
    line["text"] = render(*read.blocks);
    lines_ += json_text(line) + "\n";
  }

  // Named after a single input file; otherwise conversations.jsonl.
  std::string jsonl_name() const {
    const std::string& path = arguments_.input.paths.front();
    const bool single = arguments_.input.paths.size() == 1 && path_exists(path) && !is_directory(path);
    return (single ? without_extension(file_name(path)) : "conversations") + ".jsonl";
  }

  void output(const std::string& name, const std::string& text, const SourceLocation& location, bool write) {
    if (write) {
      files_.write(name, text);
    } else {
      files_.check(name, text, location, diagnostics_);
    }
  }

  void print() const {
    std::printf("%zu conversations, %zu files written to %s\n", conversations_, files_.written(),
                escape_for_log(arguments_.out, 400).c_str());
    if (lost_ > 0)
      std::printf(
          "a .blockml file has no place for the category or rating of %zu conversations: give the category in the "
          "config, the rating in ratings.yaml\n",
          lost_);
  }

  const ConvertArguments& arguments_;
  NewFiles files_;
  Diagnostics diagnostics_;
  std::map<std::string, std::string> ids_;
  std::string lines_;
  std::size_t conversations_ = 0, lost_ = 0, errors_seen_ = 0;
  bool missing_tokenizer_ = false;
};

}  // namespace

void add_convert_command(CLI::App& app) {
  const auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand("convert", "between .blockml, JSONL and YAML, without loss");
  add_input_arguments(*command, arguments->input);
  add_choice<Form>(*command, "--to", arguments->to, "blockml and yaml: one file per conversation; jsonl: one file")
      ->required();
  as_path(command->add_option("--out", arguments->out, "folder for the new files; nothing is overwritten"))->required();
  command->footer(
      "Examples:  shori-data convert data/high --to yaml --out yaml\n"
      "           shori-data convert chats.jsonl --to blockml --out data/high");
  command->callback([arguments] { Conversion(*arguments).run(); });
}

}  // namespace shori
