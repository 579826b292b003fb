#!/usr/bin/env python3
"""Writes a Mistral-7B-shaped model folder with random weights, made on the GPU: 14.5 GB in seconds where --out is in memory.

  make_model.py --out DIR                    Mistral-7B: 32 layers
  make_model.py --out DIR --layers 4         the same width, fewer layers
  make_model.py --out DIR --sizes tiny       for trying the suite without a GPU

The scales are those of scripts/make_tiny_model.py, so activations keep their size and the loss begins at ln(vocabulary) + 1/2.
"""
import argparse
import json
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import make_tiny_model

SIZES = {"7b": {"hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "intermediate": 14336, "vocab": 32000},
         "tiny": {"hidden": 128, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 192, "vocab": 512}}
SHARDS = 3


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--sizes", choices=SIZES, default="7b")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--seed", type=int, default=20240229)
    options = parser.parse_args()
    for name, value in SIZES[options.sizes].items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    options.dtype, options.max_positions, options.rope_theta, options.sliding_window = "bfloat16", 32768, 1000000.0, None
    return options


def header_of(tensors):
    """Container's header for (name, shape) of bf16 in this order."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors:
        end = offset + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offset


def main():
    options = parse_options()
    options.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(options.seed)
    tensors = list(make_tiny_model.tensor_shapes(options))
    shares = [tensors[i * len(tensors) // SHARDS:(i + 1) * len(tensors) // SHARDS] for i in range(SHARDS)]
    weight_map, total = {}, 0
    for number, share in enumerate(shares, 1):
        file = f"model-{number:05}-of-{SHARDS:05}.safetensors"
        head, size = header_of([(name, shape) for name, shape, _ in share])
        with (options.out / file).open("wb") as out:
            out.write(head)
            for name, shape, deviation in share:
                if deviation is None:
                    values = torch.ones(shape, dtype=torch.bfloat16)
                else:
                    values = (torch.randn(shape, generator=generator, device=device) * float(deviation)).to(torch.bfloat16).cpu()
                values.view(torch.uint8).numpy().tofile(out)
                weight_map[name] = file
        total += size
    make_tiny_model.write_json(options.out / "model.safetensors.index.json",
                               {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}, indent=4)
    make_tiny_model.write_json(options.out / "config.json", make_tiny_model.model_config(options))
    print(f"{options.out}: {total:,} bytes in {len(tensors)} tensors")


if __name__ == "__main__":
    main()
