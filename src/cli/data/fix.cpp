#include "src/cli/data/fix.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "shori/data/fix_files.h"
#include "shori/util/file.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "src/cli/data/output.h"
#include "src/cli/data/unified_diff.h"
#include "src/cli/path_option.h"

namespace shori {
namespace {

void check_arguments(const FixArguments& arguments) {
  const int outputs = (arguments.out.empty() ? 0 : 1) + (arguments.in_place ? 1 : 0) + (arguments.dry_run ? 1 : 0);
  if (outputs == 1) return;
  throw Error(Diagnostic("E0116", concat("`--fix` needs ", outputs == 0 ? "" : "only one of ",
                                         "`--out DIR`, `--in-place` or `--dry-run`"))
                  .help("--fix --dry-run shows what would change; --out DIR or --in-place writes it"));
}

// Reads all files twice: first to see that each can be fixed, then to write them.
class FixRun {
 public:
  FixRun(const std::vector<InputSet>& sets, const FixArguments& arguments)
      : sets_(sets), arguments_(arguments), output_(arguments.out) {}

  void run() {
    read([this](const FixedFile& file) { preview(file); });
    diagnostics_.throw_if_errors();
    if (!arguments_.dry_run) read([this](const FixedFile& file) { apply(file); });
    print();
  }

 private:
  void read(const std::function<void(const FixedFile&)>& use) {
    unfixed_ = 0;
    for (const InputSet& set : sets_) {
      std::vector<DataEntry> entries = set.entries;
      entries.insert(entries.end(), set.test_entries.begin(), set.test_entries.end());
      const YamlSourceOptions yaml{set.options.default_length, set.options.length_buckets, set.tokenizer.get()};
      unfixed_ += fix_data_files(entries, *set.options.lint, yaml, use, diagnostics_).unfixed;
    }
  }

  void preview(const FixedFile& file) {
    if (arguments_.dry_run) std::fputs(unified_diff(file.path, file.before, file.after).c_str(), stdout);
    if (!arguments_.out.empty()) output_.check(file.relative, file.after, {file.path, 1, 1, 0, {}}, diagnostics_);
    if (file.before != file.after) ++changed_;
    for (std::size_t i = 0; i < kLintRuleCount; ++i) {
      fixes_.fixed[i] += file.fixes.fixed[i];
      fixes_.dropped[i] += file.fixes.dropped[i];
    }
  }

  void apply(const FixedFile& file) {
    if (!arguments_.out.empty()) {
      output_.write(file.relative, file.after);
    } else if (file.before != file.after) {
      rewrite(file.full_path, file.after);
    }
  }

  // Of a link its target, so that the link stays one. Other users may read the file as before.
  static void rewrite(const std::string& path, const std::string& content) {
    const std::filesystem::path target = std::filesystem::canonical(path);
    const auto permissions = std::filesystem::status(target).permissions();
    write_file_atomically(target.parent_path(), target.filename(), content);
    std::filesystem::permissions(target, permissions);
  }

  void print() const {
    std::FILE* to = arguments_.dry_run ? stderr : stdout;  // stdout holds the diff
    for (std::size_t i = 0; i < kLintRuleCount; ++i) {
      const std::string rule(lint_rule_name(static_cast<LintRule>(i)));
      if (fixes_.fixed[i] > 0) std::fprintf(to, "%s: %zu fixed\n", rule.c_str(), fixes_.fixed[i]);
      if (fixes_.dropped[i] > 0)
        std::fprintf(to, "%s: %zu left as they are (the fix would change more than the text)\n", rule.c_str(),
                     fixes_.dropped[i]);
    }
    if (unfixed_ > 0)
      std::fprintf(to, "YAML conversations left as they are (a fix would lose their layout; fix them by hand): %zu\n",
                   unfixed_);
    std::fprintf(to, "%s %s\n", counted(changed_, "file").c_str(), arguments_.dry_run ? "would change" : "changed");
  }

  const std::vector<InputSet>& sets_;
  const FixArguments& arguments_;
  NewFiles output_;
  Diagnostics diagnostics_;
  FixOutcome fixes_;
  std::size_t changed_ = 0, unfixed_ = 0;
};

}  // namespace

void add_fix_arguments(CLI::App& command, FixArguments& arguments) {
  CLI::Option* fix =
      command.add_flag("--fix", arguments.fix, "apply the fixes of the lint rules that have one, instead of checking");
  as_path(command.add_option("--out", arguments.out, "with --fix: folder for all files, fixed; nothing is overwritten"))
      ->needs(fix);
  command.add_flag("--in-place", arguments.in_place, "with --fix: change the files themselves")->needs(fix);
  command.add_flag("--dry-run", arguments.dry_run, "with --fix: show the changes, write nothing")->needs(fix);
}

void fix_files(const std::vector<InputSet>& sets, const FixArguments& arguments) {
  check_arguments(arguments);
  FixRun(sets, arguments).run();
}

}  // namespace shori
