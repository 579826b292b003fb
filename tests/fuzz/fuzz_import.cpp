#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>

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

}  // namespace

void import(std::string_view bytes) {
  constexpr std::array readers = {import_limarp,      import_sharegpt, import_messages,
                                  import_sillytavern, import_text,     import_plain};
  constexpr std::size_t kKinds = readers.size() + 1;  // cards too
  if (bytes.empty()) return;
  const auto choice = static_cast<unsigned char>(bytes.front());
  ImportOptions options;
  options.human_name = "Aya";
  options.gpt_name = "Nitori";
  options.limarp_clean = choice / kKinds % 2 == 1;
  const std::string path = write_input(bytes.substr(1));
  if (choice % kKinds == readers.size()) return read_card_file(path);
  const InputFile input = InputFile::open(path);
  ImportReport report;
  Diagnostics diagnostics;
  ImportFile file{input, path, options, report, diagnostics, check_conversation};
  readers[choice % kKinds](file);
}

}  // namespace shori::fuzz
