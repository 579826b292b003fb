#!/usr/bin/env python3
"""Counts the machine instructions of kernels, from `cuobjdump -sass` of their object files.

  tests/gpu/count_instructions.py                        the kernels of LIMITS, in build/release/kernels_cuda
  tests/gpu/count_instructions.py --objects FOLDER       those of another build, *.o or *.cubin
  tests/gpu/count_instructions.py --show swiglu_backward every loop of the kernels with this text in their name, by class
  tests/gpu/count_instructions.py --show lora_down --arch sm_90

Without a GPU this is the measure of a kernel that is limited by the issue of instructions. A loop is the range from the target of a
backward branch to the branch. Every instruction of a range counts, those of a branch that is rarely taken too. Exit 1: a kernel has more
instructions an element than its limit, there is no cuobjdump, or nothing was built.
"""
import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from check_ptxas import short_names  # noqa: E402

FUNCTION = re.compile(r"^\s*Function : (\S+)")
# "        /*0010*/                   @!P0 LDG.E.128 R4, [R2.64] ;      /* 0x... */"
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)([^;]*);")
CLASSES = {"HMMA": "HMMA", "LDSM": "LDSM", "LDS": "LDS", "STS": "STS", "LDG": "LDG", "STG": "STG", "LDGSTS": "LDGSTS", "MUFU": "MUFU",
           "FADD": "fp32", "FMUL": "fp32", "FFMA": "fp32", "FMNMX": "fp32", "FSEL": "fp32", "FSETP": "fp32", "HFMA2": "fp16",
           "HADD2": "fp16", "HMUL2": "fp16", "F2F": "convert", "F2FP": "convert", "I2F": "convert", "SHFL": "shuffle", "BAR": "barrier",
           "BRA": "branch", "CALL": "branch", "EXIT": "branch", "BSSY": "branch", "BSYNC": "branch", "NOP": "NOP"}


class Instruction:
    def __init__(self, address, opcode, operands):
        self.address, self.opcode = address, opcode
        self.operands = re.split(r"\s[&?]", operands)[0]  # for sm_120 the scheduling fields follow
        # the target of a branch within the kernel
        target = re.search(r"0x([0-9a-f]+)\s*$", self.operands) if opcode.split(".")[0] == "BRA" else None
        self.target = int(target[1], 16) if target else None

    @property
    def kind(self):
        """HMMA, LDSM, LDG, ...; "fp32" and "integer" for arithmetic."""
        return CLASSES.get(self.opcode.split(".")[0], "integer")


def find_cuobjdump():
    """cuobjdump of PATH or of nvcc, else the one in the wheel of triton, which the tests' torch brings. It calls nvdisasm beside it."""
    found = shutil.which("cuobjdump") or next(iter(map(str, pathlib.Path("/usr/local/cuda/bin").glob("cuobjdump"))), None)
    if not found:
        for folder in map(pathlib.Path, sys.path):
            tool = folder / "triton/backends/nvidia/bin/cuobjdump"
            if tool.exists():
                return str(tool)
    return found


def read_sass(text):
    """{mangled name: [Instruction]} of what cuobjdump printed."""
    kernels, current = {}, None
    for line in text.splitlines():
        if found := FUNCTION.match(line):
            current = kernels.setdefault(found[1], [])
        elif current is not None and (found := INSTRUCTION.match(line)):
            current.append(Instruction(int(found[1], 16), found[3], found[4]))
    return kernels


def disassemble(path, architecture, cuobjdump):
    """{"swiglu_backward_kernel<2>": [Instruction]} of an object file."""
    tool = pathlib.Path(cuobjdump)
    result = subprocess.run([str(tool), "-arch", architecture, "-sass", str(path)], capture_output=True, text=True, check=False,
                            env={"PATH": f"{tool.parent}:/usr/bin:/bin"})
    kernels = read_sass(result.stdout)
    if not kernels:
        sys.exit(f"count_instructions: {path.name} holds no code for {architecture}: {result.stderr.strip()[:200]}")
    names = short_names(kernels)
    return {names[symbol]: instructions for symbol, instructions in kernels.items()}


def without_padding(instructions):
    """Up to the last EXIT; a branch to itself and NOPs follow, and slow paths that are called."""
    last = max(i for i, instruction in enumerate(instructions) if instruction.opcode.startswith("EXIT"))
    return instructions[:last + 1]


def loops_of(instructions):
    """(first, last) of every loop as indexes, outer loops before those within them."""
    index = {instruction.address: i for i, instruction in enumerate(instructions)}
    found = {}
    for i, instruction in enumerate(instructions):
        first = index.get(instruction.target)
        if first is not None and first < i:
            found[first] = max(i, found.get(first, i))  # two branches back to one target are one loop
    return sorted(found.items(), key=lambda loop: (loop[0], -loop[1]))


def by_class(instructions):
    return collections.Counter(instruction.kind for instruction in instructions)


