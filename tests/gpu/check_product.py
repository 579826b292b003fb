#!/usr/bin/env python3
"""Whether the main loops of the NF4 product kernels can reach the rate that kernels/linear/nf4_product.cu derives, from their machine code.

  tests/gpu/check_product.py                    build/release/kernels_cuda, sm_86 and sm_89
  tests/gpu/check_product.py --objects FOLDER   another build

For 105 TFLOP/s on an RTX 3090 one tensor-core instruction (HMMA) has to be issued every 21.7 cycles of a quarter of a multiprocessor. With
half of its issue slots used, HMMA is at least 9.2 % of all instructions; with half of the bandwidth of shared memory used, an HMMA comes
with at most 2.7 cycles of it: 4 for an LDSM.x4, 1 for an LDS. Every instruction of the loop counts, those of a branch that is rarely taken
too. Exit 1: a kernel misses one of them, there is no cuobjdump, or nothing was built.
"""
import argparse
import collections
import pathlib
import sys

from count_instructions import ROOT, disassemble, find_cuobjdump, has, loops_of, without_padding

INNER_TURNS = 2  # of the loops within a step: kTileK / 32
MIN_SHARE = 0.092
MAX_SHARED_CYCLES = 2.7
HMMA_OF_STEP = 128  # 64 x 64 x 64 of a warp


def counts_of(instructions, loops, outer):
    """{class: executed in one turn of the loop `outer`}."""
    first, last = outer
    inner = [loop for loop in loops if loop != outer and first <= loop[0] and loop[1] <= last and has(instructions[loop[0]:loop[1] + 1], "HMMA")]
    counts = collections.Counter()
    for i in range(first, last + 1):
        counts[instructions[i].kind] += INNER_TURNS if any(a <= i <= b for a, b in inner) else 1
    return counts


def main_loop(instructions):
    """Counts of the loop over the steps of a tile: the one with the most products, and of those the one that looks up levels."""
    loops = loops_of(instructions)
    return max((counts_of(instructions, loops, loop) for loop in loops), key=lambda counts: (counts["HMMA"], counts["LDS"]))


def check(kernel, architecture, instructions):
    counts = main_loop(without_padding(instructions))
    total, products = sum(counts.values()), counts["HMMA"]
    if products != HMMA_OF_STEP:
        print(f"{kernel} {architecture}: {products} HMMA in a step, {HMMA_OF_STEP} were expected: the loop was not recognized")
        return False
    share, cycles = products / total, (4 * counts["LDSM"] + counts["LDS"]) / products
    good = share >= MIN_SHARE and cycles <= MAX_SHARED_CYCLES
    print(f"{kernel:<40} {architecture}: {total} instructions a step, HMMA {share:.1%} (at least {MIN_SHARE:.1%}), LDSM "
          f"{counts['LDSM'] / products:.3f} and LDS {counts['LDS'] / products:.3f} an HMMA, {cycles:.2f} cycles of shared memory "
          f"(at most {MAX_SHARED_CYCLES})" + ("" if good else "  MISSES"))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=pathlib.Path, default=ROOT / "build/release/kernels_cuda")
    parser.add_argument("--arch", nargs="+", default=["sm_86", "sm_89"])
    options = parser.parse_args()
    cuobjdump, built = find_cuobjdump(), options.objects / "nf4_product.o"
    if not cuobjdump or not built.exists():
        print(f"check_product: {'no cuobjdump' if not cuobjdump else f'{built} was not built'}")
        return 1
    good = True
    for architecture in options.arch:
        for kernel, instructions in sorted(disassemble(built, architecture, cuobjdump).items()):
            if kernel.startswith("nf4_product"):
                good = check(kernel, architecture, instructions) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
