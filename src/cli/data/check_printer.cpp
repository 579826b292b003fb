#include "src/cli/data/check_printer.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

constexpr std::size_t kShownPerRule = 20;  // files whose infos and warnings of a rule are shown as text
constexpr std::size_t kListed = 8;         // names or lines of one group
constexpr std::size_t kMaxText = 400;      // bytes of a message on one line

std::string_view colour_of(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "1;31";
    case Severity::kWarning:
      return "1;33";
    case Severity::kInfo:
      break;
  }
  return "1;36";
}

// `text` with the bytes [begin, end) in a colour, if the file of that descriptor takes colours.
std::string painted(std::string text, std::size_t begin, std::size_t end, std::string_view colour, int descriptor) {
  if (!wants_color(descriptor)) return text;
  return text.insert(end, "\x1b[0m").insert(begin, concat("\x1b[", colour, "m"));
}

std::string head_of(const Diagnostic& problem) {
  return concat(severity_name(problem.severity), "[", problem.code, "]");
}

std::string short_text(const Diagnostic& problem) {
  std::string text;
  const SourceLocation& location = problem.location;
  if (!location.file.empty()) {
    text = escape_for_log(location.file, kMaxText);
    if (location.line > 0) text += concat(":", location.line);
    if (location.line > 0 && location.column > 0) text += concat(":", location.column);
    text += ": ";
  }
  const std::size_t begin = text.size();
  const std::string head = head_of(problem);
  return painted(concat(text, head, ": ", escape_for_log(problem.message, kMaxText)), begin, begin + head.size(),
                 colour_of(problem.severity), STDERR_FILENO);
}

std::string long_text(const Diagnostic& problem) {
  std::string text = format_diagnostic(problem);
  text.pop_back();
  return painted(std::move(text), 0, head_of(problem).size(), colour_of(problem.severity), STDERR_FILENO);
}

template <typename Items>
std::string joined(const Items& items, std::size_t total) {
  std::string text;
  for (std::size_t i = 0; i < std::min(items.size(), kListed); ++i) text += concat(i == 0 ? "" : ", ", items[i]);
  if (total > kListed) text += concat(", ", total - kListed, " more");
  return text;
}

}  // namespace

void CheckPrinter::add(const Diagnostic& problem) {
  ++counts_[static_cast<std::size_t>(problem.severity)];
  if (!problem.rule.empty()) {
    RuleCount& rule = rules_[problem.rule];
    ++rule.blocks;
    rule.files.insert(problem.location.file);
  }
  if (format_ == CheckFormat::kJson) {
    std::printf("%s\n", diagnostic_to_json(problem).c_str());
    return;
  }
  const bool joins = !problem.rule.empty() && problem.severity != Severity::kError;
  const auto key = std::tuple(problem.location.file, problem.rule, problem.severity);
  const auto [group, is_new] = joins ? group_of_.try_emplace(key, groups_.size()) : std::pair(group_of_.end(), true);
  if (is_new) {
    groups_.push_back({problem, 1, {problem.subject}, {}});
    return;
  }
  Group& known = groups_[group->second];
  ++known.blocks;
  if (known.subjects.size() < kListed) known.subjects.push_back(problem.subject);
  if (known.lines.size() < kListed && problem.location.line > 0) known.lines.push_back(problem.location.line);
}

void CheckPrinter::add_unlisted_errors(std::size_t count) {
  counts_[static_cast<std::size_t>(Severity::kError)] += count;
  unlisted_ += count;
}

void CheckPrinter::print(const Group& group) {
  Diagnostic problem = group.first;
  if (!problem.rule.empty() && problem.severity != Severity::kError && ++rules_[problem.rule].shown > kShownPerRule)
    return;
  if (group.blocks > 1) {
    const std::size_t subject = problem.subject.empty() ? std::string::npos : problem.message.rfind(problem.subject);
    if (subject != std::string::npos) {
      problem.message = problem.message.substr(0, subject) + joined(group.subjects, group.blocks);
    } else {
      problem.message += concat(", and ", counted(group.blocks - 1, "more block"));
      if (!group.lines.empty()) problem.message += concat(" (line ", joined(group.lines, group.blocks - 1), ")");
    }
  }
  log_info(format_ == CheckFormat::kShort ? short_text(problem) : long_text(problem));
}

void CheckPrinter::print() {
  for (const Severity severity : {Severity::kInfo, Severity::kWarning, Severity::kError}) {
    for (const Group& group : groups_) {
      if (group.first.severity == severity) print(group);
    }
  }
  if (unlisted_ > 0 && format_ != CheckFormat::kJson) log_info(concat("and ", counted(unlisted_, "more error")));
  groups_.clear();
  group_of_.clear();
  unlisted_ = 0;
}

void CheckPrinter::print_verdict() const {
  for (const auto& [name, rule] : rules_) {
    std::printf("%s: %s in %s%s\n", name.c_str(), counted(rule.blocks, "block").c_str(),
                counted(rule.files.size(), "file").c_str(),
                rule.shown > kShownPerRule ? " (20 files are shown; --format json shows all)" : "");
  }
  const std::size_t errors = count(Severity::kError), warnings = count(Severity::kWarning);
  const Severity worst = errors > 0 ? Severity::kError : warnings > 0 ? Severity::kWarning : Severity::kInfo;
  const std::string counts = concat(counted(errors, "error"), ", ", counted(warnings, "warning"), ", ",
                                    counted(count(Severity::kInfo), "info"));
  const std::string_view verdict = errors > 0     ? ": not ready, training refuses it until the errors are fixed"
                                   : warnings > 0 ? ": ready to train, but look at the warnings"
                                                  : ": no problems, ready to train";
  std::printf("%s\n", painted(concat(counts, verdict), 0, counts.size(),
                              errors + warnings == 0 ? "1;32" : colour_of(worst), STDOUT_FILENO)
                          .c_str());
}

}  // namespace shori
