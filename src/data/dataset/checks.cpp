// Problems of the data as a whole.
#include <algorithm>

#include "shori/util/math.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/select_documents.h"

namespace shori {
namespace {

constexpr std::int64_t kCloseToLimit = 16;
constexpr std::size_t kListed = 50;

// Where the document stands, as an error's first line shows it.
Diagnostic& at_document(Diagnostic& problem, const Document& document, const DataSources& sources) {
  return problem.at(sources.files[document.source.file].shown, static_cast<std::size_t>(document.source.line));
}

std::string shown(const Document& document, const DataSources& sources) {
  return escape_for_log(sources.shown_location_of(document.source), 200);
}

}  // namespace

void report_overlong(const Documents& documents, const DataSources& sources, const DataOptions& options,
                     Diagnostics& diagnostics) {
  std::vector<std::string> notes;
  std::int64_t longest = 0, longest_whole = 0;
  const Document* first = nullptr;
  for (const Document& document : documents) {
    const Overlong& overlong = document.overlong;
    if (overlong.length == 0) continue;
    if (first == nullptr) first = &document;
    notes.push_back(concat(shown(document, sources), ": ",
                           overlong.is_part() ? "one message with what belongs to it has " : "", overlong.length,
                           " ids (+", overlong.length - options.sequence_len, ")"));
    longest = std::max(longest, overlong.length);
    longest_whole = std::max(longest_whole, overlong.whole);
  }
  if (first == nullptr) return;
  Diagnostic problem("E0305", concat(notes.size(), " of ", documents.size(),
                                     " conversations are longer than `sequence_len` ", options.sequence_len));
  at_document(problem, *first, sources).notes = std::move(notes);
  const std::int64_t enough = round_up<std::int64_t>(longest, 16), whole = round_up<std::int64_t>(longest_whole, 16);
  if (enough < whole) {
    const bool split = options.overlong == OverlongPolicy::kSplit;
    problem.help(concat(
        "`sequence_len: ", enough,
        split ? "` takes every message, each conversation in parts" : "` takes at least the first message of each"));
  }
  problem.help(concat("`sequence_len: ", whole, "` takes them whole"));
  problem.help(options.overlong == OverlongPolicy::kRaise
                   ? "`excess_length_strategy: split` cuts BlockML between its blocks"
                   : "shorten by hand what is too long");
  problem.help("`excess_length_strategy: drop` leaves them out, and lists them");
  diagnostics.add(std::move(problem));
}

void report_untrained(const DocumentList& list, const DataSources& sources, Diagnostics& diagnostics) {
  struct EntryCounts {
    std::int64_t conversations = 0, labelled = 0, left_out = 0;
    bool has_files = false, failed = false;
  };
  std::vector<EntryCounts> entries(sources.entries.size());
  for (std::size_t file = 0; file < sources.files.size(); ++file) {
    EntryCounts& entry = entries[sources.files[file].entry];
    entry.has_files = true;
    if (list.files[file].refused) entry.failed = true;
  }
  std::size_t trained = 0, trainable = 0;
  for (const Document& document : list.documents) {
    EntryCounts& entry = entries[sources.files[document.source.file].entry];
    const bool labelled = !document.samples.empty();  // samples without a label are dropped
    ++entry.conversations;
    entry.labelled += labelled ? 1 : 0;
    entry.left_out += document.skipped || document.duplicate || document.filtered ? 1 : 0;
    if (document.failed || document.overlong.length > 0) entry.failed = true;
    trainable += sources.is_train(document.source.file) ? 1 : 0;
    trained += labelled && document.source.held_out < 0 ? 1 : 0;
  }
  const std::size_t before = diagnostics.error_count();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const EntryCounts& entry = entries[i];
    const bool left_out_on_purpose = entry.left_out > 0 && entry.left_out == entry.conversations;
    if (!entry.has_files || entry.labelled > 0 || entry.failed || left_out_on_purpose) continue;
    diagnostics.add(Diagnostic("E0306", escape_for_log(sources.entries[i].path) + " has no trained token")
                        .at(sources.entries[i].location)
                        .note(concat("conversations read: ", entry.conversations,
                                     "; each was left out or has no label that is trained"))
                        .help("add data, or set `roles_to_train`, `train_on_inputs`, `sequence_len` to suit it"));
  }
  if (before > 0 || diagnostics.error_count() > 0 || trained > 0) return;
  diagnostics.add(Diagnostic("E0306", concat("nothing is left to train: `val_set_size` and `skip_samples` take all ",
                                             trainable, " conversations"))
                      .at(sources.entries.front().location)
                      .help("hold out or skip fewer of them"));
}

void report_unknown_skips(const Documents& documents, const DataSources& sources, const DataOptions& options,
                          Diagnostics& diagnostics) {
  for (const std::string& name : options.skip_samples) {
    const bool found = std::any_of(documents.begin(), documents.end(), [&](const Document& document) {
      return is_named_by(name, document.source, sources.files[document.source.file]);
    });
    if (found) continue;
    diagnostics.add(Diagnostic("E0117", "`skip_samples` names no conversation: " + escape_for_log(name))
                        .note("a conversation is named by its `id`, its file, or `file:line`, as messages show it")
                        .help("correct the name, or take it from the list"));
  }
}

// Parts of a split or sliced conversation are made to fit, so only whole conversations are listed.
void report_close_to_limit(const Documents& documents, const DataSources& sources, const DataOptions& options,
                           Diagnostics& diagnostics) {
  if (diagnostics.has_errors() && !options.warn_with_errors) return;
  std::vector<std::string> close;
  const Document* first = nullptr;
  for (const Document& document : documents) {
    if (document.samples.size() != 1 || document.samples.front().parts > 1) continue;
    const auto length = static_cast<std::int64_t>(document.samples.front().ids.size());
    if (length + kCloseToLimit < options.sequence_len) continue;
    if (first == nullptr) first = &document;
    close.push_back(concat(shown(document, sources), ": ", length, " ids"));
  }
  if (close.empty()) return;
  Diagnostic problem("W0302", concat(close.size(), close.size() == 1 ? " sample is" : " samples are", " within ",
                                     kCloseToLimit, " ids of `sequence_len` ", options.sequence_len));
  at_document(problem, *first, sources);
  const std::size_t listed = std::min(close.size(), kListed);
  problem.notes.assign(close.begin(), close.begin() + static_cast<std::ptrdiff_t>(listed));
  if (close.size() > listed) problem.note(concat("and ", close.size() - listed, " more"));
  problem.help("nothing is lost; another `blockml.bos` or `blockml.eos` may make them too long");
  diagnostics.add(std::move(problem));
}

}  // namespace shori
