#include "shori/data/plain_text.h"

#include "shori/data/blockml.h"
#include "shori/util/error.h"
#include "shori/util/utf8.h"
#include "src/data/blockml/text_stream.h"

namespace shori {
namespace {

constexpr std::size_t kSample = 64u << 10;  // bytes that decide on the encoding

}  // namespace

std::string plain_text(std::string_view bytes, const std::string& shown) {
  const bool is_file = shown != "stdin";
  if (const auto problem = is_file ? refuse_text_form(bytes, shown) : std::nullopt) throw Error(*problem);
  std::string text;
  TextStream(bytes).read_all(text);
  if (const auto invalid = find_invalid_utf8(text))
    throw Error(
        problem_at("E0304", "byte that is not UTF-8", text, {shown}, *invalid)
            .help(is_file ? utf8_command(shown, std::string_view(text).substr(0, kSample)) : "save it as UTF-8"));
  if (const std::size_t nul = text.find('\0'); nul != std::string::npos)
    throw Error(problem_at("E0304", "control character U+0000", text, {shown}, nul)
                    .help(is_file ? control_command(shown) : "delete it: tr -d '\\000'"));
  return text;
}

}  // namespace shori
