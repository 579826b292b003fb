#include "src/train/files/checkpoint_writer.h"

#include <utility>

#include "shori/util/error.h"
#include "shori/util/log.h"

namespace shori {

CheckpointWriter::~CheckpointWriter() {
  try {
    wait();
  } catch (const Error& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) log_error(diagnostic);
  }
}

void CheckpointWriter::start(std::function<void()> write) {
  wait();
  writing_ = std::async(std::launch::async, std::move(write));
}

void CheckpointWriter::wait() {
  if (writing_.valid()) writing_.get();
}

}  // namespace shori
