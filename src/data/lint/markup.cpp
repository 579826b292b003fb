// The rules text/url, text/html and privacy/email: what a page or a forum leaves in a text.
#include <algorithm>
#include <array>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

constexpr std::size_t kMaxTag = 600;  // bytes between < and >

constexpr std::array<std::string_view, 72> kTags = {
    "a",      "abbr",   "article",  "audio",  "b",       "big",   "blockquote", "body",    "br",   "button", "center",
    "cite",   "code",   "dd",       "del",    "details", "div",   "dl",         "dt",      "em",   "embed",  "figure",
    "font",   "footer", "form",     "h1",     "h2",      "h3",    "h4",         "h5",      "h6",   "head",   "header",
    "hr",     "html",   "i",        "iframe", "img",     "input", "ins",        "kbd",     "li",   "link",   "mark",
    "meta",   "nav",    "ol",       "option", "p",       "pre",   "rp",         "rt",      "ruby", "script", "section",
    "select", "small",  "span",     "strike", "strong",  "style", "sub",        "summary", "sup",  "svg",    "table",
    "tbody",  "td",     "textarea", "th",     "tr",      "u"};
constexpr std::array<std::string_view, 36> kEntities = {
    "amp",   "lt",    "gt",    "quot",  "apos",  "nbsp",   "hellip", "mdash", "ndash",  "rsquo",  "lsquo",  "rdquo",
    "ldquo", "laquo", "raquo", "bull",  "copy",  "reg",    "trade",  "deg",   "eacute", "egrave", "agrave", "ccedil",
    "uuml",  "ouml",  "auml",  "szlig", "times", "middot", "shy",    "zwnj",  "zwj",    "hearts", "euro",   "pound"};
// Of forums: `[i]` alone may be something else, its end may not, and neither may one with a value.
constexpr std::array<std::string_view, 18> kCodes = {"b",      "i",    "u",    "s",    "color",  "colour",
                                                     "size",   "font", "img",  "url",  "quote",  "spoiler",
                                                     "center", "code", "list", "hide", "indent", "align"};
constexpr std::array<std::string_view, 6> kValueCodes = {"color", "colour", "size", "font", "url", "spoiler"};
// Hosts of a bare address end so, in lower case as an address is written.
constexpr std::array<std::string_view, 18> kTopLevels = {"com", "org", "net", "io", "gg", "co", "me",   "tv",  "be",
                                                         "moe", "ly",  "de",  "uk", "ru", "jp", "info", "xyz", "app"};
// Nothing but an address: no path has to follow.
constexpr std::array<std::string_view, 3> kPlainTopLevels = {"com", "org", "net"};

bool is_host_character(char c) { return is_ascii_letter(c) || is_ascii_digit(c) || c == '-' || c == '.'; }
bool is_local_character(char c) { return is_host_character(c) || c == '_' || c == '+'; }

class MarkupLint {
 public:
  MarkupLint(const LintedText& text, BlockFindings& findings) : text_(text.prose()), findings_(findings) {}

  void run() {
    each("<", [this](std::size_t at) { tag(at); });
    each("&", [this](std::size_t at) { entity(at); });
    each("[", [this](std::size_t at) { code(at); });
    each("://", [this](std::size_t at) { scheme(at); });
    each(".", [this](std::size_t at) { bare_address(at); });
    each("![", [this](std::size_t at) { picture(at); });
    each("@", [this](std::size_t at) { email(at); });
  }

 private:
  template <typename Use>
  void each(std::string_view mark, Use use) {
    for (std::size_t at = text_.find(mark); at != kNotFound; at = text_.find(mark, at + mark.size())) use(at);
  }

  bool word_before(std::size_t at) const { return is_word_code_point(code_point_before(text_, at)); }

  void tag(std::size_t at) {
    if (text_.substr(at).starts_with("<!--")) return findings_.add(LintRule::kHtml, {at, at + 4});
    const bool closing = text_.substr(at + 1).starts_with('/');
    const std::size_t begin = at + (closing ? 2 : 1);
    std::size_t end = begin;
    while (end < text_.size() && (is_ascii_letter(text_[end]) || is_ascii_digit(text_[end]))) ++end;
    const std::size_t close = text_.find_first_of("<>", end);
    if (end == begin || close == kNotFound || text_[close] != '>' || close - at > kMaxTag) return;
    const std::string_view rest = trim(text_.substr(end, close - end));
    if (!rest.empty() && rest != "/" && (!is_space(text_[end]) || rest.find('=') == kNotFound)) return;
    // What is closed was opened, whatever it was called.
    const std::string name = lower_ascii(text_.substr(begin, end - begin));
    const bool block =
        closing && end == close && name.size() > 1 && !is_reasoning_tag(name) && !text_.substr(0, at).ends_with('<');
    if (block || contains(kTags, name)) findings_.add(LintRule::kHtml, {at, close + 1});
  }

