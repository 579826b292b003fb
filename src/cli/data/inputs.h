// What a command of shori-data reads: files, folders and globs, or the data of a training config.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "shori/config/train_config.h"
#include "shori/data/dataset.h"
#include "shori/data/tokenizer.h"

namespace shori {

struct InputArguments {
  std::vector<std::string> paths;
  std::string tokenizer;  // file or model folder
  std::string type;       // of the files, as `type` of a dataset entry
};
// Options PATH..., --tokenizer and --type.
void add_input_arguments(CLI::App& command, InputArguments& arguments);
// --type. A wrong word is E0104, like that of a config.
void add_type_option(CLI::App& command, std::string& type);

// The data of one stage, or of the files on the command line.
struct InputSet {
  std::string stage;   // empty: files
  TrainConfig config;  // of the stage; defaults for files
  std::vector<DataEntry> entries, test_entries;
  DataOptions options;                         // without progress and observe
  std::shared_ptr<const Tokenizer> tokenizer;  // null: none was given
};

// One set per stage. The tokenizer is that of --tokenizer, else of the config's base_model, else of the variable
// SHORI_TOKENIZER. Without one: E0218 if `tokenizer_needed`, else options.parse_only is set. Throws the problems of the
// config.
std::vector<InputSet> open_inputs(const InputArguments& arguments, bool tokenizer_needed);

// From --tokenizer or SHORI_TOKENIZER, for commands without a config; null if neither is set.
std::shared_ptr<const Tokenizer> open_tokenizer(const std::string& option);

// Loads a set with a live progress line. `observe` may be empty.
Dataset load_with_progress(const InputSet& set, const std::function<void(const ReadConversation&)>& observe,
                           Diagnostics& diagnostics);

}  // namespace shori
