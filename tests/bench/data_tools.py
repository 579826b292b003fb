#!/usr/bin/env python3
"""What the commands of shori-data cost: time and memory of check and stats on 18 MB, and how check grows with the data.

  build/deps/venv/bin/python tests/bench/data_tools.py
  build/deps/venv/bin/python tests/bench/data_tools.py --megabytes 1 --rounds 1        (a short try)

The corpus of 18 MB is that of data_against_tokenizers.py. `check` parses, lints, encodes and looks for copies; without a
tokenizer it does all but the encoding. For growth, two corpora of random words are made, one ten times the other, in which every
conversation holds the same passage of 40 words and every hundredth is a near copy of the one before. The search for copies
alone is `shori_bench --benchmark_filter=find_copies`. Every measurement is a process of its own; medians of the rounds.
Memory is the most that the process held.
"""
import argparse
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

import bench_report
from data_against_tokenizers import CORPUS, make_corpus

HOME = bench_report.WORK / "data_tools"
WORDS = [first + second for first in ("ba", "co", "di", "fu", "ga", "le", "mo", "ni", "pe", "ru", "sa", "ti")
         for second in ("ran", "lis", "mok", "der", "fen", "gal", "hup", "jot", "kin", "lor", "mas", "nev")]


def make_growth(folder, megabytes):
    """One .blockml file a conversation, of about 6 KB."""
    source, size, number, before = random.Random(3), 0, 0, None
    passage = " ".join(source.choice(WORDS) for _ in range(40))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    while size < megabytes * 1_000_000:
        bodies = [" ".join(source.choice(WORDS) for _ in range(100)) for _ in range(8)]
        if before is not None and number % 100 == 0:
            bodies = [before[0] + " changed", *before[1:]]
        text = "".join(f"▀message\nAya: {body}▄\n" for body in [passage, *bodies])
        (folder / f"{number:06}.blockml").write_text(text, encoding="utf-8")
        before, size, number = bodies, size + len(text.encode()), number + 1
    return number


def run_once(program, tokenizer, *args):
    environment = {**os.environ, "SHORI_TOKENIZER": str(tokenizer or "")}
    begun = time.perf_counter()
    with subprocess.Popen([str(program), *map(str, args)], env=environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    if process.returncode not in (0, 3):
        sys.exit(f"{args} ended with {process.returncode}")
    return {"seconds": seconds, "processor_seconds": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bench_report.add_common_options(parser)
    parser.add_argument("--megabytes", type=float, default=18)
    parser.add_argument("--growth", type=float, default=4, help="megabytes of the smaller growth corpus")
    parser.add_argument("--dialogue", type=pathlib.Path, default=bench_report.SOURCE / "build/quickstart/data")
    options = parser.parse_args()
    report = bench_report.describe(options.bin, [])
    program = options.bin / "shori-data"
    _, size, texts = make_corpus(options.dialogue, options.megabytes)
    small, large = HOME / "small", HOME / "large"
    counts = make_growth(small, options.growth), make_growth(large, 10 * options.growth)
    parts = {
        "check": (bench_report.TOKENIZER, "check", CORPUS, "--format", "short"),
        "stats": (bench_report.TOKENIZER, "stats", CORPUS),
        "check, no tokenizer": (None, "check", CORPUS, "--format", "short"),
        f"no tokenizer, {counts[0]} conversations": (None, "check", small, "--format", "short"),
        f"no tokenizer, {counts[1]} conversations": (None, "check", large, "--format", "short"),
    }
    runs = {name: [] for name in parts}
    for _ in range(options.rounds):
        for name, (tokenizer, *args) in parts.items():
            runs[name].append(run_once(program, tokenizer, *args))
    results = {name: {key: statistics.median(run[key] for run in each) for key in each[0]} for name, each in runs.items()}
    report.update({"corpus": {"bytes": size, "texts": texts}, "runs": runs, "results": results})
    bench_report.print_table(["", "seconds", "processor seconds", "MiB"],
                             [[name, *(f"{result[key]:.2f}" for key in ("seconds", "processor_seconds", "megabytes"))]
                              for name, result in results.items()])
    first, second = list(results.values())[3:]
    print(f"10 times the data: {second['seconds'] / first['seconds']:.1f} times the time")
    bench_report.finish(report, options.out, "data_tools.json")


if __name__ == "__main__":
    main()
