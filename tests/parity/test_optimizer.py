"""AdamW with 8-bit and 32-bit moments, element by element in NumPy: the update, the codes, and the guard for gradients of zero."""
import json

import numpy
import pytest
import torch
from numpy import float32
from parity_support import load_tensors, run_tool, save_file

STEPS, COUNT, BLOCK = 6, 856, 256  # the last block has 88 elements
LR, DECAY, SCALE, BETA1, BETA2, EPS = map(float32, (1e-3, 0.05, 0.5, 0.9, 0.999, 1e-8))
ZERO_M, ZERO_V = 127, 0  # the codes of +0 in the two maps


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.safetensors"
    run_tool("maps", path)
    return {name: values.numpy() for name, values in load_tensors(path).items()}


# A first gradient whose second moment is lost while the first one stays: its square is 0 in fp32, or its share of the block's maximum
# has the code of 0. Without the guard, momentum divided by eps moves such a parameter from then on.
SMALL = {8: float32(1e-4), 32: float32(1e-24)}


def gradients(bits):
    """Elements 0..99: never a gradient; 100..199: a small one in the first step; 200..299: in the first two steps; 512..767,
    a whole block: never; the others: always, of magnitudes far apart."""
    source = numpy.random.RandomState(4)
    steps = (source.randn(STEPS, COUNT) * 10.0 ** source.randint(-5, 2, (STEPS, COUNT))).astype(float32)
    steps[:, :100] = numpy.where(source.rand(STEPS, 100) < 0.5, float32(0), float32(-0.0))
    steps[0, 100:200], steps[1:, 100:200] = SMALL[bits], 0
    steps[2:, 200:300] = 0
    steps[:, 512:768] = 0
    return steps


def factors(step):
    c1 = float32(1) - float32(float(BETA1) ** step)
    c2 = numpy.sqrt(float32(1) - float32(float(BETA2) ** step))
    return -LR * c2 / c1, c2 * EPS


def moments(m, v, g, is_8bit):
    """Fresh moments. The two versions of bitsandbytes multiply in another order."""
    g = g * SCALE
    square = (float32(1) - BETA2) * g * g if is_8bit else (float32(1) - BETA2) * (g * g)
    return m * BETA1 + (float32(1) - BETA1) * g, v * BETA2 + square


def move(p, m, v, step, still):
    step_size, eps = factors(step)
    moved = numpy.where(still, p, p + step_size * (m / (numpy.sqrt(v) + eps)))
    return moved * (float32(1) - LR * DECAY)


def code_of(values, table):
    """The nearest entry; of two equally near ones the even; 0 for the NaN of a block of zeros."""
    middles = (table[:-1] + table[1:]) * float32(0.5)
    low = numpy.searchsorted(middles, values, side="left")
    tie = (low < len(middles)) & (middles[numpy.minimum(low, len(middles) - 1)] == values)
    return numpy.where(numpy.isnan(values), 0, numpy.where(tie & (low % 2 == 1), low + 1, low))


def signed_code_of(m, absmax, table):
    code = code_of(m / absmax, table)
    wrong = numpy.signbit(table[code]) != numpy.signbit(m)
    return numpy.where(wrong, numpy.where(m > 0, code + 1, code - 1), code)


def step_32(state, g, step, guard):
    m, v = moments(state["m"], state["v"], g, False)
    still = guard & (v == 0)
    m = numpy.where(still, float32(0), m)
    return {"p": move(state["p"], m, v, step, still), "m": m, "v": v}


def step_8(state, g, step, guard, maps):
    after = {name: value.copy() for name, value in state.items()}
    for block, first in enumerate(range(0, COUNT, BLOCK)):
        at = slice(first, min(first + BLOCK, COUNT))
        old_m = maps["signed"][state["m_codes"][at]] * state["m_absmax"][block]
        old_v = maps["unsigned"][state["v_codes"][at]] * state["v_absmax"][block]
        m, v = moments(old_m, old_v, g[at], True)
        still = guard & (v == 0)
        m = numpy.where(still, float32(0), m)
        after["p"][at] = move(state["p"][at], m, v, step, still)
        largest_m, largest_v = numpy.abs(m).max(), v.max()
        if at.stop - at.start < BLOCK:  # lanes past the end hold code 128 in bitsandbytes' kernel
            largest_m = max(largest_m, abs(maps["signed"][128] * state["m_absmax"][block] * BETA1))
        after["m_absmax"][block], after["v_absmax"][block] = largest_m, largest_v
        with numpy.errstate(invalid="ignore"):
            after["m_codes"][at] = numpy.where(still, ZERO_M, signed_code_of(m, largest_m, maps["signed"]))
            after["v_codes"][at] = numpy.where(still, ZERO_V, code_of(v / largest_v, maps["unsigned"]))
    return after


@pytest.mark.parametrize("guard", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("bits", [8, 32])
def test_steps_equal_numpy_to_the_bit(tmp_path, maps, bits, guard):
    source = numpy.random.RandomState(1)
    start = source.randn(COUNT).astype(float32)
    start[100:200] = 0  # so that the smallest update is seen
    steps = gradients(bits)
    save_file({"p": torch.from_numpy(start), **{f"g{i}": torch.from_numpy(g) for i, g in enumerate(steps, 1)}},
              tmp_path / "in.safetensors")
    (tmp_path / "job.json").write_text(json.dumps({"bits": bits, "guard": guard, "learning_rate": float(LR),
                                                   "weight_decay": float(DECAY), "scale": float(SCALE), "steps": STEPS}))
    run_tool("adam", tmp_path / "job.json", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    ours = load_tensors(tmp_path / "out.safetensors")
    blocks, nothing = -(-COUNT // BLOCK), numpy.zeros(COUNT, float32)
    state = {"p": start, "m": nothing, "v": nothing} if bits == 32 else {
        "p": start, "m_codes": numpy.zeros(COUNT, int), "v_codes": numpy.zeros(COUNT, int),
        "m_absmax": numpy.zeros(blocks, float32), "v_absmax": numpy.zeros(blocks, float32)}
    for step, g in enumerate(steps, 1):
        state = step_32(state, g, step, guard) if bits == 32 else step_8(state, g, step, guard, maps)
        for name, value in state.items():
            got = ours[f"{step}.{name}"].numpy()
            different = numpy.flatnonzero(got.view(numpy.uint8 if got.dtype == numpy.uint8 else numpy.uint32)
                                          != value.astype(got.dtype).view(numpy.uint8 if got.dtype == numpy.uint8 else numpy.uint32))
            assert different.size == 0, (step, name, different[:5], got[different[:5]], value[different[:5]])
        if step == 1:
            decayed = state["p"][:200]
        else:
            decayed = decayed * (float32(1) - LR * DECAY)
    still = state["p"][:200] == decayed
    if guard or bits == 32:  # the signed map has no code for -0: without the guard bitsandbytes' rule moves these as well
        assert still[:100].all(), "nothing moves what never had a gradient"
    assert still[100:].all() if guard else not still[100:].any()
    if guard and bits == 32:
        assert (state["p"][100:200] == 0).all()
    if guard and bits == 8:
        assert (ours[f"{STEPS}.m_codes"][:200] == ZERO_M).all() and (ours[f"{STEPS}.v_codes"][:200] == ZERO_V).all()
