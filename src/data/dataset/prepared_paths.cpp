#include "src/data/dataset/prepared_paths.h"

#include <string>
#include <string_view>
#include <vector>

#include "shori/util/utf8.h"

namespace shori {
namespace {

bool continues_path(char c) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  return letter || c == '/' || c == '_' || c == '-' || static_cast<unsigned char>(c) >= 0x80;
}

// `text` with every whole occurrence of `old` replaced.
std::string with_path(std::string_view text, const std::string& old, const std::string& present) {
  std::string result;
  while (!text.empty()) {
    const std::size_t at = text.find(old);
    if (at == std::string_view::npos) break;
    const std::size_t end = at + old.size();
    const char before = at > 0 ? text[at - 1] : result.empty() ? ' ' : result.back();
    const bool whole = !continues_path(before) && before != '.' && (end == text.size() || !continues_path(text[end]));
    result += text.substr(0, at);
    result += whole ? present : old;
    text.remove_prefix(end);
  }
  return result += text;
}

struct Renamed {
  std::string old, present;
};

void rename_items(std::vector<LedgerItem>& items, const Renamed& file) {
  for (LedgerItem& item : items) item.location = with_path(item.location, file.old, file.present);
}

void rename_in_ledger(FileLedger& ledger, const Renamed& file) {
  for (auto& dropped : ledger.dropped) rename_items(dropped, file);
  rename_items(ledger.split, file);
  rename_items(ledger.held_out, file);
}

void rename_in_warning(Diagnostic& warning, const Renamed& file) {
  if (warning.location.file == file.old) warning.location.file = file.present;
  warning.message = with_path(warning.message, file.old, file.present);
  for (std::string& text : warning.notes) text = with_path(text, file.old, file.present);
  for (std::string& text : warning.helps) text = with_path(text, file.old, file.present);
}

void rename_conversations(Dataset& dataset, const std::vector<Renamed>& files) {
  for (Conversation& source : dataset.conversations) {
    const Renamed& file = files[source.file];
    if (source.id != location_text(file.old, source.line, source.is_line)) continue;
    source.id = location_text(file.present, source.line, source.is_line);
  }
}

// "val" if data was held out, then the entries of evaluation data.
void name_sets(Dataset& dataset, const DataSources& sources) {
  const std::size_t test_sets = sources.entries.size() - sources.train_entries;
  const std::size_t first = dataset.held_out.size() - test_sets;
  for (std::size_t i = 0; i < test_sets; ++i)
    dataset.held_out[first + i].name = sources.entries[sources.train_entries + i].path;
}

}  // namespace

void use_present_paths(PreparedData& kept, const DataSources& sources) {
  Dataset& dataset = *kept.dataset;
  std::vector<Renamed> files, messages;
  for (std::size_t i = 0; i < dataset.files.size(); ++i) {
    files.push_back({dataset.files[i].path, sources.files[i].path});
    messages.push_back({dataset.files[i].shown, sources.files[i].shown});
    dataset.files[i].path = sources.files[i].path;
    dataset.files[i].shown = sources.files[i].shown;
    dataset.files[i].recorded_path = sources.files[i].recorded_path;
  }
  name_sets(dataset, sources);
  rename_conversations(dataset, files);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (files[i].old != files[i].present) rename_in_ledger(dataset.file_ledgers[i], files[i]);
    if (messages[i].old == messages[i].present) continue;
    const Renamed shown{escape_for_log(messages[i].old), escape_for_log(messages[i].present)};
    for (std::string& text : dataset.unknown_keys) text = with_path(text, shown.old, shown.present);
    for (std::string& text : dataset.text_changes) text = with_path(text, shown.old, shown.present);
    for (Diagnostic& warning : kept.warnings) rename_in_warning(warning, messages[i]);
  }
}

}  // namespace shori
