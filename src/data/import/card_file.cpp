// What card files hold: chunks of a PNG, base64, and the fields of three versions.
#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "src/data/import/cards.h"

namespace shori {
namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1A\n";
constexpr std::size_t kChunkHead = 8, kChunkEnd = 4;  // length and type; checksum

std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string text_of(const JsonValue& object, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    const JsonValue* value = object.find(key);
    if (value != nullptr && value->is_string() && !trim_blockml(value->text).empty()) return value->text;
  }
  return {};
}

std::vector<std::string> texts_of(const JsonValue& object, std::initializer_list<std::string_view> keys) {
  std::vector<std::string> texts;
  for (const std::string_view key : keys) {
    const JsonValue* value = object.find(key);
    if (value == nullptr || !value->is_array()) continue;
    for (const JsonValue& item : value->items) {
      if (item.is_string() && !trim_blockml(item.text).empty()) texts.emplace_back(trim_blockml(item.text));
    }
    break;
  }
  return texts;
}

bool flag(const JsonValue& object, std::string_view key, bool otherwise) {
  const JsonValue* value = object.find(key);
  return value != nullptr && value->kind == JsonValue::Kind::kBool ? value->boolean : otherwise;
}

LoreEntry read_entry(const JsonValue& object) {
  LoreEntry entry;
  entry.keys = texts_of(object, {"keys", "key"});
  if (flag(object, "selective", true)) entry.secondary = texts_of(object, {"secondary_keys", "keysecondary"});
  entry.content = text_of(object, {"content"});
  entry.constant = flag(object, "constant", false);
  for (const std::string_view key : {"insertion_order", "order"}) {
    const JsonValue* value = object.find(key);
    if (value == nullptr) continue;
    entry.order = value->as_integer().value_or(0);
    break;
  }
  return entry;
}

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  bool ended = false;
  for (const char c : text) {
    if (is_space(c)) continue;
    int value = -1;
    if (c >= 'A' && c <= 'Z') value = c - 'A';
    if (c >= 'a' && c <= 'z') value = c - 'a' + 26;
    if (c >= '0' && c <= '9') value = c - '0' + 52;
    if (c == '+' || c == '-') value = 62;
    if (c == '/' || c == '_') value = 63;
    if (c == '=') ended = true;
    if (c == '=') continue;
    if (value < 0 || ended) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFF);
  }
  // Six bits left over are half a byte pair that was cut off.
  if (count == 6) return std::nullopt;
  return out;
}

std::optional<std::string> read_png_card(std::string_view png, std::string& problem) {
  std::string_view found;
  if (!png.starts_with(kSignature)) problem = "the file is no PNG";
  for (std::size_t at = kSignature.size(); problem.empty() && at + kChunkHead <= png.size();) {
    const std::size_t size = big_endian(png.substr(at, 4));
    const std::string_view type = png.substr(at + 4, 4);
    if (size > png.size() - at - kChunkHead) {
      problem = "the picture is cut off";
      break;
    }
    const std::string_view data = png.substr(at + kChunkHead, size);
    const std::string keyword = lower_ascii(data.substr(0, std::min<std::size_t>(data.find('\0'), 79)));
    const bool card = keyword == "chara" || keyword == "ccv3";
    if (card && type == "tEXt" && (found.empty() || keyword == "ccv3")) found = data.substr(keyword.size() + 1);
    if (card && (type == "zTXt" || type == "iTXt") && found.empty())
      problem = concat("the card is in a chunk of kind ", type, ", which is not read");
    at += kChunkHead + size + kChunkEnd;
  }
  if (!found.empty()) {
    problem.clear();
    std::optional<std::string> json = decode_base64(found);
    if (!json) problem = "the card in the picture is not base64";
    return json;
  }
  if (problem.empty()) problem = "there is no character card in the picture";
  return std::nullopt;
}

std::vector<LoreEntry> read_lorebook(const JsonValue& object, std::size_t& unused) {
  std::vector<LoreEntry> lore;
  const JsonValue* entries = object.find("entries");
  if (entries == nullptr) return lore;
  const auto add = [&](const JsonValue& entry) {
    const bool used = entry.is_object() && flag(entry, "enabled", true) && !flag(entry, "disable", false);
    if (used && !text_of(entry, {"content"}).empty())
      lore.push_back(read_entry(entry));
    else
      ++unused;
  };
  for (const JsonValue& entry : entries->items) add(entry);
  for (const auto& [key, entry] : entries->members) add(entry);
  std::stable_sort(lore.begin(), lore.end(), [](const LoreEntry& a, const LoreEntry& b) { return a.order < b.order; });
  return lore;
}

Card read_card(const JsonValue& object) {
  constexpr std::array<std::string_view, 9> kLeftOut = {
      "first_mes",     "mes_example",   "system_prompt",    "post_history_instructions", "alternate_greetings",
      "creator_notes", "char_greeting", "example_dialogue", "group_only_greetings"};
  const JsonValue* data = object.find("data");
  const JsonValue& fields = data != nullptr && data->is_object() ? *data : object;
  Card card;
  card.name = trim_blockml(text_of(fields, {"name", "char_name"}));
  card.nickname = trim_blockml(text_of(fields, {"nickname"}));
  card.description = text_of(fields, {"description", "char_persona"});
  card.personality = text_of(fields, {"personality"});
  card.scenario = text_of(fields, {"scenario", "world_scenario"});
  if (const JsonValue* book = fields.find("character_book")) card.lore = read_lorebook(*book, card.unused_lore);
  for (const std::string_view key : kLeftOut) {
    const JsonValue* value = fields.find(key);
    if (value != nullptr && (!value->text.empty() || !value->items.empty())) card.left_out.emplace_back(key);
  }
  return card;
}

}  // namespace shori
