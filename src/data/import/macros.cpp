// SillyTavern's macros, as far as a saved chat or a card says what they stand for.
#include <array>
#include <optional>

#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr std::size_t kMaxMacroBytes = 4096;

struct OldMacro {
  std::string_view text, name;
};
constexpr std::array<OldMacro, 4> kOldMacros = {
    {{"<user>", "user"}, {"<bot>", "char"}, {"<charifnotgroup>", "charifnotgroup"}, {"<group>", "group"}}};

// The first choice of `random::a::b` or `random:a,b`.
std::string first_choice(std::string_view arguments) {
  const bool colons = arguments.starts_with("::");
  arguments.remove_prefix(colons ? 2 : 1);
  const std::size_t end = colons ? arguments.find("::") : arguments.find(',');
  return std::string(trim_blockml(arguments.substr(0, end)));
}

class Expander {
 public:
  Expander(std::string_view text, const MacroNames& names, ImportReport& report)
      : text_(text), names_(names), report_(report) {}

  std::string run() {
    while (at_ < text_.size()) {
      const std::size_t next = std::min(text_.find_first_of("{<", at_), text_.size());
      out_ += text_.substr(at_, next - at_);
      at_ = next;
      if (at_ < text_.size() && !take_macro() && !take_old_macro()) out_ += text_[at_++];
    }
    return std::move(out_);
  }

 private:
  bool take_macro() {
    if (!text_.substr(at_).starts_with("{{")) return false;
    const std::size_t close = text_.substr(at_, kMaxMacroBytes).find("}}");
    if (close == std::string_view::npos) return false;
    const std::string_view whole = text_.substr(at_, close + 2);
    if (!replace(trim_blockml(whole.substr(2, close - 2)), whole)) {
      note_change(report_, "macros without a value in the files, kept", escape_for_log(whole, 40));
      out_ += whole;
    }
    at_ += whole.size();
    return true;
  }

  bool take_old_macro() {
    for (const OldMacro& macro : kOldMacros) {
      const std::string_view whole = text_.substr(at_, macro.text.size());
      if (lower_ascii(whole) != macro.text || !replace(macro.name, whole)) continue;
      at_ += whole.size();
      return true;
    }
    return false;
  }

  bool put(std::string_view kind, std::string_view value, std::string_view whole) {
    out_ += value;
    note_change(report_, kind,
                concat(escape_for_log(whole, 40), value.empty() ? "" : " -> ", escape_for_log(value, 40)));
    return true;
  }

  bool replace(std::string_view macro, std::string_view whole) {
    constexpr std::string_view kNames = "macros replaced by names", kOthers = "other macros replaced";
    const std::string name = lower_ascii(macro.substr(0, std::min(macro.find(':'), macro.size())));
    const std::string_view arguments = macro.substr(name.size());
    if (name == "user" && !names_.user.empty()) return put(kNames, names_.user, whole);
    const bool one = name == "char" || name == "charifnotgroup";
    if (one && !names_.character.empty()) return put(kNames, names_.character, whole);
    const bool group = name == "group" || name == "groupnotmuted" || name == "charifnotgroup";
    if (group && !names_.group.empty()) return put(kNames, names_.group, whole);
    if (macro.starts_with("//") || name == "noop" || name == "original" || name == "comment")
      return put(kOthers, "", whole);
    if (name == "newline") return put(kOthers, "\n", whole);
    if (name == "space") return put(kOthers, " ", whole);
    if (name == "trim") return trim_here(whole);
    if ((name == "random" || name == "pick") && !arguments.empty())
      return put("{{random}}, {{pick}} replaced by their first choice", first_choice(arguments), whole);
    return false;
  }

  // {{trim}} goes with the line ends on both sides of it.
  bool trim_here(std::string_view whole) {
    while (out_.ends_with('\n')) out_.pop_back();
    std::size_t after = at_ + whole.size();
    while (after < text_.size() && text_[after] == '\n') ++after;
    at_ = after - whole.size();
    return put("other macros replaced", "", whole);
  }

  std::string_view text_;
  const MacroNames& names_;
  ImportReport& report_;
  std::string out_;
  std::size_t at_ = 0;
};

}  // namespace

std::string expand_macros(std::string_view text, const MacroNames& names, ImportReport& report) {
  if (text.find_first_of("{<") == std::string_view::npos) return std::string(text);
  return Expander(text, names, report).run();
}

}  // namespace shori
