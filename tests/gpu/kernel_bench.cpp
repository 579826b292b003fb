// Every kernel at the shapes of Mistral-7B: time, GB/s against a copy, TFLOP/s against a large product. Entries:
// --benchmark_list_tests; one: --benchmark_filter=nf4_dequantize; JSON: --benchmark_out=FILE.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <memory>
#include <tuple>

#include "kernels/linear/fused_weight.h"
#include "kernels/linear/nf4_product.h"
#include "kernels/loss/head_loss_launch.h"
#include "shori/ops/adamw8bit.h"
#include "shori/ops/attention.h"
#include "shori/ops/base_checksum.h"
#include "shori/ops/embed.h"
#include "shori/ops/grad_norm.h"
#include "shori/ops/head_loss.h"
#include "shori/ops/lora_down.h"
#include "shori/ops/lora_grad.h"
#include "shori/ops/nf4_linear.h"
#include "shori/ops/nf4_matmul.h"
#include "shori/ops/nf4_quantize.h"
#include "shori/ops/rms_norm.h"
#include "shori/ops/rope.h"
#include "shori/ops/swiglu.h"
#include "shori/util/build_info.h"
#include "shori/util/error.h"
#include "tests/gpu/bench_support.h"

namespace shori::bench {
namespace {

constexpr double kBf16 = 2, kF32 = 4, kNf4 = 0.5 + 1.0 / 64 + 4.0 / 16384;  // bytes an element
constexpr DropoutKey kDropout{.seed = 1, .step = 1, .probability = 0.1f};
const Sizes& s = sizes();

double product(std::int64_t a, std::int64_t b, std::int64_t c = 1) {
  return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

struct GroupShape {
  const char* name;
  std::int64_t in;
  std::vector<std::int64_t> outs;
  std::int64_t tokens;
  int first_index;
};
std::vector<GroupShape> groups() {
  return {{"qkv", s.hidden, {s.hidden, s.kv, s.kv}, s.tokens, 0},
          {"o", s.hidden, {s.hidden}, s.tokens, 3},
          {"gate_up", s.hidden, {s.feed_forward, s.feed_forward}, s.tile, 4},
          {"down", s.feed_forward, {s.hidden}, s.tile, 6}};
}

void add_linears() {
  for (const GroupShape& shape : groups()) {
    const std::string suffix = std::string("/") + shape.name;
    const auto with_group = [shape](auto&& body) {
      return [shape, body](benchmark::State& state) {
        const Group group(shape.in, shape.outs, s.rank, shape.first_index);
        const std::int64_t in = group.fused_in(), out = group.group().out(), tokens = shape.tokens;
        const Tensor x(tokens, in), y(tokens, out);
        body(state, group, x, y, 2 * product(tokens, out, in));
      };
    };
    entry("nf4_dequantize" + suffix, with_group([](auto& state, const Group& g, const Tensor&, const Tensor&, double) {
            const double bytes = g.weights() * kNf4 + product(g.group().out(), g.fused_in()) * kBf16;
            measure(state, {.bytes = bytes}, [&](const OpContext& context) {
              const WorkspaceFrame frame(*context.workspace);
              fused_weight(context, "bench", g.group());
            });
          }));
    entry("matmul" + suffix, with_group([](auto& state, const Group& g, const Tensor& x, const Tensor& y, double flop) {
            const Tensor weight(g.group().out(), g.fused_in());
            measure(state, {.flop = flop}, [&](const OpContext& context) {
              device_matmul(context, MatmulB::kTransposed, x.view(), weight.view(), y.view());
            });
          }));
    entry("nf4_linear" + suffix,
          with_group([](auto& state, const Group& g, const Tensor& x, const Tensor& y, double flop) {
            measure(state, {.flop = flop},
                    [&](const OpContext& context) { nf4_linear(context, g.group(), x.view(), y.view()); });
          }));
    entry("nf4_linear_backward" + suffix,
          with_group([](auto& state, const Group& g, const Tensor& x, const Tensor& y, double flop) {
            measure(state, {.flop = flop},
                    [&](const OpContext& context) { nf4_linear_backward(context, g.group(), y.view(), x.view()); });
          }));
    for (const bool half_sums : {true, false}) {
      const std::string sums = half_sums ? "_fp16_sums" : "_fp32_sums";
      entry("nf4_product" + sums + suffix,
            with_group([half_sums](auto& state, const Group& g, const Tensor& x, const Tensor& y, double flop) {
              measure(state, {.flop = flop}, [&](const OpContext& context) {
                nf4_product(context, g.group(), half_sums, x.view(), y.view());
              });
            }));
      entry("nf4_product_backward" + sums + suffix,
            with_group([half_sums](auto& state, const Group& g, const Tensor& x, const Tensor& y, double flop) {
              measure(state, {.flop = flop}, [&](const OpContext& context) {
                nf4_product_backward(context, g.group(), half_sums, y.view(), x.view());
              });
            }));
    }
    entry("lora_down" + suffix, with_group([](auto& state, const Group& g, const Tensor& x, const Tensor&, double) {
            const double adapters = static_cast<double>(g.group().lora_count() * g.group().rank);
            measure(
                state,
                {product(x.view().rows, g.fused_in()) * kBf16, 2 * product(x.view().rows, g.group().in()) * adapters},
                [&](const OpContext& context) { lora_down(context, g.group(), kDropout, x.view()); });
          }));
    entry("lora_grad_a" + suffix, with_group([](auto& state, const Group& g, const Tensor& x, const Tensor&, double) {
            const Tensor dx(x.view().rows, g.fused_in());
            measure(state, {.bytes = product(x.view().rows, g.group().in()) * kBf16},
                    [&](const OpContext& context) { lora_grad_a(context, g.group(), kDropout, x.view(), dx.view()); });
          }));
    entry("lora_grad_b" + suffix, with_group([](auto& state, const Group& g, const Tensor& x, const Tensor& y, double) {
            measure(state, {.bytes = product(y.view().rows, y.view().cols) * kBf16},
                    [&](const OpContext& context) { lora_grad_b(context, g.group(), x.view(), y.view()); });
          }));
  }
}

// nf4_matmul against dequantization and a product: from how many tokens on the second is faster.
void add_few_tokens() {
  for (const auto& [name, in, out] : {std::tuple{"gate", s.hidden, s.feed_forward},
                                      {"o", s.hidden, s.hidden},
                                      {"k", s.hidden, s.kv},
                                      {"down", s.feed_forward, s.hidden}}) {
    for (const std::int64_t tokens : {1, 8, 16, 32, 64, 128}) {
      const std::string suffix = std::string("/") + name + "/" + std::to_string(tokens);
      const auto add = [&](const char* op, bool decodes_inside) {
        entry(op + suffix, [=, in = in, out = out](benchmark::State& state) {
          const Group group(in, {out}, 0);
          const Tensor x(tokens, in), y(tokens, out);
          const Cost cost{group.weights() * kNf4 + product(tokens, in + out) * kBf16, 2 * product(tokens, in, out)};
          measure(state, cost, [&](const OpContext& context) {
            if (decodes_inside) {
              nf4_matmul(context, group.group().modules.front().weight, x.view(), y.view());
            } else {
              nf4_linear(context, group.group(), x.view(), y.view());
            }
          });
        });
      };
      add("nf4_matmul", true);
      add("nf4_dequantize_then_matmul", false);
    }
  }
}

// The LoRA part with memory for the masks, as lora_grad_a leaves them.
LoraInputGradient with_masks(const LinearGroup& group, const Tensor& masks) {
  const std::int64_t bytes = group.mask_bytes();
  return {&group, kDropout, ConstTensorView{masks.view().data, DType::kU8, masks.view().rows, bytes, bytes}};
}

void add_rows() {
  entry("embed", [](benchmark::State& state) {
    const Tensor table(s.vocabulary, s.hidden), x(s.tokens, s.hidden);
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < s.tokens; ++i) ids.push_back(static_cast<std::int32_t>(i * 7919 % s.vocabulary));
    const Integers both(ids);
    measure(state, {.bytes = 2 * product(s.tokens, s.hidden) * kBf16},
            [&](const OpContext& context) { embed(context, table.view(), both.array(), x.view()); });
  });
  entry("rms_norm", [](benchmark::State& state) {
    const Tensor x(s.tokens, s.hidden), delta(s.tokens, s.hidden), h(s.tokens, s.hidden), y(s.tokens, s.hidden),
        weight(1, s.hidden);
    measure(state, {.bytes = 4 * product(s.tokens, s.hidden) * kBf16}, [&](const OpContext& context) {
      rms_norm(context, x.view(), delta.view(), h.view(), weight.view(), 1e-5f, y.view());
    });
  });
  for (const bool lora : {false, true}) {
    entry(lora ? "rms_norm_backward/qkv_lora" : "rms_norm_backward", [lora](benchmark::State& state) {
      const Group group(s.hidden, {s.hidden, s.kv, s.kv}, s.rank);
      const std::int64_t cols = lora ? group.fused_in() : s.hidden;
      const Tensor h(s.tokens, s.hidden), dy(s.tokens, cols), dh(s.tokens, s.hidden), weight(1, s.hidden);
      const Tensor masks(s.tokens, group.group().mask_bytes());
      const auto part = lora ? std::optional(with_masks(group.group(), masks)) : std::nullopt;
      measure(state, {.bytes = 4 * product(s.tokens, s.hidden) * kBf16}, [&](const OpContext& context) {
        rms_norm_backward(context, h.view(), weight.view(), 1e-5f, dy.view(), part, dh.view(), dh.view());
      });
    });
    entry(lora ? "swiglu_backward/lora" : "swiglu_backward", [lora](benchmark::State& state) {
      const Group group(s.feed_forward, {s.hidden}, s.rank, 6);
      const Tensor dp(s.tile, lora ? group.fused_in() : s.feed_forward), gate_up(s.tile, 2 * s.feed_forward);
      const Tensor masks(s.tile, group.group().mask_bytes());
      const auto part = lora ? std::optional(with_masks(group.group(), masks)) : std::nullopt;
      measure(state, {.bytes = 5 * product(s.tile, s.feed_forward) * kBf16},
              [&](const OpContext& context) { swiglu_backward(context, dp.view(), part, gate_up.view()); });
    });
  }
  entry("swiglu", [](benchmark::State& state) {
    const Tensor gate_up(s.tile, 2 * s.feed_forward), p(s.tile, s.feed_forward);
    measure(state, {.bytes = 3 * product(s.tile, s.feed_forward) * kBf16},
            [&](const OpContext& context) { swiglu(context, gate_up.view(), p.view()); });
  });
  entry("rope", [](benchmark::State& state) {
    const std::int64_t cols = s.hidden + s.kv;
    RopeTable table = make_rope_table(DType::kBf16, s.tokens, s.hidden / s.heads, 1e6);
    const DeviceBytes cosines(table.cos.size()), sines(table.sin.size());
    copy_to_device(cosines.get(), table.cos.data(), table.cos.size(), nullptr);
    copy_to_device(sines.get(), table.sin.data(), table.sin.size(), nullptr);
    table.device_cos = cosines.get();
    table.device_sin = sines.get();
    std::vector<std::int32_t> positions;
    for (std::int64_t i = 0; i < s.tokens; ++i) positions.push_back(static_cast<std::int32_t>(i));
    const Integers both(positions);
    const Tensor heads(s.tokens, cols);
    measure(state, {.bytes = 2 * product(s.tokens, cols) * kBf16},
            [&](const OpContext& context) { rope(context, table, both.array(), false, heads.view()); });
  });
}

void add_attention() {
  for (const int samples : {1, 8}) {
    for (const bool backward : {false, true}) {
      const std::string name = std::string(backward ? "attention_backward/" : "attention/") + std::to_string(samples);
      entry(name, [=](benchmark::State& state) {
        const AttentionShape shape{.heads = s.heads, .kv_heads = s.kv_heads, .head_dim = s.hidden / s.heads};
        std::vector<std::int32_t> bounds;
        for (int i = 0; i <= samples; ++i) bounds.push_back(static_cast<std::int32_t>(s.tokens * i / samples));
        const Integers both(bounds);
        const Tensor qkv(s.tokens, s.hidden + 2 * s.kv), out(s.tokens, s.hidden), dout(s.tokens, s.hidden),
            dqkv(s.tokens, s.hidden + 2 * s.kv), lse(s.heads, s.tokens, DType::kF32);
        const double forward = 2 * product(s.tokens, s.tokens / samples, s.hidden);  // causal: half of the square
        const OpContext first = Runner::instance().context();
        attention(first, shape, qkv.view(), both.array(), out.view(), lse.view());
        measure(state, {.flop = backward ? 2.5 * forward : forward}, [&](const OpContext& context) {
          if (backward) {
            attention_backward(context, shape, qkv.view(), both.array(), out.view(), lse.view(), dout.view(),
                               std::nullopt, dqkv.view());
          } else {
            attention(context, shape, qkv.view(), both.array(), out.view(), lse.view());
          }
        });
      });
    }
  }
}

void add_head() {
  entry("head_loss", [](benchmark::State& state) {
    const Tensor h(s.tokens, s.hidden), weight(s.vocabulary, s.hidden, DType::kBf16, 0.02f), dh(s.tokens, s.hidden),
        losses(1, s.tokens, DType::kF32);
    const Integers targets(std::vector<std::int32_t>(static_cast<std::size_t>(s.tokens), 17));
    measure(state, {.flop = 4 * product(s.tokens, s.vocabulary, s.hidden)}, [&](const OpContext& context) {
      head_loss(context, h.view(), weight.view(), targets.array(), 1e-4,
                {losses.data<float>(), static_cast<std::size_t>(s.tokens)}, dh.view());
    });
  });
  entry("head_loss_softmax", [](benchmark::State& state) {
    const std::int64_t rows = std::min(s.tokens, kLossChunk);
    const Tensor logits(rows, s.vocabulary), losses(1, rows, DType::kF32);
    const Integers targets(std::vector<std::int32_t>(static_cast<std::size_t>(rows), 17));
    measure(state, {.bytes = 3 * product(rows, s.vocabulary) * kBf16}, [&](const OpContext& context) {
      launch_head_loss(
          {logits.data<Bf16>(), targets.array().device, losses.data<float>(), rows, s.vocabulary, 1e-4f, true},
          static_cast<cudaStream_t>(context.stream));
    });
  });
}

void add_loading() {
  entry("nf4_quantize", [](benchmark::State& state) {
    const std::int64_t count = s.feed_forward * s.hidden, blocks = nf4_blocks(count);
    const Tensor values(s.feed_forward, s.hidden), codes(1, count / 2, DType::kU8), absmax(1, blocks, DType::kF32),
        absmax_codes(1, blocks, DType::kU8), absmax2(1, nf4_groups(blocks), DType::kF32),
        findings(1, sizeof(Nf4Findings), DType::kU8);
    measure(state, {.bytes = static_cast<double>(count) * (kBf16 + kNf4 + kF32 / 64)}, [&](const OpContext& context) {
      nf4_quantize(context, FileDType::kBf16, values.view().data, count, codes.data<std::uint8_t>(),
                   absmax.data<float>());
      nf4_quantize_absmax(context, absmax.data<float>(), blocks, absmax_codes.data<std::uint8_t>(),
                          absmax2.data<float>(), findings.data<Nf4Findings>());
    });
  });
  entry("base_checksum", [](benchmark::State& state) {
    const std::int64_t bytes = s.feed_forward * s.hidden;
    const Tensor codes(1, bytes, DType::kU8);
    measure(state, {.bytes = static_cast<double>(bytes)}, [&](const OpContext& context) {
      benchmark::DoNotOptimize(base_checksum(context, codes.view().data, static_cast<std::size_t>(bytes)));
    });
  });
}

// The adapter of all layers, one tensor a factor.
std::vector<std::int64_t> adapter_sizes() {
  std::vector<std::int64_t> counts;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    for (const GroupShape& shape : groups()) {
      for (const std::int64_t out : shape.outs) {
        counts.push_back(s.rank * shape.in);
        counts.push_back(s.rank * out);
      }
    }
  }
  return counts;
}

void add_optimizer() {
  entry("gradient_norm", [](benchmark::State& state) {
    std::vector<std::unique_ptr<Tensor>> memory;
    std::vector<GradientSpan> spans;
    double total = 0;
    for (const std::int64_t count : adapter_sizes()) {
      memory.push_back(std::make_unique<Tensor>(1, count, DType::kF32));
      spans.push_back({memory.back()->data<float>(), count});
      total += static_cast<double>(count);
    }
    measure(state, {.bytes = total * kF32},
            [&](const OpContext& context) { benchmark::DoNotOptimize(gradient_norm(context, spans)); });
  });
  entry("adamw8bit", [](benchmark::State& state) {
    std::vector<std::unique_ptr<Tensor>> memory;
    const auto make = [&](std::int64_t count, DType dtype) -> const Tensor& {
      return *memory.emplace_back(std::make_unique<Tensor>(1, count, dtype, 0.02f));
    };
    std::vector<AdamTensor> tensors;
    double total = 0;
    for (const std::int64_t count : adapter_sizes()) {
      AdamTensor tensor{make(count, DType::kF32).data<float>(), make(count, DType::kF32).data<float>(), count, 1};
      if (count < kMin8BitElements) {
        tensor.m = make(count, DType::kF32).data<float>();
        tensor.v = make(count, DType::kF32).data<float>();
      } else {
        const std::int64_t blocks = (count + 255) / 256;
        tensor.m_codes = make(count, DType::kU8).data<std::uint8_t>();
        tensor.v_codes = make(count, DType::kU8).data<std::uint8_t>();
        tensor.m_absmax = make(blocks, DType::kF32).data<float>();
        tensor.v_absmax = make(blocks, DType::kF32).data<float>();
      }
      tensor.rounded_copy = make(count, DType::kBf16).view().data;
      tensor.copy_dtype = DType::kBf16;
      tensors.push_back(tensor);
      total += static_cast<double>(count);
    }
    // Parameter read and written, gradient read, codes read and written, copy written.
    measure(state, {.bytes = total * (8 + 4 + 4 + 2)}, [&](const OpContext& context) {
      benchmark::DoNotOptimize(adamw8bit(context, {.learning_rate = 1e-4f}, tensors).update_max);
    });
  });
}

}  // namespace
}  // namespace shori::bench

int main(int argc, char** argv) {
  using namespace shori;
  try {
    const DeviceInfo& device = open_device();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    bench::Runner& runner = bench::Runner::instance();
    const std::string missing = runner.measure_references();
    std::fputs(missing.c_str(), stderr);
    benchmark::AddCustomContext("build", build_id());
    benchmark::AddCustomContext("device", device.name + ", driver " + device.driver);
    benchmark::AddCustomContext("copy GB/s", std::to_string(runner.copy_bandwidth() / 1e9));
    benchmark::AddCustomContext("matmul TFLOP/s", std::to_string(runner.matmul_peak() / 1e12));
    bench::add_linears();
    bench::add_few_tokens();
    bench::add_rows();
    bench::add_attention();
    bench::add_head();
    bench::add_loading();
    bench::add_optimizer();
    benchmark::RunSpecifiedBenchmarks();
    return missing.empty() && !bench::device_is_lost() ? 0 : 1;
  } catch (const Error& error) {
    std::fprintf(stderr, "kernel_bench: %s\n", error.what());
    return error.exit_code();
  }
}
