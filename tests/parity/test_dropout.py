"""Dropout of a micro-batch beyond one tile of the MLP: losses and every gradient against PEFT with the masks replayed by Philox in
NumPy, written from the definition (include/shori/ops/linear_group.h) and the paper."""
import json

import numpy
import pytest
import torch
from parity_support import (
    TARGETS,
    load_tensors,
    make_adapter,
    random_samples,
    reference_model,
    reference_pass,
    relative_error,
    run_tool,
)

from small_jobs import make_model

RANK, ALPHA = 8, 16
# The MLP goes through 4,096 tokens at a time, so the last sample begins in the first tile and ends in the second.
SAMPLES = random_samples([300] * 14, 512)
DROPOUT = {"seed": 0x1234567890ABCDEF, "step": 3, "micro_batch": 2, "probability": 0.25}


def philox4x32_10(key, counters):
    """[n, 4] words for [n, 4] counters. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC11)."""
    c = [counters[:, i].astype(numpy.uint64) for i in range(4)]
    low = numpy.uint64(0xFFFFFFFF)
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        first, second = numpy.uint64(0xD2511F53) * c[0], numpy.uint64(0xCD9E8D57) * c[2]
        c = [(second >> numpy.uint64(32)) ^ c[1] ^ numpy.uint64(keys[0]), second & low,
             (first >> numpy.uint64(32)) ^ c[3] ^ numpy.uint64(keys[1]), first & low]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return numpy.stack(c, axis=1)


def test_philox_is_that_of_the_paper():
    """The test vectors of the authors' library (Random123, kat_vectors)."""
    ones = 0xFFFFFFFF
    vectors = [
        ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ones] * 4, ones << 32 | ones, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], 0x299F31D0A4093822, [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]
    for counter, key, words in vectors:
        assert philox4x32_10(key, numpy.array([counter]))[0].tolist() == words


def mask(layer, module, tokens, columns):
    """1 where kept: token and group of 8 columns, the step, micro-batch with layer and module count; 16 bits decide a column."""
    blocks = columns // 8
    token, block = numpy.meshgrid(numpy.arange(tokens), numpy.arange(blocks), indexing="ij")
    counters = numpy.stack([block.ravel(), token.ravel(), numpy.full(tokens * blocks, DROPOUT["step"]),
                            numpy.full(tokens * blocks, DROPOUT["micro_batch"] << 16 | layer * 8 + module)], axis=1)
    words = philox4x32_10(DROPOUT["seed"], counters)
    draws = numpy.stack([words & numpy.uint64(0xFFFF), words >> numpy.uint64(16)], axis=2).reshape(tokens, columns)
    return torch.from_numpy((draws >= round(65536 * DROPOUT["probability"])).astype(numpy.float64))


class ReplayedDropout(torch.nn.Module):
    """Each call is one sample: its rows of the mask follow those of the call before."""

    def __init__(self, kept):
        super().__init__()
        self.kept, self.first = kept, 0

    def forward(self, x):
        scale = float(numpy.float32(1) / numpy.float32(1 - DROPOUT["probability"]))
        rows = slice(self.first, self.first + x.shape[-2])
        self.first = rows.stop
        return x * (self.kept[rows] * scale).to(x.dtype)


def reference(folder, linears, adapter, masks, dtype):
    """Losses and gradients of PEFT's model in `dtype`."""
    model = reference_model(folder / "model", linears, adapter, RANK, ALPHA, TARGETS, dtype)
    dropouts = []
    for name, module in model.named_modules():
        if hasattr(module, "lora_dropout"):
            layer, target = int(name.split("layers.")[1].split(".")[0]), name.rsplit(".", 1)[1]
            dropouts.append(ReplayedDropout(masks[layer, target]))
            module.lora_dropout["default"] = dropouts[-1]
    assert len(dropouts) == len(masks)
    losses, _, gradients = reference_pass(model, SAMPLES, dtype)
    assert all(dropout.first == len(dropout.kept) for dropout in dropouts)
    return losses, gradients


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_masks_of_every_tile(tmp_path, bf16):
    make_model(tmp_path / "model", "--vocab", 512, "--layers", 1)
    adapter = make_adapter(tmp_path / "adapter.safetensors", tmp_path / "model", RANK, TARGETS)
    job = {"model": str(tmp_path / "model"), "adapter": str(tmp_path / "adapter.safetensors"), "bf16": bf16, "quantize": True,
           "rank": RANK, "alpha": ALPHA, "targets": TARGETS, "samples": SAMPLES, "dropout": DROPOUT}
    (tmp_path / "job.json").write_text(json.dumps(job))
    run_tool("pass", tmp_path / "job.json", tmp_path / "out.safetensors")
    ours = load_tensors(tmp_path / "out.safetensors")
    linears = {name: value for name, value in ours.items() if name.startswith("model.layers.")}
    tokens = sum(map(len, SAMPLES))
    masks = {(int(name.split(".")[2]), target): mask(int(name.split(".")[2]), TARGETS.index(target), tokens, value.shape[1])
             for name, value in linears.items() for target in [name.split(".")[-2]]}

    losses, gradients = reference(tmp_path, linears, adapter, masks, torch.float64)
    framework = reference(tmp_path, linears, adapter, masks, torch.bfloat16 if bf16 else torch.float32)
    assert relative_error(ours["losses"], losses) <= 2 * relative_error(framework[0], losses)
    assert set(gradients) == set(adapter)
    too_far = {name: (error, allowed) for name, gradient in gradients.items()
               for error, allowed in [(relative_error(ours[name], gradient), 2 * relative_error(framework[1][name], gradient))]
               if error > allowed}
    assert not too_far
