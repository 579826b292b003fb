// shori-data split: cuts long conversations between their blocks.
#include "shori/data/split.h"

#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/inputs.h"
#include "src/cli/data/output.h"
#include "src/cli/path_option.h"

namespace shori {
namespace {

struct SplitArguments {
  InputArguments inputs;
  std::string out;
  std::int64_t budget = 0;
  bool repeat_scenario = false;
};

// What becomes of one conversation.
struct PlannedSplit {
  std::string stem;
  std::vector<std::vector<std::size_t>> parts;  // segments of each
};

std::string part_file(const PlannedSplit& split, std::size_t part) {
  const std::size_t parts = split.parts.size();
  if (parts == 1) return split.stem + ".blockml";
  return concat(split.stem, ".", part + 1, "-of-", parts, ".blockml");
}

std::string text_of(const BlockmlDocument& blocks, const std::vector<std::size_t>& part) {
  std::string text;
  for (const std::size_t index : part) append_segment(blocks.segments[index], text);
  return text;
}

// Reads the data three times: to plan all parts, to see whether a file is in their way, and to write them. So a problem
// leaves no file, and no more than one batch of text is held.
class SplitRun {
 public:
  explicit SplitRun(const SplitArguments& arguments) : arguments_(arguments), files_(arguments.out) {}

  void run() {
    std::vector<InputSet> sets = open_inputs(arguments_.inputs, true);
    for (InputSet& set : sets) prepare(set);
    read(sets, [this](const ReadConversation& conversation) { plan(conversation); });
    report_overlong();
    diagnostics_.throw_if_errors();
    next_ = 0;
    read(sets, [this](const ReadConversation& conversation) { check(conversation); });
    diagnostics_.throw_if_errors();
    next_ = 0;
    make_directories(arguments_.out);
    read(sets, [this](const ReadConversation& conversation) { write(conversation); });
    print();
  }

 private:
  void prepare(InputSet& set) const {
    set.test_entries.clear();
    set.options.parse_only = true;  // lengths are counted here
    set.options.compare = set.options.dedupe = false;
    set.options.val_set_size = 0;
    set.options.skip_samples.clear();
  }

  void read(const std::vector<InputSet>& sets, const std::function<void(const ReadConversation&)>& work) {
    for (const InputSet& set : sets) {
      set_ = &set;
      load_with_progress(set, work, diagnostics_);
    }
  }

  void plan(const ReadConversation& conversation) {
    PlannedSplit split{stem_of(conversation), {}};
    if (conversation.blocks != nullptr) {
      const auto& segments = conversation.blocks->segments;
      const SplitOptions options{arguments_.budget, set_->options.bos, set_->options.eos,
                                 arguments_.repeat_scenario || set_->options.repeat_scenario};
      const EncodedSample whole = encode_segments(segments, *set_->tokenizer, {}, false, false);
      SplitResult result = split_conversation(segments, segment_costs(whole, segments), options);
      if (result.parts.empty()) add_overlong(conversation, segments[result.needed_at], result.needed);
      for (Part& part : result.parts) split.parts.push_back(std::move(part.segments));
      was_cut_ += result.parts.size() > 1 ? 1 : 0;
    }
    const std::string location = concat(conversation.shown, ":", conversation.source.line);
    const auto [first, is_new] = stems_.try_emplace(split.stem, location);
    if (!is_new) {
      diagnostics_.add(Diagnostic("E0318", concat("two conversations would be written as `", split.stem, "`"))
                           .at(std::string(conversation.shown), static_cast<std::size_t>(conversation.source.line))
                           .note("the other comes from " + escape_for_log(first->second, 400))
                           .help("split them in two calls, each with its own `--out`"));
    }
    planned_.push_back(std::move(split));
  }

  void add_overlong(const ReadConversation& conversation, const Segment& segment, std::int64_t needed) {
    const bool is_line = conversation.source.is_line;
    const std::string line = is_line ? concat(conversation.source.line, ", text ") : "";
    const std::string location = concat(conversation.shown, ":", line, segment.line, ":", segment.column);
    overlong_.push_back(concat(escape_for_log(location, 400), ": one message with what belongs to it has ",
                               with_commas(needed), " ids (+", with_commas(needed - arguments_.budget), ")"));
    if (overlong_.size() > 1) return;
    first_overlong_.file = conversation.shown;
    first_overlong_.line = is_line ? static_cast<std::size_t>(conversation.source.line) : segment.line;
    first_overlong_.column = is_line ? 0 : segment.column;
  }

  void report_overlong() {
    if (overlong_.empty()) return;
    Diagnostic problem("E0305", concat(overlong_.size(), " of ", planned_.size(), " conversations cannot be cut to ",
                                       with_commas(arguments_.budget), " ids"));
    problem.at(first_overlong_);
    problem.notes = overlong_;
    problem.help("a larger `--budget`, or shorten these messages by hand");
    diagnostics_.add(std::move(problem));
  }

  const PlannedSplit& next(const ReadConversation& conversation) {
    const bool same = next_ < planned_.size() && planned_[next_].stem == stem_of(conversation);
    if (!same || conversation.blocks == nullptr) {
      throw Error(Diagnostic("E0213", escape_for_log(conversation.shown, 400) + " changed while it was read")
                      .help("run the command again when nothing else writes to this file"));
    }
    return planned_[next_++];
  }

  void check(const ReadConversation& conversation) {
    const SourceLocation location{
        std::string(conversation.shown), static_cast<std::size_t>(conversation.source.line), 0, 0, {}};
    for_each_part(conversation, [&](const std::string& name, const std::string& text) {
      files_.check(name, text, location, diagnostics_);
    });
  }

  void write(const ReadConversation& conversation) {
    for_each_part(conversation, [&](const std::string& name, const std::string& text) { files_.write(name, text); });
  }

  void for_each_part(const ReadConversation& conversation,
                     const std::function<void(const std::string& name, const std::string& text)>& use) {
    const PlannedSplit& split = next(conversation);
    for (std::size_t part = 0; part < split.parts.size(); ++part)
      use(part_file(split, part), text_of(*conversation.blocks, split.parts[part]));
  }

  void print() const {
    std::printf(
        "conversations: %zu, cut: %zu\nfiles written: %zu to %s\nfiles that existed with the same content: %zu\n",
        planned_.size(), was_cut_, files_.written(), escape_for_log(arguments_.out, 400).c_str(), files_.unchanged());
  }

  const SplitArguments& arguments_;
  NewFiles files_;
  const InputSet* set_ = nullptr;
  std::vector<PlannedSplit> planned_;
  std::unordered_map<std::string, std::string> stems_;  // and the location of each
  std::vector<std::string> overlong_;
  SourceLocation first_overlong_;
  std::size_t next_ = 0, was_cut_ = 0;
  Diagnostics diagnostics_;
};

}  // namespace

void add_split_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("split", "cuts long conversations between their blocks");
  const auto arguments = std::make_shared<SplitArguments>();
  add_input_arguments(*command, arguments->inputs);
  command->add_option("--budget", arguments->budget, "maximum number of tokens of a part, begin and end token included")
      ->required()
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20));
  as_path(command->add_option("--out", arguments->out,
                              "folder for the parts, one .blockml file each; nothing is overwritten"))
      ->required();
  command->add_flag("--repeat-scenario", arguments->repeat_scenario, "repeat the scenario in later parts as well");
  command->footer(
      "Example:  shori-data split data/high --tokenizer models/Mistral-7B-Instruct-v0.2 --budget 8192 --out data/high-parts");
  command->callback([arguments] { SplitRun(*arguments).run(); });
}

}  // namespace shori
