#!/usr/bin/env python3
"""What a merge and a GGUF cost against copying the weights of the base: time, CPU and memory.

  build/deps/venv/bin/python tests/bench/export_against_copy.py
  build/deps/venv/bin/python tests/bench/export_against_copy.py --layers 1 --rounds 1        (a short try: 1 GiB)

The base has the shape of Mistral-7B but for its number of layers, and random weights in bf16; the adapter has rank 20 on all
linears. `cp` and `sync FILE` of its one file, `shori-export merged` and `shori-export gguf` follow each other in every round, with
the base in the system's cache. Medians of the rounds; memory is the most that a process held. Needs three times the size of the
base on the disk, in build/.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import time

import bench_report
import numpy

sys.path.insert(0, str(bench_report.SOURCE / "scripts"))
import make_tiny_model  # noqa: E402

HOME = bench_report.WORK / "export_against_copy"
MISTRAL_7B = {"hidden": 4096, "heads": 32, "kv_heads": 8, "intermediate": 14336, "vocab": 32000, "dtype": "bfloat16",
              "max_positions": 32768, "rope_theta": 1000000.0, "sliding_window": None}
RANK = 20


def write_safetensors(path, dtype, size, shapes, values):
    """`values`: numbers of `size` bytes, which each tensor repeats from the first on."""
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + size * int(numpy.prod(shape))
        header[name], position = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}, end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            left = int(numpy.prod(shape))
            while left > 0:
                file.write(values[:left].tobytes())
                left -= min(left, len(values))


def make_base(folder, shape, tokenizer):
    folder.mkdir(parents=True)
    shapes = {name: sizes for name, sizes, _ in make_tiny_model.tensor_shapes(shape)}
    values = (numpy.random.default_rng(0).standard_normal(1 << 22) * 0.02).astype("f4").view("u4") >> 16
    write_safetensors(folder / "model.safetensors", "BF16", 2, shapes, values.astype("u2"))
    shutil.copy(tokenizer, folder / "tokenizer.model")
    make_tiny_model.write_json(folder / "config.json", make_tiny_model.model_config(shape))


def make_adapter(folder, shape):
    shapes, modules = {}, set()
    for name, sizes, _ in make_tiny_model.tensor_shapes(shape):
        module = name.removesuffix(".weight")
        if module.endswith("_proj"):
            prefix = f"base_model.model.{module}.lora_"
            shapes |= {prefix + "A.weight": (RANK, sizes[1]), prefix + "B.weight": (sizes[0], RANK)}
            modules.add(module.rpartition(".")[2])
    folder.mkdir(parents=True)
    values = (numpy.random.default_rng(1).standard_normal(1 << 20) * 0.02).astype("f4")
    write_safetensors(folder / "adapter_model.safetensors", "F32", 4, shapes, values)
    make_tiny_model.write_json(folder / "adapter_config.json", {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none",
        "base_model_name_or_path": "base", "target_modules": sorted(modules)})


def measure(command):
    """(seconds, CPU seconds, MiB) of one process."""
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=pathlib.Path, default=bench_report.SOURCE / "build/release/bin/shori-export")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=bench_report.TOKENIZER)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shutil.rmtree(HOME, ignore_errors=True)
    base, adapter, out = HOME / "base", HOME / "adapter", HOME / "out"
    shape = argparse.Namespace(layers=options.layers, **MISTRAL_7B)
    make_base(base, shape, options.tokenizer)
    make_adapter(adapter, shape)
    weights = base / "model.safetensors"
    commands = {"cp and sync": ["sh", "-c", 'cp "$0" "$1" && sync "$1"', weights, out],
                "merged": [options.export, "merged", adapter, "--base", base, "--out", out],
                "gguf --type f16": [options.export, "gguf", adapter, "--base", base, "--out", out]}
    found = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            with weights.open("rb") as file:  # into the cache
                while file.read(1 << 24):
                    pass
            found[name].append(measure([str(word) for word in command]))
            shutil.rmtree(out) if out.is_dir() else out.unlink()
    print(f"{weights.stat().st_size / (1 << 30):.1f} GiB, {options.rounds} rounds")
    copied = statistics.median(seconds for seconds, _, _ in found["cp and sync"])
    for name, rows in found.items():
        seconds, cpu, memory = (statistics.median(column) for column in zip(*rows))
        print(f"{name:16} {seconds:6.1f} s  {seconds / copied:4.1f}x  CPU {cpu:5.1f} s  {memory:5.0f} MiB")
    shutil.rmtree(HOME)


if __name__ == "__main__":
    main()
