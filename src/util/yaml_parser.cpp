// YAML from yaml-cpp's events into our own tree. yaml-cpp's nodes are not used: they may have cycles, and of two equal
// keys they find the first.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <streambuf>
#include <unordered_map>

#include "shori/util/command.h"
#include "shori/util/hash.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"

namespace shori {
namespace {

// Thrown through yaml-cpp where parsing cannot continue.
struct Refused {
  Diagnostic diagnostic;
};

constexpr int kMaxProblems = 50;  // per text; each costs a search for its position

// Passes the text to yaml-cpp in chunks. yaml-cpp keeps all tokens of a `[...]` or `{...}` until it is closed, so a
// text of brackets only would need 250 times its size. Between two events at most one scalar and a bounded number of
// tokens are passed on; where that is exceeded, the text ends.
class MeteredText : public std::streambuf {
 public:
  MeteredText(std::string_view text, std::size_t max_bytes) : text_(text), max_bytes_(max_bytes) {}

  void event() { bytes_ = marks_ = 0; }
  bool exceeded() const { return exceeded_; }
  std::size_t offset() const { return used_; }

 private:
  int_type underflow() override {
    constexpr std::size_t kChunk = 2048;
    constexpr std::size_t kMaxMarks = 200'000;
    const std::string_view chunk = text_.substr(used_, kChunk);
    bytes_ += chunk.size();
    for (const char c : chunk) marks_ += std::string_view("[]{},:?").find(c) != std::string_view::npos ? 1 : 0;
    exceeded_ = exceeded_ || bytes_ > max_bytes_ || marks_ > kMaxMarks;
    if (chunk.empty() || exceeded_) return traits_type::eof();
    used_ += chunk.size();
    char* begin = const_cast<char*>(chunk.data());  // this stream buffer is never written to
    setg(begin, begin, begin + chunk.size());
    return traits_type::to_int_type(*begin);
  }

  std::string_view text_;
  std::size_t max_bytes_, used_ = 0, bytes_ = 0, marks_ = 0;
  bool exceeded_ = false;
};

std::string shown(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::kNull) return "nothing";
  if (node.kind == YamlNode::Kind::kScalar) return "`" + escape_for_log(node.text, 40) + "`";
  return node.kind == YamlNode::Kind::kSequence ? "a list" : "a mapping";
}

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(YamlDocument& document, const YamlLimits& limits, Diagnostics& diagnostics, MeteredText& text)
      : document_(document), limits_(limits), diagnostics_(diagnostics), metered_(text) {}

