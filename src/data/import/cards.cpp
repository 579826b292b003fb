#include "src/data/import/cards.h"

#include <algorithm>

#include "shori/util/file.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_stream.h"
#include "src/data/sources/recognize.h"

namespace shori {
namespace {

constexpr std::uint64_t kMaxFile = 64u << 20;
constexpr JsonLimits kCardLimits = {kMaxFile, 32, 1'000'000};

// Cards may be in PNG and JSON files; `others` gets the rest of the folder.
std::vector<std::string> files_in(const std::string& folder, std::vector<std::string>& others) {
  std::vector<std::string> files, folders = {folder};
  while (!folders.empty()) {
    const std::string current = folders.back();
    folders.pop_back();
    for (const std::string& name : list_directory(current)) {
      const std::string path = join_path(current, name);
      if (name.starts_with('.')) continue;
      if (is_directory(path)) {
        if (!is_symlink(path)) folders.push_back(path);
      } else {
        const std::string lower = lower_ascii(name);
        (lower.ends_with(".png") || lower.ends_with(".json") ? files : others).push_back(path);
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

bool is_letter(char c) {
  const char lower = lower_ascii(c);
  return (c & 0x80) != 0 || (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

// Whether `text` holds the key as words of its own. Both in lower case.
bool holds(std::string_view text, std::string_view key) {
  for (std::size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    const bool begins = at == 0 || !is_letter(text[at - 1]) || !is_letter(key.front());
    const std::size_t end = at + key.size();
    if (begins && (end == text.size() || !is_letter(text[end]) || !is_letter(key.back()))) return true;
  }
  return false;
}

bool holds_one(std::string_view text, const std::vector<std::string>& keys) {
  return std::any_of(keys.begin(), keys.end(),
                     [text](const std::string& key) { return holds(text, lower_ascii(key)); });
}

bool is_met(const LoreEntry& entry, std::string_view text) {
  if (entry.constant) return true;
  return holds_one(text, entry.keys) && (entry.secondary.empty() || holds_one(text, entry.secondary));
}

// The texts of all messages, and who speaks.
struct ChatText {
  std::string text;
  std::vector<std::string> speakers;
  bool has_scenario = false;
};
ChatText text_of(const std::vector<Segment>& segments) {
  ChatText chat;
  for (const Segment& segment : segments) {
    chat.has_scenario = chat.has_scenario || segment.role == Role::kScenario;
    if (segment.role != Role::kMessage && segment.role != Role::kInst) continue;
    chat.text += lower_ascii(segment.body) + "\n";
    const auto speaker = segment.role == Role::kMessage ? find_speaker(segment.body) : std::nullopt;
    if (!speaker) continue;
    const std::string name(speaker->name);
    if (std::find(chat.speakers.begin(), chat.speakers.end(), name) == chat.speakers.end())
      chat.speakers.push_back(name);
  }
  return chat;
}

bool describes(const Segment& segment, std::string_view name) {
  return segment.role == Role::kDescription && (segment.body == name || segment.body.starts_with(concat(name, "\n")));
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

void append(std::vector<Segment>& segments, const std::vector<Segment>& more) {
  segments.insert(segments.end(), more.begin(), more.end());
}

}  // namespace

CardShelf::CardShelf(const ImportOptions& options, Diagnostics& diagnostics) : options_(options) {
  for (const std::string& path : options.cards) {
    const bool folder = is_directory(path);
    if (!folder && !path_exists(path)) {
      diagnostics.add(Diagnostic("E0315", "no such card or folder: " + escape_for_log(path, 400))
                          .help("--cards takes PNG and JSON files, and folders of them"));
      continue;
    }
    for (const std::string& file : folder ? files_in(path, not_cards_) : std::vector<std::string>{path})
      read(file, !folder, diagnostics);
  }
}

void CardShelf::problem(Diagnostic problem, Diagnostics& diagnostics) {
  if (options_.skip_bad)
    bad_.push_back(concat(problem.location.file, ": ", problem.message));
  else
    diagnostics.add(std::move(problem));
}

// `named`: the user gave this file, and not a folder that may hold other files as well.
void CardShelf::read(const std::string& path, bool named, Diagnostics& diagnostics) {
  const InputFile input = InputFile::open(path);
  if (input.size() > kMaxFile)
    return problem(Diagnostic("E0317", "the card is larger than 64 MiB").at(path), diagnostics);
  const std::string bytes = read_whole_file(input, kMaxFile, "E0317");
  if (!bytes.starts_with("\x89PNG")) {
    if (auto refused = refuse_file_form(input, path)) return problem(std::move(*refused), diagnostics);
    std::string text;
    TextStream(input).read_all(text);
    return read_json(path, text, named, diagnostics);
  }
  std::string trouble;
  const std::optional<std::string> json = read_png_card(bytes, trouble);
  if (json) return read_json(path, *json, named, diagnostics);
  if (!named && trouble.starts_with("there is no")) {
    ++pictures_;
    return;
  }
  problem(Diagnostic("E0312", trouble)
              .at(path)
              .help("save the card again in the program it comes from, as PNG or JSON; or leave it out"),
          diagnostics);
}

void CardShelf::read_json(const std::string& path, const std::string& text, bool named, Diagnostics& diagnostics) {
  // The same card as PNG and JSON, or in two folders, is one card.
  if (!texts_.insert(sha256_hex(text)).second) {
    ++repeated_;
    return;
  }
  JsonProblem trouble;
  JsonRepairs repairs{.drops_nul = true};
  const std::optional<JsonValue> object = parse_json(text, kCardLimits, trouble, &repairs);
  if (!object && !named && recognize_text(text, path) != FileKind::kCard) return not_cards_.push_back(path);
  if (!object)
    return problem(Diagnostic("E0312", "the card is not JSON: " + escape_for_log(trouble.message, 200)).at(path),
                   diagnostics);
  const JsonValue* entries = object->find("entries");
  Card card = read_card(*object);
  if (entries != nullptr && card.description.empty() && !object->find("spec")) {
    const std::vector<LoreEntry> lore = read_lorebook(*object, unused_lore_);
    lore_.insert(lore_.end(), lore.begin(), lore.end());
    ++books_;
    return;
  }
  if (card.name.empty() && !named) return not_cards_.push_back(path);
  if (card.name.empty())
    return problem(Diagnostic("E0312", "this is neither a character card nor a lorebook")
                       .at(path)
                       .help("wanted: a card with `name` and `description`, or a lorebook with `entries`"),
                   diagnostics);
  card.path = path;
  cards_.push_back(std::move(card));
}

std::string CardShelf::final_name(const Card& card, const ImportedConversation& conversation) const {
  const auto given = options_.names.find(card.name);
  if (given != options_.names.end()) return given->second;
  if (!options_.gpt_name.empty() && conversation.character == card.name) return options_.gpt_name;
  return card.name;
}

const Card* CardShelf::other_of_name(const Card& card) const {
  const auto same = [&card](const Card& other) { return &other != &card && other.name == card.name; };
  const auto found = std::find_if(cards_.begin(), cards_.end(), same);
  return found == cards_.end() ? nullptr : &*found;
}

void CardShelf::add_blocks(ImportedConversation& conversation, ImportReport& report, Diagnostics& diagnostics) {
  if (cards_.empty() && lore_.empty()) return;
  std::vector<Segment>& segments = conversation.segments;
  const ChatText chat = text_of(segments);
  ConversationBuilder lore(options_, report);
  const auto add_lore = [&](const std::vector<LoreEntry>& entries, ConversationBuilder& builder) {
    for (const LoreEntry& entry : entries) {
      const bool met = is_met(entry, chat.text);
      count_change(report.changes, met ? "lore added" : "lore entries whose keys do not occur left out");
      if (met) builder.add_block(Role::kLore, entry.content);
    }
  };
  std::vector<Segment> blocks[3];  // lore, descriptions, scenarios
  lore.fix_names(conversation.user, options_.gpt_name.empty() ? conversation.character : options_.gpt_name);
  add_lore(lore_, lore);
  blocks[0] = lore.take();
  for (const Card& card : cards_) {
    const std::string given = final_name(card, conversation);
    ImportReport counts;  // of this card; dropped with it if its character does not speak
    const auto build = [&](const auto& add) {
      ConversationBuilder builder(options_, counts);
      builder.fix_names(conversation.user, card.nickname.empty() ? given : card.nickname);
      add(builder);
      return builder.take();
    };
    const std::vector<Segment> description = build([&](ConversationBuilder& builder) {
      const std::string_view more = card.personality.empty() ? "" : "\n\nPersonality: ";
      builder.add_description(given, concat(card.description, more, card.personality));
    });
    // The builder has made the name what a speaker may be.
    const std::string name = description.empty() ? given : first_line(description.front().body);
    if (std::find(chat.speakers.begin(), chat.speakers.end(), name) == chat.speakers.end()) continue;
    if (const Card* other = other_of_name(card)) {
      // Once for all chats: of each pair the first card that a chat needs.
      if (!ambiguous_.contains(other) && ambiguous_.insert(&card).second)
        problem(Diagnostic("E0318", concat("two cards are called `", escape_for_log(card.name, 60), "`"))
                    .at(card.path)
                    .note("the other is " + escape_for_log(other->path, 400))
                    .help("give one of them: --cards FILE takes single files too"),
                diagnostics);
      used_.insert(&card);
      continue;
    }
    used_.insert(&card);
    if (std::none_of(segments.begin(), segments.end(), [&](const Segment& each) { return describes(each, name); })) {
      append(blocks[1], description);
      count_change(counts.changes, "descriptions added from cards", description.size());
    }
    append(blocks[0], build([&](ConversationBuilder& builder) { add_lore(card.lore, builder); }));
    if (!chat.has_scenario) {
      const auto scenario = build([&](ConversationBuilder& builder) {
        if (!trim_blockml(card.scenario).empty()) builder.add_block(Role::kScenario, card.scenario);
      });
      append(blocks[2], scenario);
      count_change(counts.changes, "scenarios added from cards", scenario.size());
    }
    add_counts(report, counts);
  }
  auto at = std::find_if(segments.begin(), segments.end(), [](const Segment& segment) {
    return segment.role != Role::kTitle && segment.role != Role::kTags;
  });
  for (const std::vector<Segment>& part : blocks)
    at = segments.insert(at, part.begin(), part.end()) + static_cast<std::ptrdiff_t>(part.size());
}

void CardShelf::add_to(ImportReport& report) const {
  count_change(report.changes, "cards read", cards_.size());
  count_change(report.changes, "lorebooks read", books_);
  count_change(report.changes, "cards and lorebooks given twice, read once", repeated_);
  count_change(report.changes, "pictures without a card skipped", pictures_);
  std::size_t unused = unused_lore_;
  for (const Card& card : cards_) unused += card.unused_lore;
  count_change(report.changes, "lore entries that are disabled or empty left out", unused);
  for (const std::string& path : not_cards_)
    note_change(report, "files of a cards folder that are neither card nor lorebook, not used",
                escape_for_log(path, 200));
  for (const Card& card : cards_) {
    for (const std::string& field : card.left_out) note_change(report, "fields of cards left out", field);
    if (!used_.contains(&card))
      note_change(report, "cards of characters that do not speak, not used", escape_for_log(card.name, 60));
  }
  report.bad.insert(report.bad.end(), bad_.begin(), bad_.end());
}

}  // namespace shori
