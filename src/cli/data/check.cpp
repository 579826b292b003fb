// shori-data check: every problem of the data, with its location and how to fix it.
#include <algorithm>
#include <cstdio>

#include "shori/data/blockml.h"
#include "shori/data/data_options.h"
#include "shori/data/lint.h"
#include "shori/util/error.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/cli/data/check_printer.h"
#include "src/cli/data/commands.h"
#include "src/cli/data/fix.h"
#include "src/cli/data/inputs.h"
#include "src/cli/program.h"

namespace shori {
namespace {

constexpr std::size_t kFirstIds = 8;

struct CheckArguments {
  InputArguments input;
  CheckFormat format = CheckFormat::kLong;
  std::int64_t sequence_len = 0;
  bool strict = false;
  FixArguments fix;
};

// One run over the data of a stage, or of the files.
class SetCheck {
 public:
  SetCheck(const InputSet& set, const CheckArguments& arguments, CheckPrinter& printer)
      : set_(set), arguments_(arguments), printer_(printer) {}

  void run() {
    const Dataset data = load();
    const std::size_t left_out = diagnostics_.error_count() - errors_in(diagnostics_);
    printer_.add_unlisted_errors(left_out);
    printer_.print();
    if (arguments_.format != CheckFormat::kJson) summary(data);
  }

  bool failed() const { return diagnostics_.has_errors(); }

 private:
  // What was found before the data turned out to be unreadable is shown all the same.
  Dataset load() {
    try {
      Dataset data = load_with_progress(set_, [this](const ReadConversation& read) { see(read); }, diagnostics_);
      // With a tokenizer the loader itself reports it.
      if (conversations_ == 0 && !data.files.empty() && !diagnostics_.has_errors())
        diagnostics_.add(Diagnostic("E0306", "no conversation in the data")
                             .at(data.files.front().shown, 1, 1)
                             .help("add one: training refuses data without any"));
      add_new({});
      return data;
    } catch (...) {
      add_new({});
      printer_.print();
      throw;
    }
  }

  static std::size_t errors_in(const Diagnostics& diagnostics) {
    const auto& all = diagnostics.all();
    return static_cast<std::size_t>(std::count_if(
        all.begin(), all.end(), [](const Diagnostic& each) { return each.severity == Severity::kError; }));
  }

  void see(const ReadConversation& read) {
    ++conversations_;
    std::vector<Diagnostic> remarks;
    if (read.blocks != nullptr) {
      const bool json = read.source.is_line && !read.text.empty();
      const TextSource source{std::string(read.shown), json ? static_cast<std::size_t>(read.source.line) : 0};
      count_blocks(*read.blocks);
      if (arguments_.strict) refuse_variants(*read.blocks, read.text, source);
      std::vector<LintFinding> findings(read.findings.begin(), read.findings.end());
      std::erase_if(findings, [](const LintFinding& finding) { return finding.level == LintLevel::kError; });
      print_findings(*read.blocks, read.text, source, findings,
                     [&](Diagnostic problem) { remarks.push_back(std::move(problem)); });
    }
    add_new(std::move(remarks));
  }

  // Adds the new problems of the loader and the remarks about the same conversation, ordered by location.
  void add_new(std::vector<Diagnostic> remarks) {
    const auto& all = diagnostics_.all();
    for (; added_ < all.size(); ++added_) remarks.push_back(all[added_]);
    std::stable_sort(remarks.begin(), remarks.end(), [](const Diagnostic& a, const Diagnostic& b) {
      if (a.location.file != b.location.file) return false;
      return std::pair(a.location.line, a.location.column) < std::pair(b.location.line, b.location.column);
    });
    for (const Diagnostic& problem : remarks) printer_.add(problem);
  }

  void count_blocks(const BlockmlDocument& blocks) {
    for (const Segment& segment : blocks.segments) messages_ += segment.role == Role::kMessage ? 1 : 0;
    for (std::size_t i = 0; i < kVariantCount; ++i) variants_[i] += blocks.variants[i];
  }

  void refuse_variants(const BlockmlDocument& blocks, std::string_view text, const TextSource& source) {
    for (std::size_t i = 0; i < kVariantCount; ++i) {
      if (blocks.variants[i] == 0) continue;
      Diagnostic problem = problem_at("E0319",
                                      concat("strict: not the canonical form: ", variant_name(static_cast<Variant>(i)),
                                             ", ", blocks.variants[i], " in this conversation"),
                                      text, source, blocks.variant_offsets[i]);
      problem.rule = "strict";
      problem.help("`shori-data convert` writes the canonical form; without --strict it is accepted");
      diagnostics_.add(std::move(problem));
    }
  }