  bool has_root() const { return has_root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw Refused{not_used(mark, "a second document (`---`)").help("keep one document per file")};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (wants_key()) throw Refused{unreadable(mark, "a key is missing before `:`")};
    YamlNode node;
    // The mark is that of the next token, so the position is taken from the key.
    const YamlNode* location = open_.empty() ? nullptr : open_.back().key ? &*open_.back().key : open_.back().node;
    if (location != nullptr) node.line = location->line, node.column = location->column;
    attach(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    if (wants_key()) throw Refused{not_used(mark, "alias `" + word_at(mark) + "`")};
    add(mark, not_used(mark, "alias `" + word_at(mark) + "`").help("write the value out"));
    attach(node_at(mark, YamlNode::Kind::kNull));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_properties(mark, tag, anchor);
    if (value.size() > limits_.scalar_bytes)
      throw Refused{
          unreadable(mark, concat("a value of ", value.size(), " bytes, the limit is ", limits_.scalar_bytes))};
    YamlNode node = node_at(mark, YamlNode::Kind::kScalar);
    node.quoted = tag != "?";
    node.text = value;
    check_quote_is_closed(mark);
    if (!wants_key()) return attach(std::move(node)), void();
    if (!node.quoted && value == "<<") add(mark, not_used(mark, "merge key `<<`").help("write the values out"));
    metered_.event();
    if (++keys_ > limits_.keys) throw Refused{unreadable(mark, concat("more than ", limits_.keys, " keys"))};
    open_.back().key = std::move(node);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { open_.pop_back(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::Kind::kMapping);
  }
  void OnMapEnd() override {
    refuse_duplicate_keys(*open_.back().node);
    open_.pop_back();
  }

  Diagnostic unreadable(const YAML::Mark& mark, const std::string& what) const {
    return Diagnostic("E0111", what).at(document_.location(node_at(mark, YamlNode::Kind::kNull)));
  }

  // yaml-cpp's error as a diagnostic. A tab in the indentation has its own code.
  Diagnostic refusal(const YAML::ParserException& exception) const {
    const std::string_view text = document_.text;
    const std::size_t offset = std::min<std::size_t>(std::max(exception.mark.pos, 0), text.size());
    const std::size_t line = line_begin(offset);
    const std::size_t indent_end = std::min(text.find_first_not_of(" \t", line), text.size());
    if (text.substr(line, indent_end - line).find('\t') != std::string_view::npos) return tab_at(line);
    if (const std::size_t hard = hard_space_near(line); hard != std::string_view::npos) return hard_space_at(hard);
    return Diagnostic("E0111", "not readable as YAML here: " + escape_for_log(exception.msg))
        .at(document_.location(node_at(offset)))
        .note("the mistake may also be in the line above");
  }

 private:
  struct Open {
    YamlNode* node;
    std::optional<YamlNode> key;
  };

  bool wants_key() const {
    return !open_.empty() && open_.back().node->kind == YamlNode::Kind::kMapping && !open_.back().key;
  }

  std::size_t offset_of(const YAML::Mark& mark) const {
    return std::min<std::size_t>(std::max(mark.pos, 0), document_.text.size());
  }
  std::size_t line_begin(std::size_t offset) const { return locate(offset).begin; }

  // Line and column of an offset. Fast for increasing offsets, as those of events are.
  struct Position {
    std::size_t offset = 0, begin = 0, column = 1;
  };
  const Position& locate(std::size_t offset) const {
    if (offset < position_.begin) position_ = {};
    if (offset < position_.offset) position_ = {position_.begin, position_.begin, 1};
    for (; position_.offset < offset; ++position_.offset) {
      const char c = document_.text[position_.offset];
      if (c == '\n')
        position_ = {position_.offset, position_.offset + 1, 1};
      else if ((c & 0xC0) != 0x80)
        ++position_.column;
    }
    return position_;
  }

  void add(const YAML::Mark& mark, Diagnostic problem) {
    diagnostics_.add(std::move(problem));
    if (++problems_ >= kMaxProblems)
      throw Refused{unreadable(mark, "too many problems, the rest of the file was not checked")};
  }

  YamlNode node_at(const YAML::Mark& mark, YamlNode::Kind kind) const {
    YamlNode node;
    node.kind = kind;
    node.line = static_cast<std::size_t>(std::max(mark.line, 0)) + 1;
    node.column = locate(offset_of(mark)).column;
    return node;
  }

  YamlNode node_at(std::size_t offset) const {
    const TextPosition position = position_of(document_.text, offset);
    YamlNode node;
    node.line = position.line;
    node.column = position.column;
    return node;
  }

  // The text from a mark to the next white space or bracket, as the user sees it.
  std::string word_at(const YAML::Mark& mark) const {
    const std::string_view rest = std::string_view(document_.text).substr(offset_of(mark));
    return escape_for_log(rest.substr(0, rest.find_first_of(" \t\r\n,[]{}")), 40);
  }

  Diagnostic not_used(const YAML::Mark& mark, const std::string& found) const {
    return Diagnostic("E0109", "anchors, aliases, tags, merge keys and several documents are not used here")
        .at(document_.location(node_at(mark, YamlNode::Kind::kNull)))
        .note("found " + found);
  }

  Diagnostic tab_at(std::size_t line) const {
    return Diagnostic("E0105", "a tab indents this line")
        .at(document_.location(node_at(document_.text.find('\t', line))))
        .note("YAML allows only spaces")
        .help("replace it with 2 spaces");
  }

  // Of the line that begins at `line` and the one above it, the first no-break space of an indentation.
  std::size_t hard_space_near(std::size_t line) const {
    const std::string_view text = document_.text;
    const std::size_t above = line == 0 ? 0 : text.substr(0, line - 1).rfind('\n') + 1;
    for (const std::size_t begin : {above, line}) {
      const std::size_t at = std::min(text.find_first_not_of(" -", begin), text.size());
      if (text.substr(at).starts_with(kNoBreakSpace)) return at;
    }
    return std::string_view::npos;
  }

  Diagnostic hard_space_at(std::size_t offset) const {
    return Diagnostic("E0111", "a no-break space (U+00A0) indents this line")
        .at(document_.location(node_at(offset)))
        .note("it looks like a space, but YAML takes it for a letter")
        .help("replace it with a space");
  }

  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) add(mark, not_used(mark, "anchor `" + word_at(mark) + "`").help("delete the anchor"));
  }

