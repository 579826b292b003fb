#!/usr/bin/env python3
"""Adds the figures of a suite.json to the tables of tests/gpu/RESULTS.md, newest first.

  tests/gpu/record_results.py results/suite.json [--table tests/gpu/RESULTS.md]
"""
import argparse
import json
import pathlib
import sys

GIB = 1 << 30
UNMEASURED = "Not yet measured"


def speed(run):
    return f"{run['tokens_per_second']:.0f} tokens/s" if run else "-"


def gib(count):
    return f"{count / GIB:.2f} GiB" if count else "-"


def part(report, name):
    found = report["parts"].get(name)
    return found if found and found["status"] in ("passed", "failed") else None


def who(report, result):
    gpu = report.get("gpu", {})
    return result["time"][:10], gpu.get("name", "?"), gpu.get("driver_version", "?")


def training_row(report):
    result = part(report, "model")
    if not result:
        return None
    date, gpu, driver = who(report, result)
    runs = result["runs"]
    recompute = runs.get("P1 recompute", {})
    dropped, whole = runs.get("P2"), runs.get("P2 dropout 0")
    ratio = f"{whole['tokens_per_second'] / dropped['tokens_per_second']:.3f}x" if dropped and whole else "-"
    same = (part(report, "identities") or {}).get("identities")
    return [date, f"{gpu}, {driver}", report["build"].split("(")[-1].split()[1], speed(recompute), speed(runs.get("P1 keep_attention")),
            speed(runs.get("P1 keep")), speed(dropped), speed(runs.get("P3")), ratio, gib(recompute.get("gpu_peak_bytes")),
            gib(recompute.get("planned_bytes")), f"{sum(same.values())} of {len(same)}" if same else "-"]


def peer_row(report):
    result = part(report, "peer")
    if not result or "peer" not in result:
        return None
    date, gpu, _ = who(report, result)
    row = [date, gpu]
    for packs in ("P1", "P2"):
        ours = [figures[packs] for figures in result["ours"] if packs in figures]
        row += [", ".join(f"{run['tokens_per_second']:.0f}" for run in ours) or "-", speed(result["peer"]["runs"].get(packs)),
                f"{result[f'{packs} ratio']}x" if f"{packs} ratio" in result else "-"]
    first = next((figures["P1"] for figures in result["ours"] if "P1" in figures), {})
    return row + [gib(first.get("gpu_peak_bytes")), gib(result["peer"].get("gpu_peak_bytes_of_process"))]


def kernel_row(report):
    ops, goldens, kernels = (part(report, name) for name in ("ops", "goldens", "kernels"))
    result = ops or kernels or goldens
    if not result:
        return None
    date, gpu, _ = who(report, result)
    steps = ops["steps"] if ops else {}
    counts = [steps[name] for name in ("ops_gpu_test", "model_gpu_test") if name in steps]
    context = kernels["context"] if kernels else {}
    of_copy = [entry.get("share_of_copy") for entry in (kernels or {}).get("kernels", []) if entry["name"].startswith("nf4_dequantize")]
    return [date, gpu, f"{sum(c['passed'] for c in counts)} / {sum(c['failed'] for c in counts)}" if counts else "-",
            *(steps.get(tool, {}).get("outcome", "-") for tool in ("memcheck", "racecheck")), goldens["status"] if goldens else "-",
            context.get("copy GB/s", "-"), context.get("matmul TFLOP/s", "-"),
            f"{100 * min(filter(None, of_copy)):.0f} %" if any(of_copy) else "-"]


def insert(text, heading, row):
    """The row as the first one of the table below `heading`."""
    lines = text.split("\n")
    at = lines.index(heading)
    while not lines[at].startswith("|---"):
        at += 1
    lines.insert(at + 1, "| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path, default=pathlib.Path(__file__).with_name("RESULTS.md"))
    options = parser.parse_args()
    report = json.loads(options.report.read_text())
    if report.get("emulated"):
        sys.exit("record_results: this report is a try on the emulator, its times mean nothing")
    text = options.table.read_text()
    rows = {"## Training": training_row(report), "## Against transformers + PEFT + bitsandbytes": peer_row(report),
            "## Correctness and kernels": kernel_row(report)}
    if not any(rows.values()):
        sys.exit("record_results: no part of this report ran")
    for heading, row in rows.items():
        if row:
            text = insert(text, heading, row)
            print(f"{heading}: {' | '.join(row)}")
    if UNMEASURED in text:
        text = text[:text.index(UNMEASURED)] + text[text.index("How to measure"):]
    options.table.write_text(text)


if __name__ == "__main__":
    main()
