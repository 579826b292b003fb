// The documents of all files, read a batch at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/data/documents/document.h"
#include "src/data/documents/sources.h"

namespace shori {

// A batch ends with the document that reaches one of these: this bounds the text in memory.
struct BatchLimits {
  std::size_t bytes = 32u << 20;
  std::size_t documents = 1u << 16;
};

struct DocumentBatch {
  std::vector<Document> documents;
  std::uint64_t bytes = 0;            // of their contents
  std::optional<Diagnostic> problem;  // of the file after them: a file that is refused ends the batch
};

// Reads the files in order. One conversation is a line of a JSONL file, a document of a YAML file, or any other file as
// a whole.
class DocumentReader {
 public:
  explicit DocumentReader(const DataSources& sources, BatchLimits limits = {});
  ~DocumentReader();

  // nullopt when all files are read. Throws Error for a file that cannot be read or that changes meanwhile, Stopped on
  // a signal.
  std::optional<DocumentBatch> next_batch();

  // How each file was read, once next_batch() has returned nullopt.
  std::vector<ReadFile> take_files() { return std::move(files_); }

 private:
  struct OpenFile;
  bool is_full(const DocumentBatch& batch) const;
  std::optional<Diagnostic> open_file();
  std::optional<Diagnostic> open_text();
  // Each adds one document; false at the end of the file, or where it is refused.
  bool read_line(DocumentBatch& batch);
  bool read_part(DocumentBatch& batch);
  void add(DocumentBatch& batch, std::uint64_t line, bool is_line, std::string content);
  void close_file(bool refused);

  const DataSources& sources_;
  BatchLimits limits_;
  std::vector<ReadFile> files_;
  std::uint32_t file_ = 0;          // of sources_.files, the one that is read
  std::unique_ptr<OpenFile> open_;  // null: it is not open yet
};

}  // namespace shori
