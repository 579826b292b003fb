#!/usr/bin/env python3
"""Tokens per second of a prompt and of its continuation on the CPU: ours against llama.cpp and transformers.

  build/deps/venv/bin/python tests/bench/generation_against_peers.py --threads 2
  build/deps/venv/bin/python tests/bench/generation_against_peers.py --rounds 1 --layers 4 --tokens 16       (a short try)

Needs scripts/setup.sh --tests and a build of shori-export, shori_train and parity_tool; --bin names its folder.

All run the same Mistral of 24 layers, hidden 1024, feed-forward 2816, 16 query and 8 key/value heads, 32,000 ids: 349
million parameters with random weights. Ours: linears in NF4, activations, embedding and head in bf16. llama.cpp (PyPI
xllamacpp): Q8_0 by `shori-export gguf`, and Q4_0 of the same weights, whose head stays in Q8_0. transformers: bf16 and
fp32 weights with its own cache.

Each program runs alone, in turn, for each round; medians over the rounds. `bytes` are the weights that one token reads, and
`GB/s` is what a decoded token reads a second. Threads of every program wait actively for the next task. Nothing else may run
on the machine: a spinning thread whose core is taken away stops all of them.
"""
import argparse
import json
import os
import random
import sys
import time

import bench_report

HOME = bench_report.WORK / "generation"
VOCABULARY, HIDDEN, FEED_FORWARD, HEADS, KV_HEADS = 32000, 1024, 2816, 16, 8

LLAMA = """
import json, os, sys
import xllamacpp as x
path, prompt, tokens, rounds, threads = json.load(sys.stdin)
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.warmup, p.n_gpu_layers = path, len(prompt) + tokens + 8, 1, True, 0
p.fit_params, p.verbosity, p.port = False, 0, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
server = x.Server(p)
results = []
for _ in range(rounds):
    answer = server.handle_completions({"prompt": prompt, "n_predict": tokens, "max_tokens": tokens, "temperature": 0,
                                        "cache_prompt": False, "ignore_eos": True})
    timings = (json.loads(answer) if isinstance(answer, str) else answer)["timings"]
    results.append({"prefill": timings["prompt_ms"] / 1e3 * len(prompt) / timings["prompt_n"],
                    "decode": timings["predicted_ms"] / 1e3 * tokens / timings["predicted_n"]})
print("RESULT" + json.dumps(results))
sys.stdout.flush()
os._exit(0)
"""


def write_q4_0(source, target):
    """The Q8_0 file with its linears in Q4_0, quantized from the 16-bit weights."""
    import gguf
    from safetensors.torch import load_file
    weights = load_file(HOME / "model/model.safetensors")
    names = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        if parts[0] != "blk" or parts[2] not in names:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        values = weights[f"model.layers.{parts[1]}.{names[parts[2]]}.weight"].float().numpy()
        if parts[2] in heads:  # llama.cpp rotates neighbours: rows of each head are interleaved
            rows, columns = values.shape
            values = values.reshape(heads[parts[2]], 2, -1, columns).swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_0),
                          raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_inputs(options):
    HOME.mkdir(parents=True, exist_ok=True)
    bench_report.run([sys.executable, bench_report.SOURCE / "scripts/make_tiny_model.py", "--out", HOME / "model",
                      "--layers", options.layers, "--hidden", HIDDEN, "--heads", HEADS, "--kv-heads", KV_HEADS,
                      "--intermediate", FEED_FORWARD, "--tokenizer", bench_report.TOKENIZER])
    (HOME / "q8_0.gguf").unlink(missing_ok=True)
    bench_report.run([options.bin / "shori-export", "gguf", HOME / "model", "--out", HOME / "q8_0.gguf", "--type", "q8_0"])
    write_q4_0(HOME / "q8_0.gguf", HOME / "q4_0.gguf")


