// What a file is, by its content: so that a reader that meets a foreign format says which import takes it.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "shori/util/file.h"

namespace shori {

// How the objects of a JSON file follow each other.
enum class JsonForm : std::uint8_t {
  kLines,   // JSONL: one in each line
  kArray,   // all are items of one array
  kSpread,  // one after the other, each over several lines
};
// By the first character that is no space, and by the line break after it; nullopt: the beginning is too short.
std::optional<JsonForm> json_form(std::string_view beginning);

enum class FileKind : std::uint8_t {
  kUnknown,
  kSillyTavern,
  kShareGpt,
  kMessages,
  kLimarp,
  kPlain,         // a log of lines `Name: text`
  kBlockml,       // text with block characters
  kBlockmlJsonl,  // {"text": "..."}
  kBlockmlYaml,
  kTokenized,
  kCard,
  kLorebook,
  kAlpaca,
};

// "a SillyTavern chat"
std::string_view file_kind_name(FileKind kind);
// The word of `shori-data import --from` that takes it; empty: none does.
std::string_view import_word(FileKind kind);

// By the beginning of the file, whatever its encoding. `path` decides between YAML and other texts.
FileKind recognize_file(const InputFile& file, const std::string& path);
FileKind recognize_text(std::string_view beginning, std::string_view path);

// The keys of the first object of a JSON text, of which the end may be missing.
std::set<std::string, std::less<>> first_json_keys(std::string_view text);

// How a foreign file is taken: "shori-data import PATH --from sillytavern --out data/NAME".
std::string import_command(FileKind kind, const std::string& path);

}  // namespace shori
