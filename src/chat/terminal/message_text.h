// What a message may hold, so that a chat is always a conversation that `shori-data check` accepts.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "shori/data/blockml.h"
#include "shori/util/error.h"

namespace shori {

// Why `body` cannot be the body of a message, without a location; nullopt if it can.
std::optional<Diagnostic> find_message_problem(const std::string& body);

// Whether messages of a character of that name can be distinguished from others.
bool is_character_name(std::string_view name);

// `text` without U+0080 to U+009F, which terminals obey and no writer means.
std::string without_c1(std::string_view text);

// `body` without what a message cannot hold: marks of blocks, special tokens, control characters.
std::string cleaned_body(std::string body);

// "Reimu: Hi" of "Reimu:" and " Hi", with the space that some models leave out.
std::string joined_body(const std::string& opening, const std::string& text);

// "Hello" of "Ann: Hello" and "Ann:", for messages that get their opening in front.
std::string without_opening(const std::string& typed, const std::string& opening);

// A typed line as text: `\n` in it is a new line. And back.
std::string from_line(std::string_view line);
std::string to_line(std::string_view text);

}  // namespace shori
