// Character cards and lorebooks that belong to the chats of an import.
//
// A card becomes a description and a scenario of the chats in which its character speaks; entries of its book, and of
// lorebooks, become lore of the chats that hold one of their keys. Facts: the card formats V1, V2 (`chara_card_v2`) and
// V3 (`chara_card_v3`), in JSON or, as base64, in the tEXt chunks `chara` and `ccv3` of a PNG; lorebooks as SillyTavern
// saves them.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "shori/util/json.h"
#include "src/data/import/conversation.h"

namespace shori {

struct LoreEntry {
  std::vector<std::string> keys, secondary;  // a text must hold one of each list that is not empty
  std::string content;
  bool constant = false;  // needs no key
  std::int64_t order = 0;
};

struct Card {
  std::string path, name, nickname, description, personality, scenario;
  std::vector<LoreEntry> lore;
  std::size_t unused_lore = 0;        // entries that are disabled or empty
  std::vector<std::string> left_out;  // fields that have no block
};

// Of the JSON object of a card or lorebook. The fields that are missing stay empty.
Card read_card(const JsonValue& object);
// `unused` counts the entries that are disabled or without content.
std::vector<LoreEntry> read_lorebook(const JsonValue& object, std::size_t& unused);

// The JSON text in the card chunk of a PNG; a problem instead if it has none, or a compressed or damaged one.
std::optional<std::string> read_png_card(std::string_view png, std::string& problem);
std::optional<std::string> decode_base64(std::string_view text);

class CardShelf {
 public:
  // Reads all cards; problems go to `diagnostics`, or with skip_bad to the list of bad files.
  CardShelf(const ImportOptions& options, Diagnostics& diagnostics);
  // Puts the blocks of the characters that speak, and the lore that is met, before the first message. E0318 if two cards
  // have the name of one who speaks.
  void add_blocks(ImportedConversation& conversation, ImportReport& report, Diagnostics& diagnostics);
  // What was read, and which cards no chat has.
  void add_to(ImportReport& report) const;

 private:
  void read(const std::string& path, bool named, Diagnostics& diagnostics);
  void read_json(const std::string& path, const std::string& text, bool named, Diagnostics& diagnostics);
  void problem(Diagnostic problem, Diagnostics& diagnostics);
  const Card* other_of_name(const Card& card) const;
  std::string final_name(const Card& card, const ImportedConversation& conversation) const;

  const ImportOptions& options_;
  std::vector<Card> cards_;
  std::vector<LoreEntry> lore_;
  std::size_t books_ = 0, pictures_ = 0, repeated_ = 0, unused_lore_ = 0;
  std::set<std::string> texts_;         // SHA-256 of the cards and lorebooks that were read
  std::vector<std::string> not_cards_;  // other files of the folders
  std::set<const Card*> used_, ambiguous_;
  std::vector<std::string> bad_;
};

}  // namespace shori