  void check_properties(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    const std::size_t offset = offset_of(mark), begin = line_begin(offset);
    const bool own_tag = offset < document_.text.size() && document_.text[offset] == '!';
    if (own_tag || (tag != "?" && tag != "!"))
      add(mark, not_used(mark, "tag `" + word_at(mark) + "`").help("delete the tag"));
    // yaml-cpp accepts some tabs before a value as white space.
    const std::string_view before = std::string_view(document_.text).substr(begin, offset - begin);
    if (before.find_first_not_of(" \t") == std::string_view::npos && before.find('\t') != std::string_view::npos)
      throw Refused{tab_at(begin)};
  }

  // yaml-cpp treats the end of the file as a closing quote.
  void check_quote_is_closed(const YAML::Mark& mark) const {
    const std::string_view text = document_.text;
    std::size_t at = offset_of(mark);
    const char quote = at < text.size() ? text[at] : '\0';
    if (quote != '\'' && quote != '"') return;
    while (++at < text.size()) {
      const bool escape = quote == '"' ? text[at] == '\\' : text.substr(at, 2) == "''";
      if (escape)
        ++at;
      else if (text[at] == quote)
        return;
    }
    throw Refused{unreadable(mark, "this quotation mark is not closed")};
  }

  void start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    check_properties(mark, tag, anchor);
    if (wants_key()) throw Refused{unreadable(mark, "a list or mapping in place of a key")};
    if (static_cast<int>(open_.size()) >= limits_.depth)
      throw Refused{unreadable(mark, concat("nested deeper than ", limits_.depth, " levels"))};
    open_.push_back({attach(node_at(mark, kind)), std::nullopt});
  }

  // Adds a value to the innermost open list or mapping. The pointer is valid until the parent gets its next child,
  // which is as long as the value is open.
  YamlNode* attach(YamlNode node) {
    metered_.event();
    if (++nodes_ > limits_.nodes)
      throw Refused{Diagnostic("E0111", concat("more than ", limits_.nodes, " values")).at(document_.location(node))};
    if (open_.empty()) {
      document_.root = std::move(node);
      has_root_ = true;
      return &document_.root;
    }
    Open& parent = open_.back();
    if (parent.node->kind == YamlNode::Kind::kSequence) return &parent.node->items.emplace_back(std::move(node));
    auto& member = parent.node->members.emplace_back(std::move(*parent.key), std::move(node));
    parent.key.reset();
    return &member.second;
  }

  void refuse_duplicate_keys(const YamlNode& mapping) {
    std::unordered_map<std::string_view, const std::pair<YamlNode, YamlNode>*> seen;
    for (const auto& member : mapping.members) {
      const auto [first, is_new] = seen.emplace(member.first.text, &member);
      if (is_new) continue;
      if (++problems_ > kMaxProblems) return;
      const auto& [first_key, first_value] = *first->second;
      diagnostics_.add(Diagnostic("E0102", "key `" + escape_for_log(first_key.text) + "` is given twice")
                           .at(document_.location(member.first))
                           .note(concat("first at ", first_key.line, ":", first_key.column, " = ", shown(first_value),
                                        ", here ", shown(member.second)))
                           .help("delete one of them; neither is used"));
    }
  }

  YamlDocument& document_;
  const YamlLimits& limits_;
  Diagnostics& diagnostics_;
  MeteredText& metered_;
  mutable Position position_;
  std::vector<Open> open_;
  std::size_t keys_ = 0, nodes_ = 0;
  int problems_ = 0;
  int documents_ = 0;
  bool has_root_ = false;
};

