// The rules privacy/*: names of users, and addresses inside the site that the text comes from.
#include <algorithm>
#include <array>
#include <optional>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/lint/block.h"

namespace shori {
namespace {

// Works on the lower-case body; offsets are those of the body.
class PrivacyLint {
 public:
  PrivacyLint(const LintedText& text, BlockFindings& findings)
      : body_(text.body), text_(text.lower), bytes_(text.bytes), findings_(findings) {}

  void run() {
    if (findings_.wants(LintRule::kUsername)) user_patterns();
    if (findings_.wants(LintRule::kUsername, true) && !findings_.options().usernames.empty()) listed_users();
    if (findings_.wants(LintRule::kInternalUrl)) addresses();
    if (findings_.wants(LintRule::kInternalUrl, true)) listed_hosts();
  }

 private:
  bool word_before(std::size_t at) const { return is_word_code_point(code_point_before(text_, at)); }
  bool word_after(std::size_t at) const {
    return is_word_code_point(code_point_after(text_, at)) || (at < text_.size() && text_[at] == '_');
  }

  template <typename Check>
  void each(std::string_view word, LintRule rule, Check check) {
    if (!bytes_.holds_all(word)) return;
    for (std::size_t at = text_.find(word); at != kNotFound; at = text_.find(word, at + word.size())) {
      if (check(at, at + word.size())) findings_.add(rule, {at, at + word.size()});
    }
  }

  void user_patterns() {
    const auto name_follows = [this](std::size_t begin, std::size_t end) {
      return !word_before(begin) && word_after(end);
    };
    each("@", LintRule::kUsername, name_follows);
    each("u/", LintRule::kUsername, name_follows);
    each("[quote=", LintRule::kUsername, [](std::size_t, std::size_t) { return true; });
    each("originally posted by", LintRule::kUsername, [](std::size_t, std::size_t) { return true; });
    for (std::size_t at = body_.find("Anon"); at != kNotFound; at = body_.find("Anon", at + 4)) {
      if (is_default_user(at, at + 4))
        findings_.add(LintRule::kUsername, {at, at + 4}, false, "`Anon`, the name that programs give their user");
    }
  }

  // `Anon` as a name: inside a sentence, or with `'s`. At the start of one it is the old word for soon.
  bool is_default_user(std::size_t begin, std::size_t end) const {
    if (word_before(begin) || word_after(end)) return false;
    if (body_.substr(end).starts_with("'s") || body_.substr(end).starts_with("\xE2\x80\x99s")) return true;
    const std::size_t before = begin == 0 ? kNotFound : body_.find_last_not_of(' ', begin - 1);
    return before != kNotFound && before + 1 < begin && (is_ascii_letter(body_[before]) || body_[before] == ',');
  }

  // Single words of the text that are in the list, and all occurrences of the names in it that are several words.
  void listed_users() {
    for (std::size_t begin = 0; begin < text_.size();) {
      std::size_t end = begin;
      while (end < text_.size() && word_after(end)) end += code_point_at(text_, end).bytes;
      if (end > begin && findings_.options().usernames.contains(std::string(text_.substr(begin, end - begin))))
        findings_.add(LintRule::kUsername, {begin, end}, true);
      begin = end > begin ? end : begin + code_point_at(text_, begin).bytes;
    }
    for (const std::string& name : findings_.options().usernames) {
      if (is_single_word(name)) continue;
      for (std::size_t at = text_.find(name); at != kNotFound; at = text_.find(name, at + 1)) {
        if (!word_before(at) && !word_after(at + name.size()))
          findings_.add(LintRule::kUsername, {at, at + name.size()}, true);
      }
    }
  }

  static bool is_single_word(std::string_view name) {
    for (std::size_t at = 0; at < name.size(); at += code_point_at(name, at).bytes) {
      if (name[at] != '_' && !is_word_code_point(code_point_at(name, at).value)) return false;
    }
    return true;
  }

  void addresses() {
    each("localhost", LintRule::kInternalUrl,
         [this](std::size_t begin, std::size_t end) { return !word_before(begin) && !word_after(end); });
    each("file:", LintRule::kInternalUrl, [this](std::size_t begin, std::size_t end) {
      return !word_before(begin) && end < text_.size() && !is_blockml_space(text_[end]);
    });
    for (const char* path : {"viewtopic.php", "showthread.php", "/threads/", "/members/", "index.php?topic="})
      each(path, LintRule::kInternalUrl, [](std::size_t, std::size_t) { return true; });
    if (!bytes_.holds_any("0123456789")) return;
    constexpr auto find_digit = find_mark<'0', '1', '2', '3', '4', '5', '6', '7', '8', '9'>;
    for (std::size_t at = find_digit(text_, 0); at != kNotFound;) {
      std::size_t end = at;
      while (end < text_.size() && (is_ascii_digit(text_[end]) || text_[end] == '.')) ++end;
      if (!word_before(at) && !word_after(end) && is_private_address(text_.substr(at, end - at)))
        findings_.add(LintRule::kInternalUrl, {at, end});
      at = find_digit(text_, end);
    }
  }

  // Four numbers up to 255 of 10/8, 127/8, 172.16/12 or 192.168/16; a full stop may follow.
  static bool is_private_address(std::string_view text) {
    if (text.ends_with('.')) text.remove_suffix(1);
    std::array<int, 4> parts{};
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t size = std::min(text.find('.'), text.size());
      if (size == 0 || size > 3) return false;
      for (const char digit : text.substr(0, size)) parts[i] = parts[i] * 10 + (digit - '0');
      if (parts[i] > 255 || (i < 3 && size == text.size())) return false;
      text.remove_prefix(std::min(size + 1, text.size()));
    }
    if (!text.empty()) return false;
    return parts[0] == 10 || parts[0] == 127 || (parts[0] == 172 && parts[1] >= 16 && parts[1] <= 31) ||
           (parts[0] == 192 && parts[1] == 168);
  }

  void listed_hosts() {
    for (const std::string& host : findings_.options().internal_hosts) {
      for (std::size_t at = text_.find(host); at != kNotFound; at = text_.find(host, at + host.size())) {
        const std::size_t end = at + host.size();
        const bool part_of_name = word_before(at) || (at > 0 && text_[at - 1] == '-') || word_after(end) ||
                                  (end < text_.size() && text_[end] == '-') ||
                                  (end < text_.size() && text_[end] == '.' && word_after(end + 1));
        if (!part_of_name) findings_.add(LintRule::kInternalUrl, {at, end}, true);
      }
    }
  }

  std::string_view body_, text_;
  const ByteSet& bytes_;
  BlockFindings& findings_;
};

}  // namespace

void lint_privacy(const LintedText& text, BlockFindings& findings) { PrivacyLint(text, findings).run(); }

}  // namespace shori
