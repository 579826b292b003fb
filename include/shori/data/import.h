// Converts foreign chat files to BlockML: one file per conversation, each change counted by kind, nothing overwritten.
//
// In every import CR LF and CR become LF; ▀ and ▄ become `-` (except in kText, where they are the markup); the texts
// `<s>`, `</s>`, `<unk>` and control characters are deleted; white space at the ends of a text is removed; empty texts
// are dropped; a conversation left without a message is not written. The output is canonical and passes the parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/util/error.h"

namespace shori {

enum class ImportSource {
  kLimarp,       // YAML: names, personas, scenario, conversation
  kShareGpt,     // JSONL or a JSON array: {"conversations": [{"from", "value"}]}
  kMessages,     // the same with {"messages": [{"role", "content", "name"?}]}
  kSillyTavern,  // chat .jsonl, one chat per file
  kText,         // BlockML-like text: foreign line ends, byte order mark, other hint spellings, inline (OOC: …)
};
enum class ImportLengths {
  kKeep,  // hints of the source stay
  kAuto,  // messages without a hint get one; hints of the source stay
  kNone,  // no hints
};
enum class ImportFormat { kBlockml, kYaml, kJsonl };

struct ImportOptions {
  ImportSource source = ImportSource::kText;
  std::vector<std::string> inputs;   // files; folders are read recursively
  std::string out;                   // folder, made if it is missing
  std::string human_name, gpt_name;  // speakers of human/user and gpt/assistant
  bool limarp_clean = false;         // apply limarp_clean() to every text
  ImportLengths lengths = ImportLengths::kKeep;
  std::function<LengthHint(std::string_view body)> hint_of;  // for kAuto
  // Empty: none. yaml and jsonl files state both; for blockml, `ratings.yaml` in `out` holds the ratings.
  std::string category, rating;
  ImportFormat format = ImportFormat::kBlockml;
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;  // may be empty
};

struct ImportReport {
  std::size_t files = 0;          // read
  std::size_t conversations = 0;  // with a message
  std::size_t messages = 0;
  std::size_t written = 0, unchanged = 0;                     // new files; files that already had the same content
  std::map<std::string, std::uint64_t, std::less<>> changes;  // by kind
  std::vector<std::string> unknown_keys;                      // "path: key (N times)", members that are not used
};

// Reads everything before it writes anything, so that nothing is written if there is a problem. Problems go to
// `diagnostics`: E0116 (a name is missing), E0304, E0312 (with line and column), E0317, E0318 (two conversations with
// one file name), E0807 (a file of that name has other content), and those of the parser. Throws Error for files that
// cannot be read or written, Stopped on a signal; the files written until then are complete.
ImportReport import_files(const ImportOptions& options, Diagnostics& diagnostics);

// The name of a file for an id, without extension, at most 200 bytes. Characters other than A-Z a-z 0-9 . _ - become
// `_`, and so does a leading dot, which would hide the file.
std::string import_file_stem(std::string_view id);

// The cleaning of LimaRP's authors, counted in `changes`: runs of spaces to one; ` !` to `!`, ` ?` to `?`; curly quotes
// to ASCII; `…` to `...`; `---` to `—`; between words 2 to 8 dots to `... `; 3 to 8 dots after a word to `...`.
std::string limarp_clean(std::string_view text, std::map<std::string, std::uint64_t, std::less<>>& changes);

}  // namespace shori
