#include "src/data/documents/load_documents.h"

#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "shori/util/file.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/documents/encode_documents.h"
#include "src/data/documents/read_documents.h"

namespace shori {
namespace {

// Adds encoded documents to the list, in order, and reports what was found in each.
class DocumentCollector {
 public:
  DocumentCollector(const DataSources& sources, const DataOptions& options, Diagnostics& diagnostics)
      : sources_(sources), options_(options), diagnostics_(diagnostics) {}

  void add(Document document, EncodingNotes notes) {
    const SourceFile& file = sources_.files[document.source.file];
    for (Diagnostic& problem : notes.problems) diagnostics_.add(std::move(problem));
    report_lint_errors(document, notes, file);
    add_changes(changes_[document.source.file], notes.changes);
    for (const std::string& key : notes.unknown_keys) ++list_.unknown_keys[{document.source.file, key}];
    if (!notes.rating_row.empty())
      list_.used_ratings.insert({sources_.rating_files.at(parent_path(file.full_path)).path, notes.rating_row});
    check_id(document.source, file);
    if (options_.observe && !document.filtered) {
      options_.observe({document.source, file.path, file.shown, file.entry, notes.blocks ? &*notes.blocks : nullptr,
                        notes.text, document.message_lengths, notes.findings, document.counts.unique,
                        notes.lacks_lengths});
    }
    list_.documents.push_back(std::move(document));
  }

  // `files`: how each file was read.
  DocumentList take(std::vector<ReadFile> files) {
    for (const auto& [file, changes] : changes_) add_changes(files[file].changes, changes);
    list_.files = std::move(files);
    return std::move(list_);
  }

 private:
  // A document with a finding at level error is still counted, so that other checks go on.
  void report_lint_errors(const Document& document, const EncodingNotes& notes, const SourceFile& file) {
    if (!notes.blocks) return;
    std::vector<LintFinding> errors = notes.findings;
    std::erase_if(errors, [](const LintFinding& finding) { return finding.level != LintLevel::kError; });
    print_findings(*notes.blocks, notes.text, text_source_of(document, file), errors,
                   [this](Diagnostic problem) { diagnostics_.add(std::move(problem)); });
  }

  void check_id(const Conversation& source, const SourceFile& file) {
    const auto [first, is_new] = first_with_id_.try_emplace(source.id, list_.documents.size());
    if (is_new) return;
    const std::uint32_t first_file = list_.documents[first->second].source.file;
    if (first_file != source.file && is_same_file(sources_.files[first_file].full_path, file.full_path))
      return report_second_entry(first_file, file);
    diagnostics_.add(Diagnostic("E0318", concat("the id `", escape_for_log(source.id), "` is given twice"))
                         .at(file.shown, static_cast<std::size_t>(source.line))
                         .note("first at " + sources_.shown_location_of(list_.documents[first->second].source))
                         .help("change one `id`"));
  }

  static bool is_same_file(const std::string& a, const std::string& b) {
    std::error_code unknown;
    return std::filesystem::equivalent(a, b, unknown);
  }

  // Once a file: its conversations have the same ids, which are the path where none is written.
  void report_second_entry(std::uint32_t first_file, const SourceFile& file) {
    const DataEntry &first = sources_.entry_of(first_file), &second = sources_.entries[file.entry];
    Diagnostic problem("E0318", concat("two entries name the same file: ", escape_for_log(file.shown, 400)));
    problem.at(second.location.file.empty() ? SourceLocation{file.shown, 1, 1, 0, {}} : second.location);
    const std::string where = first.location.file.empty()
                                  ? ""
                                  : concat(", ", escape_for_log(first.location.file, 400), ":", first.location.line);
    problem.note(concat("the first is `", escape_for_log(first.path), "`", where, "; this one is `",
                        escape_for_log(second.path), "`"));
    const bool in_both = sources_.is_train(first_file) && file.entry >= sources_.train_entries;
    diagnostics_.add(std::move(problem.help(
        in_both ? "remove it from `datasets` or from `test_datasets`: what is trained cannot be evaluation data"
                : "remove one of the two, or narrow one of the paths")));
  }

  const DataSources& sources_;
  const DataOptions& options_;
  Diagnostics& diagnostics_;
  std::unordered_map<std::string, std::size_t> first_with_id_;
  std::map<std::uint32_t, TextChanges> changes_;  // in the lines of a file
  DocumentList list_;
};

}  // namespace

DocumentList load_documents(const DataSources& sources, const DataOptions& options, const Tokenizer* tokenizer,
                            Diagnostics& diagnostics) {
  std::uint64_t total_bytes = 0, done_bytes = 0;
  for (const SourceFile& file : sources.files) total_bytes += file.size;
  const auto progress = [&](std::uint64_t batch_bytes) {
    if (options.progress) options.progress(done_bytes + batch_bytes, total_bytes);
  };
  DocumentCollector collector(sources, options, diagnostics);
  DocumentReader reader(sources);
  while (std::optional<DocumentBatch> batch = reader.next_batch()) {
    std::vector<EncodingNotes> notes = encode_documents(batch->documents, {options, tokenizer, sources}, progress);
    for (std::size_t i = 0; i < notes.size(); ++i) collector.add(std::move(batch->documents[i]), std::move(notes[i]));
    if (batch->problem) diagnostics.add(std::move(*batch->problem));
    done_bytes += batch->bytes;
  }
  return collector.take(reader.take_files());
}

}  // namespace shori
