#!/usr/bin/env python3
"""Prints what the quick start has trained: losses of each stage from its metrics.jsonl. quickstart_summary.py FOLDER

Exit code 1 when the held-out loss has not fallen from the first stage's start to the last one's end.
"""
import json
import pathlib
import sys

STAGES = ["low", "mid", "high", "top", "top-pg13"]


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def held_out_losses(lines):
    """Loss over all held-out sets at each evaluation, weighted by their targets, in order of steps."""
    sums = {}
    for line in lines:
        loss, targets = sums.get(line["step"], (0.0, 0))
        sums[line["step"]] = (loss + line["loss"] * line["targets"], targets + line["targets"])
    return [loss / targets for _, (loss, targets) in sorted(sums.items())]


def main():
    home = pathlib.Path(sys.argv[1])
    print("  stage      steps    tokens   training loss      held-out loss    seconds")
    first = last = None
    seconds = memory = 0
    for stage in STAGES:
        lines = read_lines(home / "runs" / stage / "metrics.jsonl")
        steps = [line for line in lines if line["type"] == "step"]
        held_out = held_out_losses([line for line in lines if line["type"] == "eval"])
        timing = read_lines(home / "runs" / stage / "timing.jsonl")
        if not steps or not held_out:
            sys.exit(f"error: {home / 'runs' / stage / 'metrics.jsonl'} has no steps or no evaluations")
        stage_seconds = sum(line.get("seconds", 0) for line in timing)
        tokens = sum(line["tokens"] for line in steps)
        print(f"  {stage:9}  {len(steps):5}  {tokens:8,}  {steps[0]['loss']:6.3f} -> {steps[-1]['loss']:6.3f}"
              f"  {held_out[0]:6.3f} -> {held_out[-1]:6.3f}  {stage_seconds:8.1f}")
        first = held_out[0] if first is None else first
        last = held_out[-1]
        seconds += stage_seconds
        memory = max([memory] + [line.get("memory_peak_bytes", 0) for line in timing])
    print(f"  {seconds:.0f} s in training steps, peak memory {memory / 2**20:.0f} MiB")
    if last >= first:
        sys.exit(f"error: the held-out loss has not fallen ({first:.3f} -> {last:.3f})")
    print(f"  The loss on conversations that were never trained fell from {first:.3f} to {last:.3f}.")


if __name__ == "__main__":
    main()
