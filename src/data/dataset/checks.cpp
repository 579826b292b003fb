// What can only be said once all conversations are read.
#include <algorithm>

#include "shori/data/tokenizer.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "shori/util/utf8.h"
#include "src/data/dataset/loader.h"

namespace shori {
namespace {

// A sequence_len that would do, as a round number.
std::int64_t round_up(std::int64_t length) { return (length + 15) / 16 * 16; }

std::string yes_or_no(bool flag) { return flag ? "true" : "false"; }

std::string settings_text(const DataOptions& options, const std::string& tokenizer_sha256) {
  std::string roles;
  for (const std::string& role : options.roles_to_train) roles += (roles.empty() ? "" : ",") + role;
  return "tokenizer " + (tokenizer_sha256.empty() ? "none" : tokenizer_sha256) +             //
         "\nsequence_len " + std::to_string(options.sequence_len) +                          //
         "\nbos " + yes_or_no(options.bos) + "\neos " + std::string(word_of(options.eos)) +  //
         "\ntrain_on_inputs " + yes_or_no(options.train_on_inputs) + "\nroles " + roles +    //
         "\ntrain_on_eos " + yes_or_no(options.train_on_eos) +                               //
         "\ntrain_on_speaker " + yes_or_no(options.train_on_speaker) +                       //
         "\nexcess_length " + std::string(word_of(options.overlong)) +                       //
         "\nrepeat_scenario " + yes_or_no(options.repeat_scenario) + "\ncompat " + yes_or_no(options.compat) + "\n";
}

}  // namespace

bool is_named_by(const std::string& name, const std::string& id, const std::string& path, std::uint64_t line) {
  return name == id || name == path || name == location_text(path, line, true);
}

void DatasetLoader::report_overlong() {
  std::vector<std::string> notes;
  std::int64_t longest = 0;
  const LoadedDocument* first = nullptr;
  for (const LoadedDocument& document : documents_) {
    const Overlong& overlong = document.overlong;
    if (overlong.length == 0) continue;
    const std::string& path = dataset_.files[document.file].path;
    if (first == nullptr) first = &document;
    notes.push_back(escape_for_log(location_text(path, document.line, document.is_line), 200) + ": " +
                    (overlong.part ? "one message with what belongs to it has " : "") +
                    std::to_string(overlong.length) + " ids (+" +
                    std::to_string(overlong.length - options_.sequence_len) + ")");
    longest = std::max(longest, overlong.length);
  }
  if (first == nullptr) return;
  Diagnostic problem("E0305", std::to_string(notes.size()) + " of " + std::to_string(documents_.size()) +
                                  " conversations are longer than `sequence_len` " +
                                  std::to_string(options_.sequence_len));
  problem.at(dataset_.files[first->file].path, static_cast<std::size_t>(first->line));
  problem.notes = std::move(notes);
  problem.help("`sequence_len: " + std::to_string(round_up(longest)) + "` takes them whole");
  problem.help(options_.overlong == OverlongPolicy::kSplit
                   ? "shorten the message by hand"
                   : "`excess_length_strategy: split` cuts BlockML between its blocks");
  problem.help("`excess_length_strategy: drop` leaves them out, and lists them");
  diagnostics_.add(std::move(problem));
}

void DatasetLoader::report_unlabelled() {
  std::vector<std::int64_t> conversations(entries_.size()), labelled(entries_.size()), skipped(entries_.size());
  std::vector<bool> failed(entries_.size());
  std::size_t trained = 0, trainable = 0;
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    const LoadedDocument& document = documents_[i];
    const bool target = !document.samples.empty();  // samples without one are dropped
    ++conversations[document.entry];
    labelled[document.entry] += target ? 1 : 0;
    skipped[document.entry] += document.skipped || document.duplicate || document.filtered ? 1 : 0;
    if (document.failed || document.overlong.length > 0) failed[document.entry] = true;
    trainable += document.entry < train_entries_ ? 1 : 0;
    trained += target && dataset_.conversations[i].held_out < 0 ? 1 : 0;
  }
  const std::size_t before = diagnostics_.error_count();
  for (const std::uint32_t entry : entry_of_file_) {
    const bool left_out_on_purpose = skipped[entry] > 0 && skipped[entry] == conversations[entry];
    if (labelled[entry] > 0 || failed[entry] || left_out_on_purpose || refused_entries_.contains(entry)) continue;
    diagnostics_.add(Diagnostic("E0306", escape_for_log(entries_[entry].path) + " has no trained token")
                         .at(entries_[entry].place)
                         .note("conversations read: " + std::to_string(conversations[entry]) +
                               "; each was left out or has no label that is trained")
                         .help("add data, or set `roles_to_train`, `train_on_inputs`, `sequence_len` to suit it"));
  }
  if (before > 0 || diagnostics_.error_count() > 0 || trained > 0) return;
  diagnostics_.add(Diagnostic("E0306", "nothing is left to train: `val_set_size` and `skip_samples` take all " +
                                           std::to_string(trainable) + " conversations")
                       .at(entries_.front().place)
                       .help("hold out or skip fewer of them"));
}

void DatasetLoader::check_skip_list() {
  for (const std::string& name : options_.skip_samples) {
    const bool found =
        std::any_of(dataset_.conversations.begin(), dataset_.conversations.end(), [&](const Conversation& source) {
          return is_named_by(name, source.id, dataset_.files[source.file].path, source.line);
        });
    if (found) continue;
    diagnostics_.add(Diagnostic("E0315", "`skip_samples` names no conversation: " + escape_for_log(name))
                         .note("a conversation is named by its `id`, its file, or `file:line`, as messages show it")
                         .help("correct the name, or take it from the list"));
  }
}

std::string DatasetLoader::fingerprint() const {
  Sha256 hash;
  hash.update("shori-data 1\n");
  std::string skipped;
  for (std::size_t i = 0; i < documents_.size(); ++i) {
    const Conversation& source = dataset_.conversations[i];
    for (const std::string& field :
         {std::to_string(source.held_out + 1), source.id, source.text_sha256, source.category}) {
      hash.update(field.c_str(), field.size() + 1);
    }
    if (documents_[i].skipped) skipped += "skip " + source.id + "\n";
    if (documents_[i].duplicate) skipped += "duplicate " + source.id + "\n";
    if (documents_[i].filtered) skipped += "rating " + source.id + "\n";
  }
  hash.update(settings_text(options_, dataset_.tokenizer_sha256)).update(skipped);
  return to_hex(hash.finish());
}

}  // namespace shori
