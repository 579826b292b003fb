#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "shori/util/text.h"
#include "src/data/import/cards.h"
#include "src/data/import/conversation.h"
#include "tests/fuzz/fuzz_targets.h"

namespace shori::fuzz {
namespace {

// A file that holds the bytes; one a process.
std::string write_input(std::string_view bytes) {
  static const std::string path = [] {
    std::string name = "/tmp/shori_fuzz_XXXXXX";
    const int fd = mkstemp(name.data());
    require(fd >= 0, "a temporary file can be made");
    close(fd);
    return name;
  }();
  static const struct Remove {
    ~Remove() { unlink(path.c_str()); }
  } remove_at_exit;
  unlink(path.c_str());  // some file systems sync a file that is written over
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

void check_conversation(const ImportedConversation& conversation) {
  bool has_message = false;
  for (const Segment& segment : conversation.segments) has_message = has_message || segment.role == Role::kMessage;
  if (!has_message) return;
  const std::string text = render(conversation.segments);
  Diagnostics diagnostics;
  const std::optional<BlockmlDocument> read = parse_blockml(text, {"fuzz", 0}, diagnostics);
  require(read.has_value() && render(*read) == text, "an import is canonical");
}

// A card that is read, and the blocks that it gives a chat of everyone it may name.
void read_card_file(const std::string& path) {
  ImportOptions options;
  options.cards = {path};
  Diagnostics diagnostics;
  CardShelf shelf(options, diagnostics);
  ImportReport report;
  ConversationBuilder builder(options, report);
  builder.add_message("Aya", "A crow.", Voice::kCharacter);
  ImportedConversation conversation;
  builder.finish(conversation);
  shelf.add_blocks(conversation, report, diagnostics);
  check_conversation(conversation);
}

using Reader = void (*)(ImportFile&);

// By the first letter of an input; null: a card, or no reader's letter.
Reader reader_of(char letter) {
  switch (letter) {
    case 'l':
      return import_limarp;
    case 'g':
      return import_sharegpt;
    case 'm':
      return import_messages;
    case 's':
      return import_sillytavern;
    case 't':
      return import_text;
    case 'p':
      return import_plain;
    default:
      return nullptr;
  }
}

}  // namespace

// The first byte says which reader gets the rest; a capital stands for the cleaning of LimaRP too.
void import(std::string_view bytes) {
  if (bytes.empty()) return;
  const char letter = lower_ascii(bytes.front());
  const Reader reader = reader_of(letter);
  if (reader == nullptr && letter != 'c') return;
  ImportOptions options;
  options.human_name = "Aya";
  options.gpt_name = "Nitori";
  options.limarp_clean = letter != bytes.front();
  const std::string path = write_input(bytes.substr(1));
  if (reader == nullptr) return read_card_file(path);
  const InputFile input = InputFile::open(path);
  ImportReport report;
  Diagnostics diagnostics;
  ImportFile file{input, path, options, report, diagnostics, check_conversation};
  reader(file);
}

}  // namespace shori::fuzz
