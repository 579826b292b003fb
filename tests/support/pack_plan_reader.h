// Reads pack_plan.bin by the table in shori/data/pack_plan.h alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace shori::test {

// The numbers of a file, in the words of the table.
struct PackPlanFile {
  std::uint32_t version = 0, flags = 0;
  std::uint64_t seed = 0, sequence_len = 0, micro_batch_size = 0, accumulation = 0, num_epochs = 0, max_steps = 0;
  struct SampleNumbers {
    std::uint32_t length, inner_targets, first_label;
  };
  struct EpochNumbers {
    std::uint64_t first_row, first_micro_batch;
  };
  struct StepNumbers {
    std::uint64_t first_micro_batch, end_micro_batch, targets, tokens, samples;
  };
  std::vector<SampleNumbers> samples;
  std::vector<EpochNumbers> epochs;
  std::vector<std::uint64_t> row_starts;
  std::vector<std::uint32_t> entries;
  std::vector<std::uint64_t> micro_batch_rows;
  std::vector<StepNumbers> steps;
};

class LittleEndianReader {
 public:
  explicit LittleEndianReader(std::string_view bytes) : bytes_(bytes) {}
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::string_view take(std::size_t size) {
    if (size > bytes_.size()) throw std::runtime_error("the file ends early");
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::uint64_t number(std::size_t size) {
    const std::string_view taken = take(size);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value |= std::uint64_t{static_cast<unsigned char>(taken[i])} << (8 * i);
    return value;
  }
  std::string_view bytes_;
};

inline PackPlanFile read_pack_plan(std::string_view bytes) {
  LittleEndianReader reader(bytes);
  if (reader.take(8) != "SHORIPLN") throw std::runtime_error("no pack plan");
  PackPlanFile file;
  file.version = reader.u32();
  file.flags = reader.u32();
  for (std::uint64_t* option :
       {&file.seed, &file.sequence_len, &file.micro_batch_size, &file.accumulation, &file.num_epochs, &file.max_steps})
    *option = reader.u64();
  std::uint64_t samples = reader.u64(), epochs = reader.u64(), rows = reader.u64();
  std::uint64_t entries = reader.u64(), micro_batches = reader.u64(), steps = reader.u64();
  // Braced lists are read from left to right.
  for (; samples > 0; --samples) file.samples.push_back({reader.u32(), reader.u32(), reader.u32()});
  for (; epochs > 0; --epochs) file.epochs.push_back({reader.u64(), reader.u64()});
  for (; rows > 0; --rows) file.row_starts.push_back(reader.u64());
  for (; entries > 0; --entries) file.entries.push_back(reader.u32());
  for (; micro_batches > 0; --micro_batches) file.micro_batch_rows.push_back(reader.u64());
  for (; steps > 0; --steps)
    file.steps.push_back({reader.u64(), reader.u64(), reader.u64(), reader.u64(), reader.u64()});
  if (!reader.at_end()) throw std::runtime_error("bytes after the end of the plan");
  return file;
}

}  // namespace shori::test
