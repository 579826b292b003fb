// Conversations written as YAML (`type: blockml_yaml`): one YAML document is one conversation.
//
//   id, category, rating       about the conversation
//   title, tags (a list), lore (a text or a list), scenario
//   characters                 map of an id to {name, description?}; a description is a block in the header, unless the
//                              character is introduced later
//   system                     [INST] ... [/INST] directly before the first message
//   messages                   list of {who?, text, length?}, {ooc}, {note}, {title?, tags?}, {scenario}, {lore},
//                              {introduce} or {description}; at least one with `text`
//
// The header is rendered as title, tags, lore, descriptions, scenario. `length` is one of the nine words, `auto` or
// `none`. `<<id>>` inside a text becomes the character's name. Texts are trimmed. `description` in `messages` is a
// block as written, for cards that do not begin with a name on a line of its own.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/data/length_buckets.h"
#include "shori/util/error.h"

namespace shori {

class Tokenizer;

struct YamlSourceOptions {
  LengthHint default_length = LengthHint::kNone;
  LengthBuckets buckets;
  const Tokenizer* tokenizer = nullptr;  // null: `auto` in tokens gives no hint
};

struct YamlConversation {
  std::string id, category, rating;  // empty: not given
  BlockmlDocument document;          // line and column of a segment are those of its text in the file
  bool lacks_lengths = false;        // `auto` was asked for, but there is no tokenizer
};

// The documents of a file, each with its first line (1-based). Those of nothing but comments are left out.
struct YamlText {
  std::string_view text;
  std::size_t line = 1;
};
std::vector<YamlText> split_yaml_documents(std::string_view text);

// Reads one document that begins at line `first_line` of `file`; the text has passed check_text(). Reports all problems
// at their YAML nodes and then returns nullopt: E0312 (form, unknown keys), E0310 (▀ or ▄ in a text), E0311 (empty),
// E0316, and the rules that BlockML texts keep (E0304, E0308, E0309, E0317).
std::optional<YamlConversation> parse_yaml_conversation(std::string_view text, const std::string& file,
                                                        std::size_t first_line, const YamlSourceOptions& options,
                                                        Diagnostics& diagnostics);

// One YAML document, ends with a newline, that reads back as these segments byte for byte. Empty names are left out.
std::string render_yaml_conversation(std::span<const Segment> segments, std::string_view id, std::string_view category,
                                     std::string_view rating);

}  // namespace shori
