#!/usr/bin/env python3
"""Whether the NF4 kernel trains as cuBLASLt's products do: the losses of a recipe by both, beside those of another seed.

  tests/gpu/loss_curves.py                       the stages of configs/quickstart on the emulated device; needs the quick start's model
                                                 and data in build/quickstart (scripts/quickstart.sh) and shori-train-emulated
  tests/gpu/loss_curves.py --steps 6             only so many steps of each stage
  tests/gpu/loss_curves.py --device cuda --program build/release/bin/shori-train      on a GPU

Three runs, side by side on the emulated device: `matmul: cublaslt` with two seeds, and `matmul: nf4` with the first of them. The curve
of the kernel has to stay within the spread of the two seeds: the largest distance of a step's loss from the library's is at most a
quarter of the largest distance between the seeds. Exit 1 if it does not. On the emulated device this says nothing about a card's speed.
"""
import argparse
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = 0.25  # of the spread of the seeds


def train(options, out, matmul, seed):
    """Losses of each step by stage."""
    # Evaluations would take a third of the time and change nothing.
    settings = ["test_datasets=[]", f"output_dir={out}", f"device={options.device}", f"matmul={matmul}", f"seed={seed}",
                "save_steps=1000000", *options.set]
    if options.steps:
        settings.append(f"max_steps={options.steps}")
    command = [str(options.program), str(options.config), *(["--only", options.only] if options.only else []), "--set", *settings]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"loss_curves: {' '.join(command)}\n{result.stderr[-3000:]}")
    curves = {}
    for metrics in sorted(out.glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        curves[metrics.parent.name] = [line["loss"] for line in lines if line["type"] == "step"]
    if matmul == "nf4" and not re.search(r'"algorithm": "nf4"', next(out.glob("*/run.json")).read_text()):
        sys.exit("loss_curves: the kernel was not used")
    return curves


def distance(one, other):
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def compare(curves):
    """Prints a line a stage; true if every curve of the kernel is within the spread of the seeds."""
    good = True
    print(f"{'stage':<10}{'steps':>6}{'first loss':>12}{'last loss':>12}{'seeds apart':>13}{'kernel apart':>14}{'of the spread':>15}")
    for stage, library in curves["library"].items():
        spread, apart = distance(library, curves["seed"][stage]), distance(library, curves["kernel"][stage])
        good = good and apart <= ALLOWED * spread
        print(f"{stage:<10}{len(library):>6}{library[0]:>12.4f}{library[-1]:>12.4f}{spread:>13.4f}{apart:>14.5f}{apart / spread:>14.1%}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/bin/shori-train-emulated")
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs/quickstart/quickstart.yaml")
    parser.add_argument("--device", default="emulated")
    parser.add_argument("--only", help="one stage")
    parser.add_argument("--steps", type=int, help="of each stage")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="further keys of all three runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        runs = {"library": ("cublaslt", 42), "seed": ("cublaslt", 43), "kernel": ("nf4", 42)}
        with concurrent.futures.ThreadPoolExecutor(3 if options.device == "emulated" else 1) as pool:
            started = {name: pool.submit(train, options, out / name, *run) for name, run in runs.items()}
            curves = {name: run.result() for name, run in started.items()}
        return 0 if compare(curves) else 1


if __name__ == "__main__":
    sys.exit(main())
