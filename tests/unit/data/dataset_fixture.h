// Data sets of a few lines for the tests of loading and accounting.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "shori/data/dataset.h"
#include "shori/data/tokenizer.h"
#include "shori/util/hash.h"
#include "tests/support/environment.h"
#include "tests/support/temporary_folder.h"

namespace shori {

// Six blocks, 82 ids without BOS and EOS.
inline const std::string kDocumentA =
    "▀title\nA strange incident▄\n▀tags\nbarrier, danmaku▄\n▀description\nReimu\n**Name:** Reimu▄\n"
    "▀message (length: tiny)\nReimu: \"Hmm...\"▄\n[INST] Marisa is bored. [/INST]\n▀message\nMarisa: _Ugh._ "
    "\"Boring.\"▄\n";
// A longer one, 146 ids, that splits in two.
inline const std::string kDocumentB =
    kDocumentA +
    "▀title\nThe shrine at night▄\n▀message\nReimu: \"It is quiet.\"▄\n▀description\nCirno\n**Name:** Cirno▄\n"
    "▀message\nCirno: \"Eye am the strongest!\"▄\n▀message\nReimu: \"No.\"▄\n";

inline const Tokenizer& test_tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::load(required_variable("SHORI_TOKENIZER"), 32000);
  return tokenizer;
}

// A JSONL line {"text": ...}, escaped as JSON.
inline std::string text_line(const std::string& text, const std::string& more = "") {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
    } else if (c == '"') {
      escaped += "\\\"";
    } else {
      escaped += c;
    }
  }
  return "{\"text\": \"" + escaped + "\"" + more + "}\n";
}

class DatasetTest : public ::testing::Test {
 protected:
  DatasetTest() {
    options.vocab_size = 32000;
    options.train_on_inputs = true;
    options.sequence_len = 1000;
  }

  DataEntry entry(const std::string& path, const std::string& type = "") const {
    DataEntry result;
    result.path = path;
    result.resolved_path = folder.file(path);
    result.type = type;
    result.location.file = "config.yaml";
    result.location.line = 7;
    return result;
  }

  Dataset load(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& tests = {}) {
    diagnostics = Diagnostics();
    return load_datasets(entries, tests, options, &test_tokenizer(), diagnostics);
  }

  Dataset load_good(const std::vector<DataEntry>& entries, const std::vector<DataEntry>& tests = {}) {
    Dataset dataset = load(entries, tests);
    for (const Diagnostic& diagnostic : diagnostics.all()) ADD_FAILURE() << format_diagnostic(diagnostic);
    return dataset;
  }

  // "CODE file:line:column" of each problem, without the parts that are not known.
  std::vector<std::string> problems() const {
    std::vector<std::string> result;
    for (const Diagnostic& diagnostic : diagnostics.all()) {
      std::string text = diagnostic.code + " " + diagnostic.location.file;
      if (diagnostic.location.line > 0) text += ":" + std::to_string(diagnostic.location.line);
      if (diagnostic.location.column > 0) text += ":" + std::to_string(diagnostic.location.column);
      result.push_back(text);
    }
    return result;
  }

  std::vector<std::string> ids_of(const Dataset& dataset) const {
    std::vector<std::string> ids;
    for (const Conversation& conversation : dataset.conversations) ids.push_back(conversation.id);
    return ids;
  }

  TemporaryFolder folder;
  DataOptions options;
  Diagnostics diagnostics;
};

using Texts = std::vector<std::string>;

}  // namespace shori
