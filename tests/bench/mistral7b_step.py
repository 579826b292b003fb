#!/usr/bin/env python3
"""A step of a model of Mistral-7B's shape on the CPU: seconds, tokens a second, peak memory, and the start.

  build/deps/venv/bin/python tests/bench/mistral7b_step.py --threads 2
  build/deps/venv/bin/python tests/bench/mistral7b_step.py --layers 2 --steps 1      (a short try)

The weights (14.5 GB with all 32 layers) are written to the folder of the measuring scripts at the first run, where the
disk must have room for them and for the NF4 cache (3.8 GB). They are one random block of 16 MiB, repeated: what a product
takes does not depend on its values. The first start quantizes them and writes the cache, the second one reads it.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import struct
import time

import bench_report
import numpy

SHAPE = {"hidden": 4096, "heads": 32, "kv_heads": 8, "intermediate": 14336, "vocab": 32000}
BLOCK = 1 << 24
HOME = bench_report.WORK / "mistral7b"


def tensor_shapes(layers):
    hidden, wide = SHAPE["hidden"], SHAPE["intermediate"]
    narrow = hidden // SHAPE["heads"] * SHAPE["kv_heads"]
    yield "model.embed_tokens.weight", (SHAPE["vocab"], hidden)
    for layer in range(layers):
        for name, rows, cols in (("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", narrow, hidden),
                                 ("self_attn.v_proj", narrow, hidden), ("self_attn.o_proj", hidden, hidden),
                                 ("mlp.gate_proj", wide, hidden), ("mlp.up_proj", wide, hidden),
                                 ("mlp.down_proj", hidden, wide)):
            yield f"model.layers.{layer}.{name}.weight", (rows, cols)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (SHAPE["vocab"], hidden)


def random_block():
    """BLOCK bytes of bf16 with the deviation of a linear of this width."""
    values = numpy.random.default_rng(1).standard_normal(BLOCK // 2, dtype=numpy.float32) / SHAPE["hidden"]**0.5
    return (values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()


def write_model(folder, layers):
    header, at = {}, 0
    for name, shape in tensor_shapes(layers):
        size = 2 * int(numpy.prod(shape, dtype=numpy.int64))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = random_block()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "model.safetensors.part").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for entry in header.values():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            while left > 0:
                file.write(block[:min(left, BLOCK)])
                left -= BLOCK
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
        "hidden_size": SHAPE["hidden"], "intermediate_size": SHAPE["intermediate"], "num_hidden_layers": layers,
        "num_attention_heads": SHAPE["heads"], "num_key_value_heads": SHAPE["kv_heads"],
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": SHAPE["vocab"]}))
    shutil.copy(bench_report.TOKENIZER, folder / "tokenizer.model")
    (folder / "model.safetensors.part").rename(folder / "model.safetensors")


def run_training(options, model):
    """Seconds until the first step begins, seconds of each step, peak memory."""
    source = random.Random(7)
    (HOME / "packs.jsonl").write_text("".join(
        json.dumps({"input_ids": [source.randrange(3, SHAPE["vocab"]) for _ in range(options.tokens)]}) + "\n"
        for _ in range(options.warm_up + options.steps)))
    config = {
        "base_model": str(model), "output_dir": str(HOME / "run"), "device": "cpu", "threads": options.threads,
        "datasets": [{"path": str(HOME / "packs.jsonl"), "type": "tokenized"}], "bf16": True, "lora_r": 20,
        "lora_dropout": 0.1, "sequence_len": options.tokens, "sample_packing": True, "train_on_inputs": True,
        "learning_rate": 0.0001, "lr_scheduler": "constant", "nf4_cache": str(HOME / "cache"),
    }
    (HOME / "ours.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    shutil.rmtree(HOME / "run", ignore_errors=True)
    begun = time.time()
    bench_report.run([options.bin / "shori-train", HOME / "ours.yaml"])
    ended = time.time()
    steps = [json.loads(line) for line in (HOME / "run/timing.jsonl").read_text().splitlines()]
    spent = sum(step["seconds"] + step["checkpoint_seconds"] for step in steps)
    return {"start_seconds": ended - begun - spent, "seconds": [step["seconds"] for step in steps[options.warm_up:]],
            "peak_bytes": steps[-1]["memory_peak_bytes"]}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bench_report.add_common_options(parser)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of each run")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them")
    return parser.parse_args()


def main():
    options = parse_options()
    model = HOME / f"model-{options.layers}"
    if not (model / "model.safetensors").is_file():
        write_model(model, options.layers)
    shutil.rmtree(HOME / "cache", ignore_errors=True)
    report = bench_report.describe(options.bin, [])
    report["settings"] = {"threads": options.threads, "layers": options.layers, "tokens_of_a_pack": options.tokens}
    report["runs"] = [run_training(options, model) for _ in range(max(2, options.rounds))]
    rows = []
    for number, run in enumerate(report["runs"]):
        seconds = statistics.median(run["seconds"])
        rows.append(["quantizing" if number == 0 else "from the NF4 cache", f"{run['start_seconds']:.1f}",
                     f"{seconds:.2f}", f"{options.tokens / seconds:.1f}", f"{run['peak_bytes'] / 2**20:.0f}"])
    bench_report.print_table(["", "start s", "s a step", "tokens/s", "peak MiB"], rows)
    bench_report.finish(report, options.out, "mistral7b_step.json")


if __name__ == "__main__":
    main()
