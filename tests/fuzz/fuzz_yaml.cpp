#include "shori/data/yaml_source.h"
#include "shori/util/utf8.h"
#include "tests/fuzz/fuzz_targets.h"

namespace shori::fuzz {
namespace {

void check_conversation(const YamlConversation& conversation) {
  const std::string text = render(conversation.document);
  Diagnostics diagnostics;
  const std::optional<BlockmlDocument> read = parse_blockml(text, {"fuzz", 0}, diagnostics);
  require(read.has_value() && render(*read) == text, "what a YAML file says is canonical");
  const std::string yaml =
      render_yaml_conversation(conversation.document.segments, conversation.id, conversation.category, "");
  const std::optional<YamlConversation> again = parse_yaml_conversation(yaml, "fuzz", 1, {}, diagnostics);
  require(again.has_value() && render(again->document) == text, "written as YAML it says the same");
  require(again->id == conversation.id, "and has the same name");
}

}  // namespace

void yaml(std::string_view bytes) {
  Diagnostics diagnostics;
  if (!check_text(bytes, {"fuzz", 0}, diagnostics)) return;
  for (const YamlText& document : split_yaml_documents(bytes)) {
    Diagnostics problems;
    const std::optional<YamlConversation> conversation =
        parse_yaml_conversation(document.text, "fuzz", document.line, {}, problems);
    require(conversation.has_value() != problems.has_errors(), "a document is read, or a problem is reported");
    for (const Diagnostic& problem : problems.all()) require(!find_invalid_utf8(problem.message), "messages are UTF-8");
    if (conversation) check_conversation(*conversation);
  }
}

}  // namespace shori::fuzz
