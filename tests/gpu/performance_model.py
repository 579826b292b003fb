#!/usr/bin/env python3
"""Bound and expected time of one training step of Mistral-7B, op by op, from the plan of a card.

  tests/gpu/performance_model.py                              P1, P2 and P3 on a 3090 and an H200
  tests/gpu/performance_model.py --card 3090 --packs P2
  tests/gpu/performance_model.py --card H200 --plan FILE      FILE: what `shori-train --plan` printed; which layers it saves

Nothing here is measured. The bound is work over the card's peak. The expected time is work over assumed rates: those of libraries from
published figures, those of our kernels from their instruction counts (count_instructions.py): 70 % of the issue slots, or the memory.
The first run on a card says where the assumptions are wrong: `gpu_suite.sh --parts smoke` prints the same ops.
P1 is one sample of 16,384 tokens, P2 eight of 2,048, P3 a realistic mix.
"""
import argparse
import heapq
import json
import pathlib
import re
import sys

T, C, KV, F, V, RANK, LAYERS, HEADS, HEAD_CHUNKS = 16384, 4096, 1024, 14336, 32000, 20, 32, 32, 8
NF4 = 0.5 + 1 / 64 + 4 / 16384  # bytes a weight
PACKS = {"P1": [16384], "P2": [2048] * 8, "P3": [5200, 3100, 2400, 1900, 1500, 900, 700, 380, 160, 90]}
GAP = 2e-6  # between two kernels


class Card:
    """Peaks in FLOP/s and bytes/s; rates that are expected of libraries; share of the memory's peak that our kernels reach."""

    def __init__(self, sms, key_tile, flops, bandwidth, plan, gemm, gemm_dx, attention, attention_backward, shares):
        self.sms, self.key_tile = sms, key_tile  # keys of a block of FlashAttention's backward kernel, by its shared memory
        self.flops, self.bandwidth, self.plan = flops, bandwidth, plan
        self.gemm, self.gemm_dx, self.attention, self.attention_backward = gemm, gemm_dx, attention, attention_backward
        self.shares = shares


CARDS = {
    "3090": Card(82, 64, 71e12, 936e9, {"whole": 3, "attention": 29, "once": True, "tile": 4096}, 62e12, 62e12, 50e12, 42e12,
                 {"dequantize": 0.80, "rows": 0.82, "rope": 0.74, "lora_down": 0.80, "lora_grad_a": 0.64, "lora_grad_b": 0.70,
                  "swiglu_backward": 0.82, "rms_norm_backward": 0.70, "adam": 0.49}),
    "H200": Card(132, 128, 790e12, 4800e9, {"whole": 32, "attention": 0, "once": True, "tile": 16384}, 690e12, 640e12, 380e12, 310e12,
                 {"dequantize": 0.70, "rows": 0.68, "rope": 0.61, "lora_down": 0.46, "lora_grad_a": 0.27, "lora_grad_b": 0.335,
                  "swiglu_backward": 0.68, "rms_norm_backward": 0.40, "adam": 0.17})}