  void entity(std::size_t at) {
    const std::size_t end = text_.find(';', at);
    if (end == kNotFound || end - at > 10) return;
    const std::string_view name = text_.substr(at + 1, end - at - 1);
    const std::string low = lower_ascii(name);
    const bool hex =
        low.starts_with("#x") && low.size() > 2 && low.find_first_not_of("0123456789abcdef", 2) == kNotFound;
    const bool decimal =
        name.starts_with('#') && name.size() > 1 && name.find_first_not_of("0123456789", 1) == kNotFound;
    if (hex || decimal || contains(kEntities, low)) findings_.add(LintRule::kHtml, {at, end + 1});
  }

  void code(std::size_t at) {
    const std::size_t close = find_mark<'[', ']', '\n'>(text_, at + 1);
    if (close == kNotFound || text_[close] != ']') return;
    const std::string lower = lower_ascii(text_.substr(at + 1, close - at - 1));
    const std::string_view inner = lower;
    const bool ends = inner.starts_with('/') && contains(kCodes, inner.substr(1));
    const std::size_t equals = inner.find('=');
    if (ends || (equals != kNotFound && contains(kValueCodes, inner.substr(0, equals))))
      findings_.add(LintRule::kHtml, {at, close + 1});
  }

  std::size_t address_end(std::size_t from) const {
    return std::min(text_.find_first_of(" \t\n\"<>)]", from), text_.size());
  }

  void scheme(std::size_t at) {
    std::size_t begin = at;
    while (begin > 0 && is_ascii_letter(text_[begin - 1])) --begin;
    const std::string name = lower_ascii(text_.substr(begin, at - begin));
    const bool known = name == "http" || name == "https" || name == "ftp" || name == "hxxp" || name == "hxxps";
    if (known && code_point_after(text_, at + 3) > ' ') findings_.add(LintRule::kUrl, {begin, address_end(at)});
  }

  // `www.example.org`, `discord.gg/abc`, `example.com`; those with a scheme are found by it.
  void bare_address(std::size_t dot) {
    if (dot + 1 == text_.size() || !is_host_character(text_[dot + 1])) return;  // a full stop
    std::size_t begin = dot, end = dot + 1;
    while (begin > 0 && is_host_character(text_[begin - 1])) --begin;
    while (end < text_.size() && is_host_character(text_[end])) ++end;
    const std::string_view before = text_.substr(0, begin), host = text_.substr(begin, end - begin);
    if (host.substr(0, dot - begin).find('.') != kNotFound) return;  // looked at from its first dot
    if (before.ends_with("://") || before.ends_with('@') || before.ends_with('/') || word_before(begin)) return;
    const std::string_view name = host.ends_with('.') ? host.substr(0, host.size() - 1) : host;
    const std::size_t last = name.rfind('.');
    if (last == kNotFound || last == 0 || name.find("..") != kNotFound) return;
    const bool path =
        end + 1 < text_.size() && text_[end] == '/' && is_word_code_point(code_point_after(text_, end + 1));
    const std::string_view top = name.substr(last + 1);
    const bool www = lower_ascii(host.substr(0, 4)) == "www." && last > 4;
    if (www || contains(kPlainTopLevels, top) || (path && contains(kTopLevels, top)))
      findings_.add(LintRule::kUrl, {begin, path ? address_end(end) : begin + name.size()});
  }

  // `![name](address)`, as programs show pictures.
  void picture(std::size_t at) {
    const std::size_t close = text_.find_first_of("]\n", at);
    if (close != kNotFound && text_.substr(close).starts_with("]("))
      findings_.add(LintRule::kUrl, {at, address_end(close + 2)});
  }

  void email(std::size_t at) {
    std::size_t begin = at, end = at + 1;
    while (begin > 0 && is_local_character(text_[begin - 1])) --begin;
    while (end < text_.size() && is_host_character(text_[end])) ++end;
    std::string_view host = text_.substr(at + 1, end - at - 1);
    while (host.ends_with('.') || host.ends_with('-')) host.remove_suffix(1);
    const std::size_t last = host.rfind('.');
    if (begin == at || last == kNotFound || last == 0 || host.size() - last < 3) return;
    if (std::all_of(host.begin() + static_cast<std::ptrdiff_t>(last) + 1, host.end(), is_ascii_letter))
      findings_.add(LintRule::kEmail, {begin, at + 1 + host.size()});
  }

  const std::string_view text_;
  BlockFindings& findings_;
};

}  // namespace

void lint_markup(const LintedText& text, BlockFindings& findings) { MarkupLint(text, findings).run(); }

}  // namespace shori
