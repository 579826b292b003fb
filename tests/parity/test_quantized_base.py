"""Bases that bitsandbytes quantized: our values from its files are its own, to the bit.

Its CPU code quantizes absmax differently from its CUDA code; that does not matter here, since the files say what the
indices mean. Values are decoded as one row: its AVX-512 code takes the wrong scale where a row is shorter than a block.
"""
import json
import shutil

import bitsandbytes.functional
import pytest
import torch
import transformers
from parity_support import TARGETS, run_tool
from safetensors.torch import load_file, save_file

from run_folders import metrics
from shori_programs import BIN, export, must, run, train
from small_jobs import TokenJob, make_model, token_model  # noqa: F401  fixture


def is_linear(name):
    return name.endswith("_proj.weight")


def decode(codes, state):
    state.shape, state.dtype = torch.Size((1, codes.numel() * codes.element_size() * 2)), torch.bfloat16
    return bitsandbytes.functional.dequantize_4bit(codes, state).float().flatten()


def theirs_of(folder):
    """What bitsandbytes makes of the packed tensors of a model folder."""
    tensors = load_file(folder / "model.safetensors")
    result = {}
    for name in filter(is_linear, tensors):
        parts = {key: value for key, value in tensors.items() if key.startswith(name + ".")}
        state = bitsandbytes.functional.QuantState.from_dict(
            {key.removeprefix(name + "."): value for key, value in parts.items()}, device=torch.device("cpu"))
        result[name] = decode(tensors[name], state)
    return result


def check(folder, out):
    run_tool("linears", folder, out)
    ours, theirs = load_file(out), theirs_of(folder)
    assert ours.keys() == theirs.keys() and len(ours) == 2 * len(TARGETS)
    for name, values in theirs.items():
        assert torch.equal(ours[name].flatten(), values), name


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("plain") / "model")


@pytest.mark.parametrize("double_quantization", [True, False])
def test_folder_saved_by_transformers(tmp_path, plain, double_quantization):
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                             bnb_4bit_use_double_quant=double_quantization,
                                             bnb_4bit_compute_dtype=torch.bfloat16)
    model = transformers.MistralForCausalLM.from_pretrained(plain, quantization_config=config, dtype=torch.bfloat16,
                                                            device_map="cpu")
    model.save_pretrained(tmp_path / "saved")
    names = load_file(tmp_path / "saved" / "model.safetensors").keys()
    assert any(name.endswith(".quant_state.bitsandbytes__nf4") for name in names)
    assert any(name.endswith(".nested_absmax") for name in names) == double_quantization
    check(tmp_path / "saved", tmp_path / "out.safetensors")


def pack(plain, folder, blocksize=64, nested=True, storage=torch.uint8):
    shutil.copytree(plain, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    (folder / "config.json").write_text(json.dumps(config))
    packed = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if not is_linear(name):
            packed[name] = weight
            continue
        codes, state = bitsandbytes.functional.quantize_4bit(weight, blocksize=blocksize, quant_type="nf4",
                                                             compress_statistics=nested, quant_storage=storage)
        packed[name] = codes
        packed |= {f"{name}.{key}": value.contiguous() for key, value in state.as_dict(packed=True).items()}
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("blocksize", [64, 128, 512])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16, torch.float32])
def test_states_packed_by_bitsandbytes(tmp_path, plain, blocksize, nested, storage):
    check(pack(plain, tmp_path / "packed", blocksize, nested, storage), tmp_path / "out.safetensors")


@pytest.mark.parametrize("nested", [True, False])
def test_stage_trains_on_it(tmp_path, token_model, nested):
    """On the CPU and on the emulated device, from the same bits; what needs 16-bit weights is refused."""
    model = pack(token_model, tmp_path / "packed", nested=nested)
    settings = {"samples": 4, "held_out": 0, "lengths": (20,), "num_epochs": 1, "lora_r": 4}
    on_cpu = TokenJob(tmp_path / "cpu", model, **settings)
    must(train(on_cpu.config))
    on_device = TokenJob(tmp_path / "device", model, device="emulated", **settings)
    must(run(BIN / "shori-train-emulated", on_device.config))
    records = [json.loads((job.run / "run.json").read_text())["base"] for job in (on_cpu, on_device)]
    assert records[0] == records[1]
    pairs = zip(metrics(on_cpu.run, "step"), metrics(on_device.run, "step"), strict=True)
    assert all(theirs["loss"] == pytest.approx(ours["loss"], rel=2e-3) for ours, theirs in pairs)

    dense = TokenJob(tmp_path / "dense", model, adapter="lora", load_in_4bit=False, **settings)
    assert "E0216" in must(train(dense.config, "--check"), 3).codes
    merged = export("merged", on_cpu.run, "--base", model, "--out", tmp_path / "merged")
    assert "E0216" in must(merged, 3).codes and not (tmp_path / "merged").exists()
    (tmp_path / "prompt.txt").write_text("▀message\nWenna:")
    wide = run(BIN / "shori-chat", on_cpu.run, "--prompt-file", tmp_path / "prompt.txt", "--base-type", "bf16")
    assert must(wide, 3).errors == ["E0216"] and "--base-type nf4" in wide.err
