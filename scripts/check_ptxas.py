#!/usr/bin/env python3
"""Compares what ptxas reports about each kernel with the figures recorded in kernels/ptxas_limits.txt.

  scripts/check_ptxas.py                     the reports of build/release
  scripts/check_ptxas.py --reports FOLDER    those of another build (<build>/kernels_cuda)
  scripts/check_ptxas.py --update            records the figures of the reports

No kernel may spill registers to memory. Registers and static shared memory of a kernel may be less than recorded, but not more. A
kernel without a row, or a row without a kernel, is an error. The figures belong to one release of nvcc; with another release only
spills are checked. Prints one line per finding, exit 1 if there is one.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMITS = ROOT / "kernels/ptxas_limits.txt"
ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(sm_\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
HEAD = """\
# Limits of each kernel by GPU architecture, "registers per thread/bytes of static shared memory per block". Written by
# scripts/check_ptxas.py --update; without --update it checks a build. Lower is better; a figure that rises is a decision.
"""


def read_report(path):
    """{(mangled name, architecture): {"registers", "shared", "stack", "spill"}} of one kernel file."""
    found, current = {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := ENTRY.search(line):
            current = found.setdefault(match.groups(), {"registers": None, "shared": 0, "stack": 0, "spill": 0})
        elif current is not None and (match := FRAME.search(line)):
            current["stack"], current["spill"] = int(match[1]), int(match[2]) + int(match[3])
        elif current is not None and (match := USED.search(line)):
            current["registers"] = int(match[1])
            current["shared"] = int(shared[1]) if (shared := SHARED.search(line)) else 0
            current = None
    return found


def short_names(mangled):
    """{mangled: "rms_norm_kernel<4>"}: without result, namespaces and parameters."""
    mangled = sorted(mangled)
    plain = subprocess.run(["c++filt", "-p"], input="\n".join(mangled), capture_output=True, text=True, check=True).stdout
    names = {}
    for symbol, text in zip(mangled, plain.splitlines()):
        text = text.replace("(anonymous namespace)::", "").replace("shori::", "")
        names[symbol] = re.sub(r"^void ", "", text).replace(" ", "")
    if len(set(names.values())) != len(names):
        raise SystemExit("check_ptxas: two kernels of one file have the same name")
    return names


def read_reports(folder):
    """{"rms_norm.cu rms_norm_kernel<4>": {architecture: figures}}"""
    kernels = {}
    sources = {path.stem for path in (ROOT / "kernels").rglob("*.cu")}
    for path in sorted(folder.glob("*.ptxas")):
        if path.stem not in sources:
            continue  # the kernel file was deleted
        figures = read_report(path)
        names = short_names({symbol for symbol, _ in figures})
        for (symbol, architecture), values in figures.items():
            kernels.setdefault(f"{path.stem}.cu {names[symbol]}", {})[architecture] = values
    return kernels, sorted(sources - {path.stem for path in folder.glob("*.ptxas")})


def read_limits(path):
    """(nvcc release, {kernel: {architecture: (registers, shared)}})"""
    release, architectures, limits = "", [], {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        words = line.split()
        if not words or words[0] == "#":
            continue
        if words[0] == "nvcc":
            release, architectures = words[1], words[2:]
        else:
            values = [tuple(map(int, word.split("/"))) for word in words[2:]]
            limits[" ".join(words[:2])] = dict(zip(architectures, values))
    return release, limits


def nvcc_release(nvcc):
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V([\d.]+)", text)[1]


def by_number(architecture):
    return int(re.sub(r"\D", "", architecture))


def check(kernels, limits, compare):
    problems = []
    for kernel, figures in sorted(kernels.items()):
        recorded = limits.get(kernel)
        if compare and recorded is None:
            problems.append(f"{kernel}: has no row in {LIMITS.name}")
        for architecture, values in sorted(figures.items()):
            subject = f"{kernel} {architecture}"
            if values["spill"]:
                problems.append(f"{subject}: {values['spill']} bytes of registers spilled to memory")
            limit = recorded.get(architecture) if recorded else None
            if not compare or limit is None:
                continue
            for name, value, maximum in zip(("registers", "bytes of shared memory"), (values["registers"], values["shared"]), limit):
                if value > maximum:
                    problems.append(f"{subject}: {value} {name}, recorded {maximum}")
    if compare:
        problems += [f"{kernel}: is recorded, but no such kernel was compiled" for kernel in sorted(set(limits) - set(kernels))]
    return problems


def write_limits(path, release, kernels):
    architectures = sorted({name for figures in kernels.values() for name in figures}, key=by_number)
    rows = [[kernel] + [f"{figures[name]['registers']}/{figures[name]['shared']}" for name in architectures]
            for kernel, figures in sorted(kernels.items())]
    head = ["nvcc " + release] + architectures
    widths = [max(len(row[column]) for row in [head] + rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [head] + rows]
    path.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path, default=ROOT / "build/release/kernels_cuda")
    parser.add_argument("--limits", type=Path, default=LIMITS)
    parser.add_argument("--nvcc", default="nvcc")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    kernels, missing = read_reports(options.reports)
    if missing or not kernels:
        print(f"check_ptxas: no report of {', '.join(missing) or 'any kernel'} in {options.reports}; build kernels_cuda first")
        return 1
    release = nvcc_release(options.nvcc)
    if options.update:
        write_limits(options.limits, release, kernels)
        print(f"check_ptxas: {len(kernels)} kernels recorded")
        return 0
    recorded_release, limits = read_limits(options.limits)
    compare = release == recorded_release
    if not compare:
        print(f"check_ptxas: nvcc {release}, recorded for {recorded_release or 'none'}: only spills are checked")
    problems = check(kernels, limits, compare)
    for problem in problems:
        print(problem)
    print(f"check_ptxas: {len(kernels)} kernels, {sum(map(len, kernels.values()))} reports, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