def fused(columns, modules):
    """Columns of [x | xA], which are a multiple of 32."""
    return columns + -(-modules * RANK // 32) * 32


# name: columns in, fused columns in, columns out
GROUPS = {"qkv": (C, fused(C, 3), C + 2 * KV), "o": (C, fused(C, 1), C), "gate_up": (C, fused(C, 2), 2 * F), "down": (F, fused(F, 1), C)}
MODULES = {"qkv": 3, "o": 1, "gate_up": 2, "down": 1}
RECOMPUTED = ("qkv", "gate_up")  # of a layer that keeps its attention


def gemm_flop(names):
    return sum(2 * T * GROUPS[name][1] * GROUPS[name][2] for name in names)


def tiles_of(plan):
    return -(-T // plan["tile"])


def calls_of(plan, name):
    """In a pass of a layer: the MLP runs in tiles of tokens."""
    return tiles_of(plan) if name in ("gate_up", "down") else 1


def dequantized_bytes(name):
    """Codes read and the fused weight written."""
    columns, with_lora, out = GROUPS[name]
    return columns * out * NF4 + with_lora * out * 2


def launches(plan, names, each=1):
    return sum(calls_of(plan, name) * each for name in names)


def decodings(plan):
    """(group, how often it is decoded in a step): for each product, or once in each pass of a layer, of which recomputing is a part."""
    if plan["once"]:
        return [(name, 2 * LAYERS) for name in GROUPS]
    again = LAYERS - plan["whole"] - plan["attention"]
    recomputed = {"qkv": plan["attention"] + again, "o": again, "gate_up": plan["attention"] + again, "down": 0}
    return [(name, (2 * LAYERS + recomputed[name]) * calls_of(plan, name)) for name in GROUPS]


def input_bytes(names):
    return sum(T * GROUPS[name][0] * 2 for name in names)


def mask_bytes(names):
    """Dropout masks as bits, which lora_grad_a writes and the reader of the input's gradient reads."""
    return sum(T * GROUPS[name][0] * MODULES[name] / 8 for name in names)


def splits_of(card, samples, heads):
    return -(-card.sms // (samples * heads))


def busy_share(card, lengths, heads, splits=None):
    """Share of the multiprocessors that the deterministic backward kernel of FlashAttention-2 keeps busy: one block of each (split, sample,
    head), one block a multiprocessor, in the order of their numbers. A block takes every splits-th tile of keys of its sample."""
    splits = splits or splits_of(card, len(lengths), heads)
    free = [0.0] * card.sms
    total = 0.0
    for _ in range(heads):
        for length in lengths:
            tiles = -(-length // card.key_tile)
            for split in range(splits):
                work = sum(max(length - card.key_tile * tile, 64) / 64 + 1 for tile in range(split, tiles, splits))
                total += work
                heapq.heappush(free, heapq.heappop(free) + work)
    return total / (card.sms * max(free))


def heads_of_a_call(card, lengths):
    """What kernels/attention/head_groups.cpp chooses for these packs: two or four heads where one sample fills the pack."""
    return HEADS if len(lengths) > 1 else {82: 2, 132: 4}[card.sms]


def ops_of(card, plan, lengths, all_heads):
    """(name, FLOP, bytes, FLOP/s or share of the memory's peak that is expected, launches) of every op of a step."""
    whole, kept = plan["whole"], plan["attention"]
    again = LAYERS - whole - kept  # layers that recompute all
    every, most, tiles = list(GROUPS), ["qkv", "o", "gate_up"], tiles_of(plan)
    recomputed = kept * gemm_flop(RECOMPUTED) + again * gemm_flop(most)
    recomputed_launches = kept * launches(plan, RECOMPUTED) + again * launches(plan, most)
    pairs = sum(length * length / 2 for length in lengths)
    attention = 4 * pairs * C
    heads = HEADS if all_heads else heads_of_a_call(card, lengths)
    splits = splits_of(card, len(lengths), heads)
    rate = card.attention_backward * busy_share(card, lengths, heads)
    share, rows, layers = card.shares, T * C * 2, LAYERS
    again_inputs = kept * input_bytes(["qkv", "gate_up", "down"]) + again * input_bytes(every)
    dequantized = sum(count * dequantized_bytes(name) for name, count in decodings(plan))
    dequantizations = sum(count * MODULES[name] for name, count in decodings(plan))
    return [
        ("GEMM forward", layers * gemm_flop(every), 0, card.gemm, layers * launches(plan, every)),
        ("GEMM recompute", recomputed, 0, card.gemm, recomputed_launches),
        ("GEMM dx", layers * gemm_flop(every), 0, card.gemm_dx, layers * launches(plan, every)),
        ("head GEMMs (2)", 2 * 2 * T * V * C, 0, card.gemm, 2 * HEAD_CHUNKS),
        ("NF4 dequantize", 0, dequantized, share["dequantize"], dequantizations),
        ("attention forward (FA2)", (layers + again) * attention, 0, card.attention, layers + again),
        ("attention backward (FA2, determ.)", 2.5 * layers * attention, 0, rate, 4 * layers * HEADS // heads),
        ("  its fills, converts, GQA sums", 0, layers * (7 * rows + 4 * rows * splits), share["rows"], 5 * layers * HEADS // heads),
        ("  copies in/out, input_gradient", 0, layers * (9 * rows + mask_bytes(["o"])), share["rows"], 7 * layers),
        ("lora_down", 0, layers * input_bytes(every) + again_inputs, share["lora_down"],
         (layers + again) * launches(plan, every, 2) + kept * launches(plan, ["qkv", "gate_up", "down"], 2)),
        ("lora_grad_a", 0, layers * (input_bytes(every) + mask_bytes(every)), share["lora_grad_a"], layers * launches(plan, every, 2)),
        ("lora_grad_b", 0, layers * sum(T * GROUPS[name][2] * 2 for name in every), share["lora_grad_b"], layers * launches(plan, every, 2)),
        ("swiglu_backward + LoRA", 0, layers * (5 * T * F * 2 + mask_bytes(["down"])), share["swiglu_backward"], layers * tiles),
        ("rms_norm_backward + LoRA", 0, layers * (8 * rows + mask_bytes(["qkv", "gate_up"])), share["rms_norm_backward"], layers * (1 + tiles)),
        ("rms_norm", 0, layers * 12 * rows, share["rows"], layers * 2 * (1 + tiles)),
        ("swiglu", 0, layers * 6 * T * F * 2, share["rows"], layers * 2 * tiles),
        ("rope", 0, (2 * layers + kept + again) * 2 * T * (C + KV) * 2, share["rope"], 3 * layers),
        ("softmax, loss", 0, 3 * T * V * 2, share["rows"], HEAD_CHUNKS),
        ("AdamW, norm, zeroing", 0, 1.6e9, share["adam"], 6)]


def step_of(card, plan, lengths, all_heads):
    """Rows (name, TFLOP, GB, bound ms, expected ms, launches), the gaps between kernels as the last one."""
    rows = []
    for name, flop, size, rate, count in ops_of(card, plan, lengths, all_heads):
        bound = flop / card.flops + size / card.bandwidth
        expected = flop / rate if flop else size / (card.bandwidth * rate)
        rows.append((name, flop / 1e12, size / 1e9, 1e3 * bound, 1e3 * expected, count))
    total = sum(row[5] for row in rows)
    return [*rows, ("gaps between kernels (2 us each)", 0, 0, 0, 1e3 * GAP * total, total)]


def print_step(name, packs, card, plan, rows):
    print(f"{name} {packs}: keeps {plan['whole']} layers whole, {plan['attention']} with attention kept; expected, not measured")
    print(f"frozen weights decoded {'once in a pass of a layer' if plan['once'] else 'for each product'}, MLP in tiles of {plan['tile']} tokens")
    print(f"{'op':<36}{'TFLOP':>9}{'GB':>8}{'bound ms':>10}{'exp. ms':>10}{'lost ms':>10}{'launches':>10}")
    for op, flop, size, bound, expected, count in rows:
        print(f"{op:<36}{flop:>9.1f}{size:>8.1f}{bound:>10.1f}{expected:>10.1f}{expected - bound:>10.1f}{count:>10}")
    seconds = sum(row[4] for row in rows) / 1e3
    flop = sum(row[1] for row in rows)
    print(f"{'step':<36}{flop:>9.1f}{'':>8}{'':>10}{1e3 * seconds:>10.1f}   -> {T / seconds:.0f} tokens/s, {flop / seconds:.0f} TFLOP/s\n")


def read_plan(text):
    """What the lines "backward pass: 3 layers kept whole, ..." and "frozen weights: decoded once ..., MLP in tiles of ..." say."""
    line = re.search(r"backward pass: (.*)", text)
    if not line:
        sys.exit("performance_model: the plan has no line `backward pass:`; give it what `shori-train --plan` prints")

    def count(words):
        found = re.search(rf"(\d+) layers? {words}", line[1])
        return int(found[1]) if found else 0
    plan = {"whole": count("kept whole"), "attention": count("with the attention kept")}
    if plan["whole"] + plan["attention"] + count("recomputed") != LAYERS:
        sys.exit(f"performance_model: the plan is not one of {LAYERS} layers: {line[1]}")
    weights = re.search(r"frozen weights: decoded (once|for each product).*, MLP in tiles of ([\d,]+) tokens", text)
    if not weights:
        sys.exit("performance_model: the plan has no line `frozen weights: decoded once ...` or `... for each product ...`; give it what "
                 "`shori-train --plan` prints of products by cuBLASLt")
    return {**plan, "once": weights[1] == "once", "tile": int(weights[2].replace(",", ""))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", choices=CARDS, action="append")
    parser.add_argument("--packs", choices=PACKS, action="append")
    parser.add_argument("--plan", type=pathlib.Path, help="of one --card")
    parser.add_argument("--all-heads", action="store_true", help="as if attention backward took all heads in one call")
    parser.add_argument("--decode-each", action="store_true", help="as if the weights were decoded for each product")
    parser.add_argument("--json", action="store_true", help="seconds of a step by card and packs")
    options = parser.parse_args()
    if options.plan and len(options.card or []) != 1:
        parser.error("--plan goes with one --card")
    seconds = {}
    for name in options.card or CARDS:
        card = CARDS[name]
        plan = read_plan(options.plan.read_text()) if options.plan else dict(card.plan)
        if options.decode_each:
            plan["once"] = False
        for packs in options.packs or PACKS:
            rows = step_of(card, plan, PACKS[packs], options.all_heads)
            if not options.json:
                print_step(name, packs, card, plan, rows)
            seconds[f"{name} {packs}"] = round(sum(row[4] for row in rows) / 1e3, 3)
    if options.json:
        print(json.dumps(seconds))


if __name__ == "__main__":
    main()
