#include "src/data/sources/recognize.h"

#include <algorithm>

#include "shori/data/blockml.h"
#include "shori/util/command.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_stream.h"
#include "src/data/sources/log_lines.h"

namespace shori {
namespace {

constexpr std::size_t kBeginning = 256u << 10;

bool has_line(std::string_view text, std::string_view beginning) {
  return text.starts_with(beginning) || text.find(concat("\n", beginning)) != std::string_view::npos;
}

FileKind recognize_json(std::string_view text) {
  const auto keys = first_json_keys(text);
  const auto has = [&keys](std::string_view key) { return keys.contains(key); };
  if (has("mes") || has("chat_metadata") || (has("user_name") && has("character_name"))) return FileKind::kSillyTavern;
  if (has("spec") || has("first_mes") || has("char_persona")) return FileKind::kCard;
  if (has("conversations") || has("conversation")) return FileKind::kShareGpt;
  if (has("messages")) return FileKind::kMessages;
  if (has("entries")) return FileKind::kLorebook;
  if (has("input_ids")) return FileKind::kTokenized;
  if (has("instruction") && (has("output") || has("response"))) return FileKind::kAlpaca;
  return has("text") ? FileKind::kBlockmlJsonl : FileKind::kUnknown;
}

FileKind recognize_yaml(std::string_view text) {
  if (has_line(text, "names:") && has_line(text, "conversation:")) return FileKind::kLimarp;
  return has_line(text, "messages:") ? FileKind::kBlockmlYaml : FileKind::kUnknown;
}

bool ends_with_any(std::string_view path, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [path](std::string_view end) { return path.ends_with(end); });
}

// Collects the keys at depth 1 of the first object.
class KeyScanner {
 public:
  explicit KeyScanner(std::string_view text) : text_(text) {}

  std::set<std::string, std::less<>> run() {
    at_ = text_.find_first_not_of(" \t\r\n");
    if (at_ != std::string_view::npos && text_[at_] == '[') at_ = text_.find_first_not_of(" \t\r\n", at_ + 1);
    if (at_ == std::string_view::npos || text_[at_] != '{') return {};
    std::size_t depth = 0;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '{' || c == '[') ++depth;
      if ((c == '}' || c == ']') && --depth == 0) break;
      if (c == '"') take_string(depth == 1);
    }
    return std::move(keys_);
  }

 private:
  void take_string(bool may_be_key) {
    const std::size_t begin = ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    if (!may_be_key || at_ >= text_.size()) return;
    const std::size_t next = text_.find_first_not_of(" \t\r\n", at_ + 1);
    if (next != std::string_view::npos && text_[next] == ':') keys_.emplace(text_.substr(begin, at_ - begin));
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::set<std::string, std::less<>> keys_;
};

// The prompts that Alpaca writes from its data sets.
bool has_prompts(std::string_view text) {
  return has_line(text, "### Instruction:") || has_line(text, "### Response:");
}

}  // namespace

std::string_view file_kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kSillyTavern:
      return "a SillyTavern chat";
    case FileKind::kShareGpt:
      return "a ShareGPT file";
    case FileKind::kMessages:
      return "a file of chat messages (role, content)";
    case FileKind::kLimarp:
      return "a LimaRP file";
    case FileKind::kPlain:
      return "a log of lines `Name: text`";
    case FileKind::kBlockml:
      return "BlockML text";
    case FileKind::kBlockmlJsonl:
      return "JSONL with a text in each line";
    case FileKind::kBlockmlYaml:
      return "a BlockML conversation in YAML";
    case FileKind::kTokenized:
      return "JSONL of token ids";
    case FileKind::kCard:
      return "a character card";
    case FileKind::kLorebook:
      return "a lorebook";
    case FileKind::kAlpaca:
      return "an instruction data set (Alpaca)";
    case FileKind::kUnknown:
      break;
  }
  return "a file of unknown form";
}

std::string_view import_word(FileKind kind) {
  switch (kind) {
    case FileKind::kSillyTavern:
      return "sillytavern";
    case FileKind::kShareGpt:
      return "sharegpt";
    case FileKind::kMessages:
      return "messages";
    case FileKind::kLimarp:
      return "limarp";
    case FileKind::kPlain:
      return "plain";
    case FileKind::kBlockml:
      return "text";
    case FileKind::kBlockmlJsonl:
    case FileKind::kBlockmlYaml:
    case FileKind::kTokenized:
    case FileKind::kCard:
    case FileKind::kLorebook:
    case FileKind::kAlpaca:
    case FileKind::kUnknown:
      break;
  }
  return "";
}

std::optional<JsonForm> json_form(std::string_view beginning) {
  const std::size_t first = beginning.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return std::nullopt;
  if (beginning[first] == '[') return JsonForm::kArray;
  const std::size_t next = beginning.find_first_not_of(" \t\r", first + 1);
  if (next == std::string_view::npos) return std::nullopt;
  return beginning[first] == '{' && beginning[next] == '\n' ? JsonForm::kSpread : JsonForm::kLines;
}

std::set<std::string, std::less<>> first_json_keys(std::string_view text) { return KeyScanner(text).run(); }

FileKind recognize_text(std::string_view beginning, std::string_view path) {
  const std::size_t first = beginning.find_first_not_of(" \t\n");
  const char c = first == std::string_view::npos ? '\0' : beginning[first];
  if (ends_with_any(path, {".yaml", ".yml"})) return recognize_yaml(beginning);
  if (c == '{' || (c == '[' && ends_with_any(path, {".json", ".jsonl"}))) return recognize_json(beginning);
  if (ends_with_any(path, {".json", ".jsonl"})) return FileKind::kUnknown;
  if (beginning.find(kBlockOpen) != std::string_view::npos) return FileKind::kBlockml;
  if (has_prompts(beginning)) return FileKind::kAlpaca;
  constexpr std::size_t kFewestLines = 2;
  return LogSpeakers(beginning).lines() >= kFewestLines ? FileKind::kPlain : FileKind::kUnknown;
}

FileKind recognize_file(const InputFile& file, const std::string& path) {
  constexpr std::string_view kPng = "\x89PNG\r\n\x1A\n";
  std::string head(std::min<std::uint64_t>(kPng.size(), file.size()), '\0');
  file.read_at(0, head.data(), head.size());
  if (head == kPng) return FileKind::kCard;
  if (refuse_file_form(file, path)) return FileKind::kUnknown;
  std::string text;
  TextStream(file).read(text);
  // What is cut in the middle of a character is no fault of the file.
  return recognize_text(std::string_view(text).substr(0, kBeginning), path);
}

std::string import_command(FileKind kind, const std::string& path) {
  std::string stem = file_name(path);
  stem.resize(std::min(stem.rfind('.'), stem.size()));
  const bool sides = kind == FileKind::kShareGpt || kind == FileKind::kMessages;
  return concat(program_command("shori-data"), " import ", shell_word(path), " --from ", import_word(kind),
                sides ? " --names user=NAME,char=NAME" : "", " --out ", shell_word("data/" + stem));
}

}  // namespace shori
