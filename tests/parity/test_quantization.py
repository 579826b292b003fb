"""NF4 and the dynamic maps against bitsandbytes on the CPU, where that is a valid oracle.

bitsandbytes' CPU code differs from its CUDA code, which is what we follow, in blocks of zeros (its codes are 7, ours
0) and in everything 8-bit; so 4-bit codes are compared directly, and double quantization through float64, where its
generic path looks up the nearest entry (a tie goes to the lower index there, to the even one on CUDA).
"""
import bitsandbytes.functional
import pytest
import torch
from parity_support import run_tool
from safetensors.torch import load_file, save_file


def unpack(codes):
    return torch.stack([codes >> 4, codes & 15], dim=1).flatten()


def matrices():
    generator = torch.Generator().manual_seed(3)
    normal = (torch.randn(192, 256, generator=generator) * 0.02).bfloat16()
    heavy = (torch.randn(64, 320, generator=generator) ** 5).bfloat16()
    exponents = torch.randint(-12, 3, (128, 2), generator=generator).repeat_interleave(64, 1)
    wide_range = (torch.randn(128, 128, generator=generator) * 10.0**exponents).bfloat16()
    zeros = normal.clone()
    zeros.view(-1, 64)[5] = 0
    zeros.view(-1, 64)[400] = 0
    return {"normal": normal.float(), "heavy": heavy.float(), "wide_range": wide_range.float(), "zeros": zeros.float(),
            "short_rows": (torch.randn(48, 32, generator=generator)).bfloat16().float()}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    save_file(matrices(), folder / "in.safetensors")
    run_tool("quantize", folder / "in.safetensors", folder / "out.safetensors")
    run_tool("maps", folder / "maps.safetensors")
    return load_file(folder / "out.safetensors") | load_file(folder / "maps.safetensors")


@pytest.mark.parametrize("name", matrices())
def test_codes_equal_bitsandbytes(name, ours):
    weight = matrices()[name]
    packed, state = bitsandbytes.functional.quantize_4bit(weight.bfloat16(), blocksize=64, quant_type="nf4")
    theirs, codes = unpack(packed.flatten()), unpack(ours[name + ".codes"])
    is_zero = (weight.reshape(-1, 64) == 0).all(1)
    assert torch.equal(theirs.view(-1, 64)[~is_zero], codes.view(-1, 64)[~is_zero])
    assert (codes.view(-1, 64)[is_zero] == 0).all()
    assert (theirs.view(-1, 64)[is_zero] == 7).all()
    assert is_zero.any() == (name == "zeros")
    # Ours keeps no fp32 absmax; those of bitsandbytes are the maxima that the codes were made with.
    assert torch.equal(state.absmax[~is_zero], weight.reshape(-1, 64).abs().amax(1)[~is_zero])


@pytest.mark.parametrize("name", matrices())
def test_double_quantization_is_nearest(name, ours):
    absmax = matrices()[name].reshape(-1, 64).abs().amax(1)
    offset = ours[name + ".offset"]
    assert abs(offset.item() - absmax.double().mean().item()) <= 1e-6 * offset.item()
    code = ours["signed"]
    centred = absmax - offset
    for block, start in enumerate(range(0, len(centred), 256)):
        part = centred[start:start + 256]
        assert ours[name + ".absmax2"][block] == part.abs().max()
        indices, _ = torch.ops.bitsandbytes.quantize_blockwise(part.double(), code, 256)
        mine = ours[name + ".absmax"][start:start + 256]
        assert (indices.int() - mine.int()).abs().max() <= 1
        # Where the two differ, the value lies within rounding of the midpoint between both entries.
        scaled = (part / part.abs().max())[indices != mine]
        midpoints = (code[indices[indices != mine].long()] + code[mine[indices != mine].long()]) / 2
        assert torch.allclose(scaled, midpoints, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", matrices())
def test_values_equal_bitsandbytes_from_the_same_state(name, ours):
    """bitsandbytes decodes our packed state: exactly our values, fp32 scales by two separate operations. As one row:
    its AVX-512 code takes the wrong scale where a row is shorter than a block."""
    count = matrices()[name].numel()
    packed = ours[name + ".codes"].view(-1, 1)
    nested = bitsandbytes.functional.QuantState(absmax=ours[name + ".absmax2"], blocksize=256, code=ours["signed"],
                                                dtype=torch.float32)
    levels = bitsandbytes.functional.get_4bit_type("nf4", device="cpu")
    state = bitsandbytes.functional.QuantState(
        absmax=ours[name + ".absmax"], shape=torch.Size((1, count)), dtype=torch.bfloat16, blocksize=64,
        quant_type="nf4", code=levels, offset=ours[name + ".offset"][0], state2=nested)
    theirs = bitsandbytes.functional.dequantize_4bit(packed, state)
    assert torch.equal(theirs.float().flatten(), ours[name + ".values"].flatten())


def test_dynamic_maps_equal_bitsandbytes(ours):
    for name, is_signed in (("signed", True), ("unsigned", False)):
        theirs = bitsandbytes.functional.create_dynamic_map(is_signed)
        ulps = (theirs.view(torch.int32) - ours[name].view(torch.int32)).abs().max().item()
        # bitsandbytes' own table depends on the machine: torch's linspace uses fused multiply-add with AVX2 only.
        has_fma = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
        assert ulps <= (0 if has_fma else 2)
