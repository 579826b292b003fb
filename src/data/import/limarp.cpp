// LimaRP's YAML files: two writers, their personas, a scenario, and turns named <FIRST> or <SECOND>.
#include <array>
#include <string>

#include "shori/data/blockml.h"
#include "shori/util/utf8.h"
#include "shori/util/yaml.h"
#include "src/data/import/conversation.h"

namespace shori {
namespace {

constexpr YamlLimits kYamlDataLimits = {64u << 20, 8, 1'000'000, 1u << 20};
constexpr std::array<std::string_view, 2> kWriters = {"<FIRST>", "<SECOND>"};
constexpr int kMaxFileProblems = 50;  // of one file
constexpr std::string_view kForm =
    "a mapping of `names`, `personas` (each with <FIRST> and <SECOND>), `scenario`, `conversation` (a list of `name`, "
    "`text`)";

class LimarpReader {
 public:
  LimarpReader(ImportFile& file, const YamlDocument& document, std::string key)
      : file_(file), document_(document), key_(std::move(key)), builder_(file.options, file.report) {}

  void read() {
    read_members();
    if (problems_ == 0) {
      if (title_ != nullptr) builder_.add_block(Role::kTitle, with_names(title_->text));
      add_personas();
      if (scenario_ != nullptr) builder_.add_block(Role::kScenario, with_names(scenario_->text));
      for (const YamlNode& turn : conversation_->items) {
        add_turn(turn);
        if (problems_ >= kMaxFileProblems) break;
      }
    }
    if (problems_ > 0) return;
    ImportedConversation conversation;
    conversation.id = id();
    conversation.key = key_;
    builder_.finish(conversation);
    file_.accept(std::move(conversation));
  }

 private:
  void problem(const YamlNode& node, const std::string& message) {
    file_.diagnostics.add(
        Diagnostic("E0312", message).at(document_.location(node)).help("wanted: " + std::string(kForm)));
    ++problems_;
  }

  static bool is_text(const YamlNode& node) {
    return node.kind == YamlNode::Kind::kScalar || node.kind == YamlNode::Kind::kNull;
  }

  void read_members() {
    const YamlNode* names = nullptr;
    for (const auto& [key, value] : document_.root.members) {
      if (key.text == "names")
        names = &value;
      else if (key.text == "personas")
        personas_ = &value;
      else if (key.text == "scenario")
        scenario_ = &value;
      else if (key.text == "conversation")
        conversation_ = &value;
      else if ((key.text == "thread-title" || key.text == "title") && value.kind == YamlNode::Kind::kScalar)
        title_ = &value;
      else
        ++file_.report.unknown_keys[key.text];
    }
    if (scenario_ != nullptr && !is_text(*scenario_)) problem(*scenario_, "`scenario` is not a text");
    if (personas_ != nullptr && personas_->kind == YamlNode::Kind::kNull) personas_ = nullptr;
    if (personas_ != nullptr && personas_->kind != YamlNode::Kind::kMapping)
      problem(*personas_, "`personas` is not a mapping");
    if (conversation_ == nullptr || conversation_->kind != YamlNode::Kind::kSequence)
      problem(conversation_ == nullptr ? document_.root : *conversation_,
              conversation_ == nullptr ? "`conversation` is missing" : "`conversation` is not a list");
    read_names(names);
  }

  void read_names(const YamlNode* names) {
    if (names == nullptr || names->kind != YamlNode::Kind::kMapping)
      return problem(names == nullptr ? document_.root : *names,
                     names == nullptr ? "`names` is missing" : "`names` is not a mapping");
    for (std::size_t i = 0; i < kWriters.size(); ++i) {
      const YamlNode* name = names->find(kWriters[i]);
      if (name == nullptr || name->kind != YamlNode::Kind::kScalar || trim_blockml(name->text).empty())
        problem(name == nullptr ? *names : *name, "`names` holds no name for " + std::string(kWriters[i]));
      else
        names_[i] = trim_blockml(name->text);
    }
  }

  // `text` with the writers' names; what a name holds is not looked at again.
  std::string with_names(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      const std::size_t writer = text.substr(i).starts_with(kWriters[0]) ? 0 : 1;
      if (text[i] != '<' || !text.substr(i).starts_with(kWriters[writer])) {
        out.push_back(text[i++]);
        continue;
      }
      out += names_[writer];
      i += kWriters[writer].size();
      count_change(file_.report.changes, "<FIRST>, <SECOND> replaced by names");
    }
    return out;
  }

  void add_personas() {
    if (personas_ == nullptr) return;
    for (const auto& [key, value] : personas_->members) {
      if (problems_ >= kMaxFileProblems) return;
      const std::size_t writer = key.text == kWriters[0] ? 0 : 1;
      if (key.text != kWriters[writer])
        problem(key, "a persona of `" + escape_for_log(key.text, 40) + "`, who is neither <FIRST> nor <SECOND>");
      else if (!is_text(value))
        problem(value, "the persona of " + key.text + " is not a text");
      else
        builder_.add_description(names_[writer], with_names(value.text));
    }
  }

  void add_turn(const YamlNode& turn) {
    const YamlNode* name = nullptr;
    const YamlNode* text = nullptr;
    if (turn.kind != YamlNode::Kind::kMapping) return problem(turn, "a turn is not a mapping");
    for (const auto& [key, value] : turn.members) {
      if (key.text == "name")
        name = &value;
      else if (key.text == "text")
        text = &value;
      else
        ++file_.report.unknown_keys["conversation[]." + key.text];
    }
    if (name == nullptr || text == nullptr || !is_text(*text))
      return problem(turn, "a turn without `name` or without a `text`");
    const std::size_t writer = name->text == kWriters[0] ? 0 : 1;
    if (name->text != kWriters[writer])
      return problem(*name, "`name` is `" + escape_for_log(name->text, 40) + "`, neither <FIRST> nor <SECOND>");
    builder_.add_message(names_[writer], with_names(text->text));
  }

  std::string id() const {
    const std::string path = absolute_path(file_.path);
    std::string stem = file_name(path);
    stem.resize(stem.rfind('.') == std::string::npos ? stem.size() : stem.rfind('.'));
    return "limarp-" + file_name(parent_path(path)) + "-" + stem;
  }

  ImportFile& file_;
  const YamlDocument& document_;
  std::string key_;
  ConversationBuilder builder_;
  const YamlNode* personas_ = nullptr;
  const YamlNode* scenario_ = nullptr;
  const YamlNode* title_ = nullptr;
  const YamlNode* conversation_ = nullptr;
  std::array<std::string, 2> names_;
  int problems_ = 0;
};

}  // namespace

void import_limarp(ImportFile& file) {
  std::optional<std::string> text = read_text(file, "the file");
  if (!text) return;
  std::string key = key_of(*text);
  Diagnostics problems;
  const std::optional<YamlDocument> document = parse_yaml(file.path, *std::move(text), kYamlDataLimits, problems);
  for (Diagnostic problem : problems.all()) {
    problem.code = "E0312";
    file.diagnostics.add(std::move(problem));
  }
  if (document && !problems.has_errors()) LimarpReader(file, *document, std::move(key)).read();
}

}  // namespace shori
