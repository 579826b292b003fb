// Importing in two passes: the first only reads and checks, the second writes. So a faulty line leaves no half-written
// data set, and no file has to fit into memory.
#include "shori/data/import.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/cards.h"
#include "src/data/import/checkpoints.h"
#include "src/data/import/conversation.h"
#include "src/data/import/inputs.h"
#include "src/data/import/output.h"

namespace shori {
namespace {

constexpr std::size_t kShownProblems = 20;  // of one file
constexpr std::size_t kMaxStem = 180;       // leaves room for a key and an extension

bool is_name_character(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

// Beyond ASCII: blocks that hold letters, without those of spaces, punctuation and symbols.
bool is_letter(std::uint32_t value) {
  constexpr std::pair<std::uint32_t, std::uint32_t> kLetters[] = {
      {0xC0, 0x1FFF}, {0x2C00, 0x2DFF}, {0x3040, 0xD7FF}, {0xF900, 0xFDFF}, {0x10000, 0x1CFFF}, {0x20000, 0x3FFFD}};
  return std::any_of(std::begin(kLetters), std::end(kLetters),
                     [value](const auto& range) { return value >= range.first && value <= range.second; });
}

std::string stem_of(const std::string& path) {
  const std::string name = file_name(path);
  const std::size_t dot = name.rfind('.');
  return name.substr(0, dot == 0 ? std::string::npos : dot);
}

// What the second pass leaves out, as the first has found.
struct Verdict {
  std::set<std::string> contained;  // checkpoints
};

class Importer {
 public:
  // `verdict` is null in the first pass, which writes nothing.
  Importer(const ImportOptions& options, CardShelf& cards, const Verdict* verdict, Diagnostics& diagnostics)
      : options_(options),
        cards_(cards),
        verdict_(verdict),
        diagnostics_(diagnostics),
        output_(options, verdict != nullptr) {}

  ImportReport run(const std::vector<std::string>& files, std::uint64_t done, std::uint64_t total) {
    for (const std::string& path : files) {
      throw_if_stop_requested();
      done += read(path);
      if (options_.progress) options_.progress(done, total);
    }
    if (!diagnostics_.has_errors()) output_.finish(report_, diagnostics_);
    return std::move(report_);
  }
  Verdict verdict() const {
    return {options_.checkpoints == KeepOrDrop::kDrop ? beginnings_.contained() : std::set<std::string>()};
  }

 private:
  // Reads one file. Its problems stop no other file from being read.
  std::uint64_t read(const std::string& path) {
    Diagnostics problems;
    ImportReport local;
    std::uint64_t bytes = 0;
    problems_ = &problems;
    const std::size_t before = report_.conversations;
    if (verdict_ != nullptr && verdict_->contained.contains(path)) {
      note_change(report_, "checkpoints that another chat contains left out", escape_for_log(path, 200));
      return InputFile::open(path).size();
    }
    try {
      const InputFile input = InputFile::open(path, "E0315");
      bytes = input.size();
      read_with(input, path, local, problems);
      input.check_unchanged();
    } catch (const Error& error) {
      problems.add(error);
    }
    ++report_.files;
    if (!problems.has_errors() || report_.conversations > before) add_counts(report_, local);
    report_problems(problems);
    return bytes;
  }

  void read_with(const InputFile& input, const std::string& path, ImportReport& local, Diagnostics& problems) {
    if (auto problem = refuse_file_form(input, path)) return problems.add(std::move(*problem));
    const FileKind kind = recognize_file(input, path);
    if (input.size() > 0 && is_foreign(kind, options_.source)) return problems.add(foreign_problem(kind, path));
    ImportFile file{input,
                    path,
                    options_,
                    local,
                    problems,
                    [this, &path, &local](ImportedConversation conversation) {
                      accept(std::move(conversation), path, local); }};
    switch (options_.source == ImportSource::kAuto ? source_of(kind).value_or(ImportSource::kText) : options_.source) {
      case ImportSource::kLimarp:
        return import_limarp(file);
      case ImportSource::kShareGpt:
        return import_sharegpt(file);
      case ImportSource::kMessages:
        return import_messages(file);
      case ImportSource::kSillyTavern:
        return import_sillytavern(file);
      case ImportSource::kPlain:
        return import_plain(file);
      case ImportSource::kText:
      case ImportSource::kAuto:
        return import_text(file);
    }
  }

  // The first problems of a file, so that it does not hide those of others.
  void report_problems(const Diagnostics& problems) {
    const auto& all = problems.all();
    const std::size_t count = std::min(all.size(), kShownProblems);
    const std::size_t more = problems.error_count() - std::min(problems.error_count(), count);
    // An option is wrong then, and not the file.
    const auto usage = std::ranges::find(all, std::string_view("E0116"), &Diagnostic::code);
    if (options_.skip_bad && usage != all.end()) return diagnostics_.add(*usage);
    if (options_.skip_bad && problems.has_errors()) {
      const Diagnostic& first = all.front();
      const std::string where =
          first.location.line > 0 ? concat(first.location.file, ':', first.location.line) : first.location.file;
      report_.bad.push_back(concat(where, ": ", first.message,
                                   all.size() > 1 ? concat(" (and ", problems.error_count() - 1, " more)") : ""));
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      Diagnostic problem = all[i];
      if (i + 1 == count && more > 0) problem.note(concat("and ", more, " more problems in this file"));
      diagnostics_.add(std::move(problem));
    }
  }

  void accept(ImportedConversation conversation, const std::string& path, ImportReport& local) {
    throw_if_stop_requested();
    const auto messages = std::count_if(conversation.segments.begin(), conversation.segments.end(),
                                        [](const Segment& segment) { return segment.role == Role::kMessage; });
    if (messages == 0) return count_change(local.changes, "conversations without a message, not written");
    if (verdict_ == nullptr && conversation.line == 0) beginnings_.add(conversation, path);
    SHORI_CHECK(!conversation.key.empty(), "an import without a key: " + path);
    const SourceLocation location{path, conversation.line, 0, 0, {}};
    const std::string given = import_file_stem(conversation.id.empty() ? stem_of(path) : conversation.id);
    const std::string stem = concat(given, '-', conversation.key);
    if (!stems_.insert(stem).second)
      return note_change(local, "copies of another conversation, not written", escape_for_log(stem, 200));
    if (!conversation.id.empty() && !reserve_id(conversation.id, location)) return;
    for (const std::string& earlier : conversation.earlier_keys) {
      if (output_.has(concat(given, '-', earlier)))
        note_change(local, "chats that have grown: a shorter one is there too", concat(given, '-', earlier));
    }
    cards_.add_blocks(conversation, local, *problems_);
    if (output_.needs_content(stem)) set_hints(conversation.segments, local);
    if (!is_sound(conversation.segments, path, conversation.line)) return;
    ++report_.conversations;
    report_.messages += static_cast<std::size_t>(messages);
    output_.add(stem, conversation.id.empty() ? stem : conversation.id, conversation.segments, location, report_,
                diagnostics_);
  }

  void set_hints(std::vector<Segment>& segments, ImportReport& local) {
    for (Segment& segment : segments) {
      if (segment.role != Role::kMessage) continue;
      if (options_.lengths == ImportLengths::kNone && segment.hint != LengthHint::kNone) {
        segment.hint = LengthHint::kNone;
        count_change(local.changes, "length hints removed");
      } else if (options_.lengths == ImportLengths::kAuto && segment.hint == LengthHint::kNone) {
        segment.hint = options_.hint_of(segment.body);
        count_change(local.changes, "length hints added");
      }
    }
  }

  bool reserve_id(const std::string& id, const SourceLocation& location) {
    const auto [taken, is_new] = ids_.try_emplace(id, location);
    if (is_new) return true;
    const SourceLocation& first = taken->second;
    problems_->add(
        Diagnostic("E0318", concat("two conversations have the id `", escape_for_log(id), "`"))
            .at(location)
            .note(concat("first: ", escape_for_log(first.file, 400), first.line ? concat(':', first.line) : ""))
            .help("change one `id`"));
    return false;
  }

  // The parser checks the limits of BlockML.
  bool is_sound(const std::vector<Segment>& segments, const std::string& path, std::size_t line) {
    const std::string text = render(segments);
    const std::optional<BlockmlDocument> read = parse_blockml(text, {path, std::max<std::size_t>(line, 1)}, *problems_);
    if (!read) return false;
    SHORI_CHECK(render(*read) == text, "an import is not canonical: " + path);
    return true;
  }

  const ImportOptions& options_;
  CardShelf& cards_;
  const Verdict* verdict_;
  Diagnostics& diagnostics_;
  Diagnostics* problems_ = nullptr;  // of the file that is read
  ImportOutput output_;
  ImportReport report_;
  Beginnings beginnings_;
  std::unordered_set<std::string> stems_;  // of the files of this import
  std::unordered_map<std::string, SourceLocation> ids_;
};

}  // namespace

std::string import_file_stem(std::string_view id) {
  const bool readable = !find_invalid_utf8(id);
  std::string stem;
  for (std::size_t i = 0; i < id.size();) {
    const CodePoint point = readable ? code_point_at(id, i) : CodePoint{static_cast<unsigned char>(id[i]), 1};
    if (stem.size() + point.bytes > kMaxStem) break;
    const bool kept = point.value < 0x80 ? is_name_character(id[i]) : readable && is_letter(point.value);
    stem += kept && !(stem.empty() && id[i] == '.') ? id.substr(i, point.bytes) : "_";
    i += point.bytes;
  }
  return stem;
}

namespace {

// In these formats nobody is the user or the character: the two names are for macros alone.
bool has_no_sides(ImportSource source) {
  return source == ImportSource::kLimarp || source == ImportSource::kText || source == ImportSource::kPlain;
}

void add_unused_name(std::string_view who, const ImportReport& report, Diagnostics& diagnostics) {
  std::string speakers;
  for (const std::string& speaker : report.speakers) speakers += (speakers.empty() ? "" : ", ") + speaker;
  diagnostics.add(
      Diagnostic("E0116", concat("`--names ", escape_for_log(who), "=...`: there is no such speaker, role or macro"))
          .note("speakers: " + escape_for_log(speakers, 400))
          .help("user=NAME and char=NAME name the two sides, SPEAKER=NAME anyone else"));
}

// A name that occurs nowhere is a mistake: it would change nothing.
void check_names(const ImportOptions& options, const ImportReport& report, Diagnostics& diagnostics) {
  for (const auto& [who, name] : options.names) {
    if (!report.used_names.contains(who)) add_unused_name(who, report, diagnostics);
  }
  if (!has_no_sides(options.source) || report.changes.contains("macros replaced by names")) return;
  if (!options.human_name.empty() && !report.used_names.contains("user")) add_unused_name("user", report, diagnostics);
  if (!options.gpt_name.empty()) add_unused_name("char", report, diagnostics);
}

std::uint64_t size_of(const std::string& path) {
  try {
    return InputFile::open(path).size();
  } catch (const Error&) {
    return 0;  // it is reported when it is read
  }
}

}  // namespace

ImportReport import_files(const ImportOptions& options, Diagnostics& diagnostics) {
  std::vector<std::string> others;
  const std::vector<std::string> files = find_import_files(options, others, diagnostics);
  CardShelf cards(options, diagnostics);
  if (diagnostics.has_errors()) return {};
  std::uint64_t bytes = 0;
  for (const std::string& path : files) bytes += size_of(path);
  Importer check(options, cards, nullptr, diagnostics);
  ImportReport checked = check.run(files, 0, 2 * bytes);
  // Names of a file that could not be read may be missing for that reason.
  const bool all_read = checked.bad.empty() && std::ranges::none_of(diagnostics.all(), [](const Diagnostic& problem) {
                          return problem.code.starts_with("E03");
                        });
  if (all_read) check_names(options, checked, diagnostics);
  if (diagnostics.has_errors()) return checked;
  const Verdict verdict = check.verdict();
  ImportReport report = Importer(options, cards, &verdict, diagnostics).run(files, bytes, 2 * bytes);
  report.other_files = std::move(others);
  cards.add_to(report);
  return report;
}

}  // namespace shori