def environment(options):
    return {**os.environ, "OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads),
            "OMP_WAIT_POLICY": "active", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def run_ours(options, prompt):
    job = {"model": str(HOME / "model"), "bf16": True, "quantize": True, "context": len(prompt) + options.tokens + 1,
           "prompt": prompt, "tokens": options.tokens, "rounds": 2}
    (HOME / "job.json").write_text(json.dumps(job))
    return json.loads(bench_report.run([options.bin / "parity_tool", "speed", HOME / "job.json"],
                                       env=environment(options)))[1:]


def run_llama(options, prompt, kind):
    work = json.dumps([str(HOME / f"{kind}.gguf"), prompt, options.tokens, 2, options.threads])
    output = bench_report.run([sys.executable, "-c", LLAMA], env=environment(options), input=work)
    return json.loads(output[output.index("RESULT") + 6:])[1:]


def run_transformers(options, prompt, dtype):
    output = bench_report.run([sys.executable, __file__, "--peer", dtype, "--threads", options.threads, "--tokens",
                               options.tokens], env=environment(options), input=json.dumps(prompt))
    return json.loads(output.splitlines()[-1])[1:]


def time_peer(dtype, tokens, threads):
    """Seconds of two rounds in transformers, in a process of its own."""
    import torch
    import transformers
    torch.set_num_threads(threads)
    ids = torch.tensor([json.load(sys.stdin)])
    model = transformers.MistralForCausalLM.from_pretrained(HOME / "model", dtype=getattr(torch, dtype)).eval()
    rounds = []
    for _ in range(2):
        with torch.inference_mode():
            begun = time.perf_counter()
            out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
            prefilled = time.perf_counter()
            for _ in range(tokens):
                out = model(input_ids=out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
            rounds.append({"prefill": prefilled - begun, "decode": time.perf_counter() - prefilled})
    print(json.dumps(rounds))


def bytes_of(kind, layers):
    """Weights that one token reads: the linears, and the head."""
    linears = layers * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN * KV_HEADS // HEADS + 3 * HIDDEN * FEED_FORWARD)
    bits = {"ours NF4": (4.127, 16), "llama.cpp Q4_0": (4.5, 8.5), "llama.cpp Q8_0": (8.5, 8.5),
            "transformers bf16": (16, 16), "transformers fp32": (32, 32)}[kind]
    return (linears * bits[0] + VOCABULARY * HIDDEN * bits[1]) / 8


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    bench_report.add_common_options(parser)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the continuation")
    parser.add_argument("--keep", action="store_true", help="use the models of the last run")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return time_peer(options.peer, options.tokens, options.threads)
    report = bench_report.describe(options.bin, ["xllamacpp", "transformers", "torch"])
    if not options.keep:
        make_inputs(options)
    source = random.Random(7)
    prompt = [1] + [source.randrange(3, VOCABULARY) for _ in range(options.prompt - 1)]
    programs = {"ours NF4": lambda: run_ours(options, prompt),
                "llama.cpp Q4_0": lambda: run_llama(options, prompt, "q4_0"),
                "llama.cpp Q8_0": lambda: run_llama(options, prompt, "q8_0"),
                "transformers bf16": lambda: run_transformers(options, prompt, "bfloat16"),
                "transformers fp32": lambda: run_transformers(options, prompt, "float32")}
    results = {name: [] for name in programs}
    for number in range(options.rounds):
        for name, measure in programs.items():
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
            results[name] += measure()
    report["results"] = {name: {phase: bench_report.spread([count / one[phase] for one in runs])
                                for phase, count in (("prefill", options.prompt), ("decode", options.tokens))}
                         for name, runs in results.items()}
    rates = {name: {phase: report["results"][name][phase]["median"] for phase in ("prefill", "decode")} for name in results}
    ours = rates["ours NF4"]
    rows = []
    for name, rate in rates.items():
        size = bytes_of(name, options.layers)
        rows.append([name, f"{rate['prefill']:.1f}", f"{rate['decode']:.2f}", f"{size / 1e6:.0f} MB",
                     f"{rate['decode'] * size / 1e9:.2f}", f"{ours['prefill'] / rate['prefill']:.2f}",
                     f"{ours['decode'] / rate['decode']:.2f}"])
    bench_report.print_table(["", "prefill tok/s", "decode tok/s", "bytes", "GB/s", "ours/it, prefill", "ours/it, decode"],
                             rows)
    bench_report.finish(report, options.out, "generation.json")


if __name__ == "__main__":
    main()