  void summary(const Dataset& data) const {
    if (!set_.stage.empty()) std::printf("stage %s\n", set_.stage.c_str());
    std::printf("%zu files, %zu conversations, %zu messages\n", data.files.size(), conversations_, messages_);
    for (const std::string& file : data.ignored_files)
      std::printf("file skipped: %s\n", escape_for_log(file, 400).c_str());
    for (const std::string& unknown : data.unknown_keys)
      std::printf("not used: %s\n", escape_for_log(unknown, 400).c_str());
    for (const std::string& change : data.text_changes) std::printf("normalized: %s\n", change.c_str());
    left_out(data);
    for (std::size_t i = 0; i < kVariantCount; ++i) {
      if (variants_[i] > 0)
        std::printf("accepted, not canonical: %s, %zu\n", std::string(variant_name(static_cast<Variant>(i))).c_str(),
                    variants_[i]);
    }
    if (set_.options.parse_only) {
      std::printf(
          "not checked without --tokenizer: lengths, masks, length hints, messages that train and evaluation data share\n");
      return;
    }
    if (set_.stage.empty() && arguments_.sequence_len == 0)
      std::printf("conversation lengths were not checked: add --sequence-len 16384, or check a config\n");
    tokens(data);
  }

  // Conversations of the data that are not trained, by reason.
  static void left_out(const Dataset& data) {
    for (std::size_t rule = 0; rule < kDropRuleCount; ++rule) {
      std::size_t conversations = 0;
      std::string first;
      for (const FileLedger& file : data.file_ledgers) {
        if (conversations == 0 && !file.dropped[rule].empty()) first = file.dropped[rule].front().location;
        conversations += file.dropped[rule].size();
      }
      if (conversations > 0)
        std::printf("left out (%s): %zu conversations, the first %s\n",
                    std::string(drop_rule_name(static_cast<DropRule>(rule))).c_str(), conversations,
                    escape_for_log(first, 400).c_str());
    }
  }

  static void tokens(const Dataset& data) {
    std::size_t ids = 0, targets = 0;
    for (const Sample& sample : data.train) {
      ids += sample.ids.size();
      targets += static_cast<std::size_t>(std::count(sample.trained.begin() + 1, sample.trained.end(), 1));
    }
    std::printf("%s to train, %zu ids, %zu of them targets\n", counted(data.train.size(), "sample").c_str(), ids,
                targets);
    if (data.train.empty()) return;
    const std::vector<std::int32_t>& first = data.train.front().ids;
    std::printf("first ids of sample 1:");
    for (std::size_t i = 0; i < std::min(kFirstIds, first.size()); ++i) std::printf(" %d", first[i]);
    std::printf("\n");
  }

  const InputSet& set_;
  const CheckArguments& arguments_;
  CheckPrinter& printer_;
  Diagnostics diagnostics_;
  std::size_t added_ = 0, conversations_ = 0, messages_ = 0;
  VariantCounts variants_{};
};

int check_data(const CheckArguments& arguments) {
  std::vector<InputSet> sets = open_inputs(arguments.input, false);
  for (InputSet& set : sets) set.options.lint = lint_options(set.config, false);
  if (arguments.fix.fix) {
    fix_files(sets, arguments.fix);
    return 0;
  }
  CheckPrinter printer(arguments.format);
  bool failed = false;
  for (InputSet& set : sets) {
    set.options.compare = set.options.warn_with_errors = true;
    if (arguments.sequence_len > 0) set.options.sequence_len = arguments.sequence_len;
    SetCheck check(set, arguments, printer);
    check.run();
    failed = failed || check.failed();
  }
  if (arguments.format != CheckFormat::kJson) printer.print_verdict();
  return failed ? kExitData : 0;
}

}  // namespace

void add_check_command(CLI::App& app) {
  const auto arguments = std::make_shared<CheckArguments>();
  CLI::App* command = app.add_subcommand("check", "every problem of the data, with its location and how to fix it");
  add_input_arguments(*command, arguments->input);
  add_choice<CheckFormat>(*command, "--format", arguments->format,
                          "short: one line per problem; long (default); json: on stdout, each problem for itself");
  command
      ->add_option("--sequence-len", arguments->sequence_len,
                   "maximum length of a sample in tokens (default: the config's)")
      ->check(CLI::Range(2, 1 << 20));
  command->add_flag("--strict", arguments->strict, "spellings that are accepted but not canonical are errors");
  add_fix_arguments(*command, arguments->fix);
  command->footer(
      "Examples:  shori-data check data/high --tokenizer models/Mistral-7B-Instruct-v0.2\n"
      "           shori-data check configs/stage_high.yaml --format short\n"
      "           shori-data check data/high --fix --dry-run\n"
      "Exit codes: 0 nothing is wrong (warnings may be), 3 errors");
  command->callback([arguments] {
    if (const int code = check_data(*arguments); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace shori
