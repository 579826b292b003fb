#include "src/data/documents/read_documents.h"

#include <string>
#include <utility>

#include "shori/data/blockml.h"
#include "shori/data/yaml_source.h"
#include "shori/util/command.h"
#include "shori/util/file.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/data/sources/jsonl.h"
#include "src/data/sources/recognize.h"

namespace shori {

struct DocumentReader::OpenFile {
  explicit OpenFile(InputFile file) : input(std::move(file)) {}

  InputFile input;
  std::optional<LineReader> lines;  // of a JSONL file, which is read line by line
  std::uint64_t line = 0;           // lines read
  std::uint64_t blank_lines = 0;    // of them
  std::string text;                 // of any other file, which is read at once
  std::vector<YamlText> parts;      // the conversations in `text`
  std::size_t next_part = 0;
};

namespace {

// Whether the lines of a JSONL file have what their type wants; `kind` decides where they do not.
bool has_wanted_member(std::string_view text, const SourceFile& source, const std::string& field) {
  const bool tokenized = source.type == DataType::kTokenized;
  return first_json_keys(text).contains(tokenized ? "input_ids" : field.empty() ? "text" : field);
}

// Python that reads the objects of such a file.
constexpr std::string_view kReadArray = "json.load(sys.stdin)";
constexpr std::string_view kReadSpread = R"(json.loads("[" + re.sub(r"(?m)^}\s*^{", "},{", sys.stdin.read()) + "]"))";

// JSON that is not JSONL has a fault in each line; one that says what it is says more.
std::optional<Diagnostic> refuse_other_json(std::string_view text, const SourceFile& source) {
  const JsonForm form = json_form(text).value_or(JsonForm::kLines);
  if (form == JsonForm::kLines || first_json_keys(text).empty()) return std::nullopt;
  const bool array = form == JsonForm::kArray;
  const std::string_view read = array ? kReadArray : kReadSpread;
  const std::string program = concat("import json, re, sys; [print(json.dumps(each)) for each in ", read, "]");
  return Diagnostic("E0312", array ? "this is one JSON array, not JSONL"
                                   : "the objects go over several lines, so this is not JSONL")
      .at(source.shown, 1, 1)
      .note("JSONL has one object in each line")
      .help(concat("write one object a line: `",
                   rewrite_command(concat("python3 -c ", shell_word(program), " <"), source.shown), "`"));
}

// A file of another program has a fault in each line; one that says what it is says more.
std::optional<Diagnostic> refuse_foreign_file(const InputFile& input, std::string_view text, const SourceFile& source,
                                              const std::string& field) {
  const FileKind kind = source.type == DataType::kCompletion && !source.lines ? FileKind::kUnknown
                                                                              : recognize_file(input, source.full_path);
  const bool foreign = (!import_word(kind).empty() && kind != FileKind::kBlockml) || kind == FileKind::kAlpaca ||
                       kind == FileKind::kCard || kind == FileKind::kLorebook;
  if (!foreign || (source.lines && has_wanted_member(text, source, field))) return std::nullopt;
  Diagnostic problem(kind == FileKind::kPlain ? "E0310" : "E0312", concat("this is ", file_kind_name(kind)));
  problem.at(source.shown, 1, 1);
  if (!import_word(kind).empty()) return problem.help(import_command(kind, source.shown));
  const bool alpaca = kind == FileKind::kAlpaca;
  return problem.help(alpaca ? "it holds no conversations; leave it out"
                             : "it belongs to chats: give it to their import with --cards");
}

}  // namespace

DocumentReader::DocumentReader(const DataSources& sources, BatchLimits limits)
    : sources_(sources), limits_(limits), files_(sources.files.size()) {}

DocumentReader::~DocumentReader() = default;

std::optional<DocumentBatch> DocumentReader::next_batch() {
  DocumentBatch batch;
  while (file_ < sources_.files.size() && !batch.problem && !is_full(batch)) {
    if (!open_) batch.problem = open_file();
    const bool more = !batch.problem && (open_->lines ? read_line(batch) : read_part(batch));
    if (!more) close_file(batch.problem.has_value());
  }
  if (batch.documents.empty() && !batch.problem) return std::nullopt;
  return batch;
}

bool DocumentReader::is_full(const DocumentBatch& batch) const {
  return batch.bytes >= limits_.bytes || batch.documents.size() >= limits_.documents;
}

std::optional<Diagnostic> DocumentReader::open_file() {
  throw_if_stop_requested();
  const SourceFile& source = sources_.files[file_];
  open_ = std::make_unique<OpenFile>(InputFile::open(source.full_path, "E0315"));
  files_[file_].size = open_->input.size();
  if (auto problem = refuse_file_form(open_->input, source.shown)) return problem;
  std::string beginning;  // of JSONL
  if (source.lines) TextStream(open_->input).read(beginning);
  if (auto problem = refuse_foreign_file(open_->input, beginning, source, sources_.entry_of(file_).field))
    return problem;
  if (auto problem = refuse_other_json(beginning, source)) return problem;
  if (!source.lines) return open_text();
  open_->lines.emplace(open_->input);
  return std::nullopt;
}

// Reads a file that is not JSONL and finds its conversations.
std::optional<Diagnostic> DocumentReader::open_text() {
  const SourceFile& source = sources_.files[file_];
  const std::uint64_t size = open_->input.size();
  if (size > kConversationBytes) {
    return Diagnostic("E0317", concat("conversation of ", size, " bytes, the limit is 64 MiB"))
        .at(source.shown, 1, 1)
        .help("split the file");
  }
  const bool as_it_is = source.type == DataType::kCompletion;
  TextStream stream(open_->input, as_it_is ? LineEnds::kKeep : LineEnds::kNormalize);
  stream.read_all(open_->text);
  files_[file_].changes = stream.changes();
  files_[file_].sha256 = stream.sha256();
  if (source.type != DataType::kBlockmlYaml) {
    open_->parts = {{open_->text, 1}};
    return std::nullopt;
  }
  Diagnostics problems;
  if (!check_text(open_->text, {source.shown, 0}, problems)) return problems.all().front();
  open_->parts = split_yaml_documents(open_->text);
  if (!open_->parts.empty()) return std::nullopt;
  return Diagnostic("E0306", "no conversation in the file")
      .at(source.shown, 1, 1)
      .help("write `messages: [{text: ...}]`, or delete the file");
}

bool DocumentReader::read_line(DocumentBatch& batch) {
  std::string line;
  bool too_long = false;
  while (open_->lines->next(line, too_long)) {
    ++open_->line;
    if (!is_blank_line(line)) {
      add(batch, open_->line, true, std::move(line));
      return true;
    }
    ++open_->blank_lines;
  }
  if (too_long) {
    batch.problem = Diagnostic("E0317", "line of more than 64 MiB")
                        .at(sources_.files[file_].shown, open_->line + 1)
                        .note("the rest of the file was not read")
                        .help("split the file");
  }
  return false;
}

// The documents of a YAML file are named by their lines only if there are several.
bool DocumentReader::read_part(DocumentBatch& batch) {
  if (open_->next_part == open_->parts.size()) return false;
  const YamlText& part = open_->parts[open_->next_part++];
  const bool whole = part.text.size() == open_->text.size();
  add(batch, part.line, open_->parts.size() > 1, whole ? std::move(open_->text) : std::string(part.text));
  return true;
}

void DocumentReader::add(DocumentBatch& batch, std::uint64_t line, bool is_line, std::string content) {
  batch.bytes += content.size();
  files_[file_].bytes_samples += static_cast<std::int64_t>(content.size());
  Document& document = batch.documents.emplace_back();
  document.source.file = file_;
  document.source.line = line;
  document.source.is_line = is_line;
  document.content = std::move(content);
}

void DocumentReader::close_file(bool refused) {
  ReadFile& file = files_[file_];
  file.refused = refused;
  if (open_->lines && !refused) {
    file.sha256 = open_->lines->sha256();
    file.changes = open_->lines->changes();
    count_of(file.changes, TextChange::kBlankLine) += open_->blank_lines;
  }
  if (!refused) file.bytes_between = static_cast<std::int64_t>(file.size) - file.bytes_samples;
  open_->input.check_unchanged();
  open_.reset();
  ++file_;
}

}  // namespace shori
