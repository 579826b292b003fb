// Converts foreign chat files to BlockML: one file per conversation, each change counted by kind, nothing overwritten.
//
// A file is called NAME-KEY: the id of the conversation, or the name of the file that holds it, and 12 characters that follow
// from its texts and speakers as the source has them. So a conversation that is imported again has the name that it had,
// and no other has it.
//
// In every import CR LF and CR become LF; ▀ and ▄ become `-` (except in kText, where they are the markup); the texts
// `<s>`, `</s>`, `<unk>` and control characters are deleted; white space at the ends of a text is removed; empty texts
// are dropped; a conversation left without a message is not written. The output is canonical and passes the parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "shori/config/vocabulary.h"
#include "shori/data/blockml.h"
#include "shori/util/error.h"

namespace shori {

enum class ImportSource {
  kLimarp,       // YAML: names, personas, scenario, conversation
  kShareGpt,     // JSONL or a JSON array: {"conversations": [{"from", "value"}]}
  kMessages,     // the same with {"messages": [{"role", "content", "name"?}]}
  kSillyTavern,  // chat .jsonl, one chat per file
  kText,         // BlockML-like text: foreign line ends, byte order mark, other hint spellings, inline (OOC: …)
  kPlain,        // a log of lines `Name: text`
  kAuto,         // one of these, by the content of each file
};
template <>
inline constexpr auto kWords<ImportSource> =
    word_list("limarp", "sharegpt", "messages", "sillytavern", "text", "plain", "auto");

enum class ImportLengths {
  kKeep,  // hints of the source stay
  kAuto,  // messages without a hint get one; hints of the source stay
  kNone,  // no hints
};
enum class ImportFormat { kBlockml, kYaml, kJsonl };
enum class KeepOrDrop { kKeep, kDrop };

struct ImportOptions {
  ImportSource source = ImportSource::kText;
  std::vector<std::string> inputs;   // files; folders are read recursively
  std::string out;                   // folder, made if it is missing
  std::string human_name, gpt_name;  // speakers of user, human and of char, gpt, assistant; {{user}} and {{char}}
  std::map<std::string, std::string, std::less<>> names;  // further speakers, and roles, by what the files call them
  bool limarp_clean = false;                              // apply limarp_clean() to every text
  KeepOrDrop hidden = KeepOrDrop::kKeep;                  // SillyTavern: messages that /hide has hidden
  KeepOrDrop thinking = KeepOrDrop::kDrop;                // <think>...</think>
  KeepOrDrop pictures = KeepOrDrop::kDrop;                // ![...](...) and <img ...>
  KeepOrDrop status = KeepOrDrop::kKeep;                  // blocks in ``` and <details>
  KeepOrDrop checkpoints = KeepOrDrop::kDrop;             // SillyTavern: checkpoints that a chat of the run contains
  bool skip_bad = false;                                  // write what has no problem, and list the rest
  bool skip_existing = false;                             // leave files that exist with other content as they are
  ImportLengths lengths = ImportLengths::kKeep;
  std::function<LengthHint(std::string_view body)> hint_of;  // for kAuto
  std::vector<std::string> cards;  // character cards (PNG, JSON) and lorebooks (JSON); folders are read recursively
  // Empty: none. yaml and jsonl files state both; for blockml, `ratings.yaml` in `out` holds the ratings.
  std::string category, rating;
  ImportFormat format = ImportFormat::kBlockml;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
};

struct ImportReport {
  std::size_t files = 0;          // read
  std::size_t conversations = 0;  // with a message
  std::size_t messages = 0;
  // New files; files that already had the same content; files left with other content (skip_existing).
  std::size_t written = 0, unchanged = 0, existing = 0;
  std::map<std::string, std::uint64_t, std::less<>> changes;              // by kind
  std::map<std::string, std::vector<std::string>, std::less<>> examples;  // of a kind of change, the first few
  std::map<std::string, std::uint64_t, std::less<>> unknown_keys;         // members that are not used
  std::vector<std::string> bad;                   // skip_bad: "path:line: problem" of what was left out
  std::vector<std::string> other_files;           // of folders, of another kind
  std::set<std::string, std::less<>> used_names;  // keys of ImportOptions::names that occurred
  std::set<std::string, std::less<>> speakers;    // the first hundred
};

// Reads everything before it writes anything, so that nothing is written if there is a problem (with skip_bad: what has
// none is written). All problems of all files go to `diagnostics`: E0116 (a name is missing, or one of `names` occurs
// nowhere), E0304, E0312 (with line and column), E0317, E0318 (two conversations with one id), E0807 (a file of that
// name has other content), and those of the parser. Throws Error for files that cannot be written, Stopped on a
// signal; the files written until then are complete.
ImportReport import_files(const ImportOptions& options, Diagnostics& diagnostics);

// The name of a file for an id, without extension, at most 180 bytes. Characters other than letters, 0-9 . _ - become
// `_`, and so does a leading dot, which would hide the file.
std::string import_file_stem(std::string_view id);

// The cleaning of LimaRP's authors, counted in `changes`: runs of spaces to one; ` !` to `!`, ` ?` to `?`; curly quotes
// to ASCII; `…` to `...`; `---` to `—`; between words 2 to 8 dots to `... `; 3 to 8 dots after a word to `...`.
std::string limarp_clean(std::string_view text, std::map<std::string, std::uint64_t, std::less<>>& changes);

}  // namespace shori
