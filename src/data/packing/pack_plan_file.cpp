#include <algorithm>
#include <limits>
#include <utility>

#include "shori/data/pack_plan.h"
#include "shori/util/error.h"
#include "src/data/packing/pack_plan_builder.h"

namespace shori {
namespace {

constexpr std::string_view kMagic = "SHORIPLN";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();
constexpr std::uint64_t kMaxOption = 1u << 31;
constexpr std::size_t kSampleBytes = 12;

class Writer {
 public:
  void u32(std::uint64_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void bytes(std::string_view value) { text_.append(value); }
  std::string take() { return std::move(text_); }

 private:
  void number(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) text_.push_back(static_cast<char>(value >> (8 * i)));
  }
  std::string text_;
};

[[noreturn]] void refuse(const std::string& name, std::size_t offset, const std::string& reason) {
  throw Error(Diagnostic("E0508", name + " is not the pack plan of a run: " + reason)
                  .at(name)
                  .note("at byte " + std::to_string(offset))
                  .help("restore the file, or begin a new run in an empty folder"));
}

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  std::uint64_t u32() { return number(4); }
  std::uint64_t u64() { return number(8); }
  std::int64_t option() {
    const std::size_t at = offset_;
    const std::uint64_t value = u64();
    if (value > kMaxOption) refuse(name_, at, "an option of " + std::to_string(value));
    return static_cast<std::int64_t>(value);
  }
  std::string_view take(std::size_t size) {
    if (size > remaining()) refuse(name_, bytes_.size(), "it ends early");
    const std::string_view part = bytes_.substr(offset_, size);
    offset_ += size;
    return part;
  }
  std::size_t remaining() const { return bytes_.size() - offset_; }
  std::size_t offset() const { return offset_; }

 private:
  std::uint64_t number(std::size_t size) {
    const std::string_view part = take(size);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) value |= std::uint64_t{static_cast<unsigned char>(part[i])} << (8 * i);
    return value;
  }
  std::string_view bytes_;
  const std::string& name_;
  std::size_t offset_ = 0;
};

std::uint32_t flags_of(const PlanOptions& options) {
  return (options.sample_packing ? 1u : 0u) | (options.pad_to_sequence_len ? 2u : 0u) | (options.compat ? 4u : 0u) |
         (options.axolotl_step_estimate ? 8u : 0u);
}

void write_head(Writer& writer, const PackPlan& plan) {
  const PlanOptions& options = plan.options;
  writer.bytes(kMagic);
  writer.u32(kVersion);
  writer.u32(flags_of(options));
  writer.u64(options.seed);
  for (const std::int64_t value :
       {options.sequence_len, options.micro_batch_size, options.gradient_accumulation_steps, options.num_epochs}) {
    writer.u64(static_cast<std::uint64_t>(value));
  }
  writer.u64(options.max_steps ? static_cast<std::uint64_t>(*options.max_steps) : kNoLimit);
  for (const std::size_t count : {plan.samples.size(), plan.epochs.size(), plan.row_count(), plan.entries.size(),
                                  plan.micro_batches.size(), plan.steps.size()}) {
    writer.u64(count);
  }
}

PlanOptions read_options(Reader& reader, const std::string& name) {
  PlanOptions options;
  const std::uint64_t flags = reader.u32();
  if (flags > 15) refuse(name, reader.offset() - 4, "unknown flags");
  options.sample_packing = (flags & 1) != 0;
  options.pad_to_sequence_len = (flags & 2) != 0;
  options.compat = (flags & 4) != 0;
  options.axolotl_step_estimate = (flags & 8) != 0;
  options.seed = reader.u64();
  options.sequence_len = reader.option();
  options.micro_batch_size = reader.option();
  options.gradient_accumulation_steps = reader.option();
  options.num_epochs = reader.option();
  const std::uint64_t max_steps = reader.u64();
  if (max_steps != kNoLimit) {
    if (max_steps > kMaxOption) refuse(name, reader.offset() - 8, "an option of " + std::to_string(max_steps));
    options.max_steps = static_cast<std::int64_t>(max_steps);
  }
  if (options.sequence_len < 1 || options.micro_batch_size < 1 || options.gradient_accumulation_steps < 1) {
    refuse(name, reader.offset(), "an option of 0");
  }
  return options;
}

std::vector<SampleCost> read_samples(Reader& reader, std::uint64_t count, const PlanOptions& options,
                                     const std::string& name) {
  if (count < 1 || count > reader.remaining() / kSampleBytes) {
    refuse(name, reader.offset(), std::to_string(count) + " samples cannot be in it");
  }
  std::vector<SampleCost> samples;
  samples.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t length = reader.u32(), targets = reader.u32(), first = reader.u32();
    if (length < 1 || length > static_cast<std::uint64_t>(options.sequence_len) || targets >= length || first > 1) {
      refuse(name, reader.offset() - kSampleBytes, "sample " + std::to_string(i) + " is out of range");
    }
    samples.push_back({static_cast<std::uint32_t>(length), static_cast<std::uint32_t>(targets), first == 1});
  }
  return samples;
}

}  // namespace

std::string serialize_pack_plan(const PackPlan& plan) {
  Writer writer;
  write_head(writer, plan);
  for (const SampleCost& sample : plan.samples) {
    writer.u32(sample.length);
    writer.u32(sample.inner_targets);
    writer.u32(sample.first_label ? 1 : 0);
  }
  for (const PlanEpoch& epoch : plan.epochs) {
    writer.u64(epoch.first_row);
    writer.u64(epoch.first_micro_batch);
  }
  for (std::size_t row = 0; row < plan.row_count(); ++row) writer.u64(plan.row_starts[row]);
  for (const std::uint32_t entry : plan.entries) writer.u32(entry);
  for (const MicroBatch& micro_batch : plan.micro_batches) writer.u64(micro_batch.first_row);
  for (const PlanStep& step : plan.steps) {
    writer.u64(step.first_micro_batch);
    writer.u64(step.first_micro_batch + step.micro_batch_count);
    for (const std::int64_t value : {step.targets, step.tokens, step.samples})
      writer.u64(static_cast<std::uint64_t>(value));
  }
  return writer.take();
}

// A plan follows from its options and samples, so the rest of the file must be what they give: the strictest check
// there is.
PackPlan parse_pack_plan(std::string_view bytes, const std::string& name) {
  Reader reader(bytes, name);
  if (reader.take(kMagic.size()) != kMagic) refuse(name, 0, "it does not begin with " + std::string(kMagic));
  const std::uint64_t version = reader.u32();
  if (version != kVersion) {
    refuse(name, kMagic.size(),
           "format " + std::to_string(version) + ", this program reads " + std::to_string(kVersion));
  }
  const PlanOptions options = read_options(reader, name);
  const std::uint64_t sample_count = reader.u64(), epoch_count = reader.u64();
  for (int i = 0; i < 4; ++i) reader.u64();
  std::vector<SampleCost> samples = read_samples(reader, sample_count, options, name);
  if (epoch_count > reader.remaining() / (4 * sample_count)) {
    refuse(name, reader.offset(), std::to_string(epoch_count) + " epochs cannot be in it");
  }
  PackPlan plan = build_pack_plan(std::move(samples), options, epoch_count + 1);
  const std::string expected = serialize_pack_plan(plan);
  std::size_t same = 0;
  while (same < std::min(expected.size(), bytes.size()) && expected[same] == bytes[same]) ++same;
  if (same != expected.size() || same != bytes.size())
    refuse(name, same, "its content does not follow from its options");
  return plan;
}

}  // namespace shori
