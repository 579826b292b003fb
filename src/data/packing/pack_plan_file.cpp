#include <limits>
#include <utility>

#include "shori/data/pack_plan.h"

namespace shori {
namespace {

constexpr std::string_view kMagic = "SHORIPLN";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

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

std::optional<std::uint64_t> planned_steps_of(std::string_view head) {
  if (head.size() < kPackPlanHeadBytes || !head.starts_with(kMagic)) return std::nullopt;
  std::uint64_t steps = 0;  // the last number of the head
  for (std::size_t i = 1; i <= 8; ++i) steps = steps << 8 | static_cast<std::uint8_t>(head[kPackPlanHeadBytes - i]);
  return steps;
}

}  // namespace shori
