#!/usr/bin/env python3
"""Makes the golden file of bitsandbytes' CUDA kernels: NF4, double quantization, AdamW 8-bit with blocks of 256.

  scripts/make_golden.py --out tests/golden/bitsandbytes_cuda.safetensors

Needs a GPU, torch and bitsandbytes. The tests compare our code with the file (golden_test); its metadata records the versions,
the GPU and the settings. --device cpu makes a file of the same form, to try the script: bitsandbytes' CPU code is not its CUDA
code, so that file is no golden. Exit 77: something it needs is not here.

Tensors: `map.signed`, `map.unsigned`: the 8-bit maps that bitsandbytes used.
`nf4.<case>.`: input bf16 [rows, cols]; codes u8; absmax fp32 (without double quantization); nested u8, nested_absmax fp32,
offset fp32 [1] (with it); decoded bf16, what it makes of its own nested state.
`adam.`: p fp32 [n] at the start, g fp32 [n] the base of the gradients: step t has g rolled by 37 t, times 1 + t / 64.
`adam.<t>.`: p, m, v, m_absmax, v_absmax before step t; `adam.<t>.after.`: after it.
"""
import argparse
import importlib.util
import pathlib
import sys
import time

N, STEPS, KEPT = 8192, 100, [1, 2, 3, 20, 100]
SETTINGS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.05, "block_size": 256}


def nf4_cases():
    import torch
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(128, 1024, generator=generator)
    outliers = normal[:64].clone()
    outliers[:, ::97] *= 40
    scales = normal[:64] * torch.logspace(-20, 5, 64).unsqueeze(1)
    zeros = normal[:16].clone()
    zeros[3:5] = 0
    return {"normal": normal * 0.02, "outliers": outliers, "scales": scales, "zero_blocks": zeros}


def make_nf4(device):
    import bitsandbytes.functional as functional
    import torch
    tensors = {}
    for name, values in nf4_cases().items():
        values = values.to(torch.bfloat16).to(device)
        codes, state = functional.quantize_4bit(values, blocksize=64, quant_type="nf4", compress_statistics=False)
        nested_codes, nested = functional.quantize_4bit(values, blocksize=64, quant_type="nf4", compress_statistics=True)
        assert torch.equal(codes, nested_codes), "double quantization changed the codes"
        tensors |= {f"nf4.{name}.{key}": value for key, value in {
            "input": values, "codes": codes.flatten(), "absmax": state.absmax, "nested": nested.absmax,
            "nested_absmax": nested.state2.absmax, "offset": nested.offset.float().reshape(1),
            "decoded": functional.dequantize_4bit(codes, nested)}.items()}
        tensors["map.signed"] = nested.state2.code
    return tensors


def make_adam(device):
    import bitsandbytes
    import torch
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(N, generator=generator) * 0.02
    # Magnitudes over several decades, some exact zeros: every part of the maps is met.
    base = torch.randn(N, generator=generator) * torch.logspace(-5, -2, N)[torch.randperm(N, generator=generator)]
    base[::53] = 0
    parameter = torch.nn.Parameter(start.clone().to(device))
    base = base.to(device)
    optimizer = bitsandbytes.optim.AdamW8bit([parameter], lr=SETTINGS["lr"], betas=(SETTINGS["beta1"], SETTINGS["beta2"]),
                                             eps=SETTINGS["eps"], weight_decay=SETTINGS["weight_decay"])
    blocks = N // SETTINGS["block_size"]
    tensors = {"adam.p": start, "adam.g": base}

    def state():
        values = optimizer.state[parameter]
        if not values:  # made by the first step, all zero
            empty = {"m": torch.zeros(N, dtype=torch.uint8), "v": torch.zeros(N, dtype=torch.uint8),
                     "m_absmax": torch.zeros(blocks), "v_absmax": torch.zeros(blocks)}
            return {"p": parameter.detach().clone(), **empty}
        return {"p": parameter.detach().clone(), "m": values["state1"].clone(), "v": values["state2"].clone(),
                "m_absmax": values["absmax1"].clone(), "v_absmax": values["absmax2"].clone()}

    for step in range(1, STEPS + 1):
        before = state()
        parameter.grad = torch.roll(base, 37 * step) * (1 + step / 64)
        optimizer.step()
        if step in KEPT:
            tensors |= {f"adam.{step}.{key}": value for key, value in before.items()}
            tensors |= {f"adam.{step}.after.{key}": value for key, value in state().items()}
    values = optimizer.state[parameter]
    assert values["absmax1"].numel() == blocks, f"bitsandbytes used blocks of {N // values['absmax1'].numel()}"
    tensors["map.unsigned"] = values["qmap2"]
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    missing = [name for name in ["torch", "bitsandbytes", "safetensors"] if not importlib.util.find_spec(name)]
    if missing:
        print(f"not installed: {', '.join(missing)}")
        return 77
    import torch
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU: the golden file is made by bitsandbytes' CUDA kernels")
        return 77
    import bitsandbytes
    from safetensors.torch import save_file
    tensors = {name: value.detach().cpu().contiguous() for name, value in (make_nf4(options.device) | make_adam(options.device)).items()}
    metadata = {"format": "pt", "made_by": "scripts/make_golden.py", "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "bitsandbytes": bitsandbytes.__version__, "torch": torch.__version__, "cuda": str(torch.version.cuda),
                "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu: no golden",
                "adam": " ".join(f"{key}={value}" for key, value in SETTINGS.items())}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.out, metadata=metadata)
    print(f"{options.out}: {len(tensors)} tensors, {options.out.stat().st_size:,} bytes, bitsandbytes {metadata['bitsandbytes']}, "
          f"{metadata['device']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