// Encoding and size. yaml-cpp never sees a text that fails here.
bool is_plain_text(const YamlDocument& document, const YamlLimits& limits, Diagnostics& diagnostics) {
  const std::string& text = document.text;
  Diagnostic diagnostic("E0111", "not a plain UTF-8 text");
  diagnostic.at(document.file);
  std::optional<std::size_t> bad = find_invalid_utf8(text);
  if (text.find('\0') < bad.value_or(text.size())) bad = text.find('\0');
  if (text.size() > limits.bytes) {
    diagnostic.message = concat("the file has ", text.size(), " bytes, the limit is ", limits.bytes);
  } else if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    diagnostic.note("byte 0: " + to_hex(text.data(), 2) + " (UTF-16)");
    diagnostic.help("convert it: " + rewrite_command("iconv -f utf-16 -t utf-8", document.file));
  } else if (!bad && text.find('\r') != std::string::npos && text.find('\n') == std::string::npos) {
    diagnostic.message = "the lines of the file end in CR alone, as on old Macs";
    diagnostic.note("YAML would be read as one line");
    diagnostic.help("convert it: " + rewrite_command("tr '\\r' '\\n' <", document.file));
  } else if (bad) {
    const TextPosition position = position_of(text, *bad);
    diagnostic.at(document.file, position.line, position.column);
    diagnostic.note(concat("byte ", *bad, ": ", to_hex(text.data() + *bad, 1))).help("save the file as UTF-8");
  } else {
    return true;
  }
  diagnostics.add(std::move(diagnostic));
  return false;
}

bool build_tree(YamlDocument& document, const YamlLimits& limits, Diagnostics& diagnostics) {
  MeteredText metered(document.text, 2 * limits.scalar_bytes + (64u << 10));
  TreeBuilder builder(document, limits, diagnostics, metered);
  const auto too_dense = [&] {
    const TextPosition position = position_of(document.text, metered.offset());
    diagnostics.add(Diagnostic("E0111", "too much text or too many `[ ] { } , :` in one value")
                        .at(document.file, position.line, position.column)
                        .help("write lists as lines that begin with `- `"));
    return false;
  };
  try {
    std::istream stream(&metered);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) continue;
  } catch (Refused& refused) {
    if (metered.exceeded()) return too_dense();
    diagnostics.add(std::move(refused.diagnostic));
    return false;
  } catch (const YAML::ParserException& exception) {
    if (metered.exceeded()) return too_dense();
    diagnostics.add(builder.refusal(exception));
    return false;
  }
  if (metered.exceeded()) return too_dense();
  if (builder.has_root() && document.root.kind == YamlNode::Kind::kMapping) return true;
  diagnostics.add(Diagnostic("E0111", "the file is not a mapping of keys to values")
                      .at(document.file)
                      .help("write lines of the form `key: value`"));
  return false;
}

}  // namespace

std::optional<YamlDocument> parse_yaml(std::string file, std::string text, const YamlLimits& limits,
                                       Diagnostics& diagnostics) {
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());  // YAML 1.2, section 5.2, allows it
  YamlDocument document{std::move(file), std::move(text), {}};
  if (!is_plain_text(document, limits, diagnostics)) return std::nullopt;
  if (!build_tree(document, limits, diagnostics)) return std::nullopt;
  return document;
}

}  // namespace shori