def main_loop(instructions, kind="HMMA"):
    """The instructions of the loop with the most of `kind`, without those around it."""
    best = (0, 0, [])
    for first, last in loops_of(instructions):
        body = instructions[first:last + 1]
        best = max(best, (by_class(body)[kind], -len(body), body), key=lambda loop: loop[:2])
    return best[2]


def executed(instructions, turns):
    """Instructions that a thread executes if a loop, a range (first, last), goes through `turns(body)` times; an estimate from above."""
    weights = [1] * len(instructions)
    for first, last in loops_of(instructions):
        times = turns(instructions[first:last + 1])
        for i in range(first, last + 1):
            weights[i] *= times
    return sum(weights)


def has(body, kind):
    return any(instruction.kind == kind for instruction in body)


def per_element(elements, turns):
    """All instructions of a thread over its elements. A loop goes through as many turns as `turns` says of the first kind of instruction
    that it has, else through one."""
    def turns_of(body):
        return next((times for kind, times in turns.items() if has(body, kind)), 1)

    def count(instructions):
        return executed(instructions, turns_of) / elements
    return count


def per_element_of_main_loop(elements, turns):
    """One turn of the main loop over the elements that a thread takes in it; loops within it as above."""
    inner = per_element(elements, turns)

    def count(instructions):
        return inner(main_loop(instructions)[:-1])  # without the branch back
    return count


# (kernel, how it is counted, instructions an element at most, those of architectures with another limit). The shapes are those of
# Mistral-7B with rank 20: one module for swiglu_backward, three (q, k, v) for the others. Of 8 x 64 elements of a warp a lane has 16.
#
# The limit of lora_grad is its count of today, so that it does not rise, and no goal, because little is to be gained. Its arithmetic needs
# about 37 an element: for the 16 of a lane 6 x 64 to draw masks (40 of them Philox), 6 x 24 to apply them, and 68 for HMMA, LDSM, LDS and
# copies. What is above are addresses and bounds. Only q, k and v share a launch of three modules: 2.1e9 elements a step of 16,384 tokens,
# at 70 % of the issue slots 12 ms of 11.7 s on a 3090 and 8 ms of 1.04 s on an H200. With 37 instructions a step would take 0.05 % and 0.4 %
# less. sm_120 keeps a loop over the two steps of 16 tokens, which is counted as three turns, as the loop over modules within it is.
LIMITS = [
    ("swiglu_backward.cu swiglu_backward_kernel<3>", per_element(8 * 16, {"HMMA": 8, "STS": 8}), 40, {}),
    ("rms_norm_backward.cu rms_norm_backward_kernel<3>", per_element(4 * 16, {"HMMA": 3, "STS": 2}), 50, {}),
    ("lora_down.cu lora_down_kernel<3,3>", per_element_of_main_loop(16, {}), 38, {}),
    ("lora_grad.cu lora_grad_kernel<3,3>", per_element_of_main_loop(16, {"STS": 3}), 68, {"sm_90": 73, "sm_120": 89}),
]
ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_120")


def check(objects, architectures, cuobjdump):
    problems = 0
    for name, count, usual, others in LIMITS:
        file, kernel = name.split()
        path = next((path for path in sorted(objects.glob(f"{file.removesuffix('.cu')}.*")) if path.suffix in (".o", ".cubin")), None)
        if path is None:
            print(f"count_instructions: {file} was not built in {objects}")
            return 1
        values = {architecture: count(without_padding(disassemble(path, architecture, cuobjdump)[kernel]))
                  for architecture in architectures}
        for architecture, value in values.items():
            limit = others.get(architecture, usual)
            problems += value > limit
            verdict = ": TOO MANY" if value > limit else ""
            print(f"{name} {architecture}: {value:.1f} instructions an element, at most {limit}{verdict}")
    return 1 if problems else 0


def show(objects, architecture, cuobjdump, text):
    for path in sorted(path for path in objects.iterdir() if path.suffix in (".o", ".cubin") and text in path.name):
        for kernel, instructions in sorted(disassemble(path, architecture, cuobjdump).items()):
            instructions = without_padding(instructions)
            print(f"{path.stem} {kernel} {architecture}: {len(instructions)} instructions, {dict(by_class(instructions).most_common())}")
            for first, last in loops_of(instructions):
                body = instructions[first:last + 1]
                print(f"  loop 0x{body[0].address:x}: {len(body)} instructions, {dict(by_class(body).most_common())}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=pathlib.Path, default=ROOT / "build/release/kernels_cuda")
    parser.add_argument("--arch", choices=ARCHITECTURES, action="append", help="default: all, with --show sm_86")
    parser.add_argument("--show", metavar="TEXT")
    options = parser.parse_args()
    cuobjdump = find_cuobjdump()
    if not cuobjdump or not options.objects.is_dir():
        print(f"count_instructions: {'no cuobjdump' if not cuobjdump else f'nothing was built in {options.objects}'}")
        return 1
    if options.show:
        for architecture in options.arch or ["sm_86"]:
            show(options.objects, architecture, cuobjdump, options.show)
        return 0
    return check(options.objects, options.arch or ARCHITECTURES, cuobjdump)


if __name__ == "__main__":
    sys.exit(main())
