"""What the measuring scripts share: where things lie, what a figure was measured on, the table and file it goes to."""
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
WORK = SOURCE / "build/bench-data"  # made by the scripts; may be deleted
TOKENIZER = SOURCE / "build/deps/tokenizer/tokenizer.model"


def add_common_options(parser):
    parser.add_argument("--bin", type=pathlib.Path, default=SOURCE / "build/release/bin", metavar="DIR",
                        help="folder of the programs (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that everything is measured, in turn")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="JSON file with every number")


def peak_memory():
    """Largest resident size of this process so far, in bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def run(command, **options):
    """Output of a program; its own message ends the script when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return done.stdout


def cpu_name():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe(programs, packages):
    """Machine, versions, commit, command: without them a figure says nothing."""
    from importlib import metadata
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "command": ["python3", *sys.argv],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "memory_bytes": memory, "kernel": platform.release(),
                    "load_before": os.getloadavg()[0]},
        "build": run([programs / "shori-train", "--version"]).split("\n"),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def spread(values):
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "count": len(values)}


def print_table(heads, rows):
    """Columns as wide as their longest cell; the first is left-aligned."""
    cells = [heads, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        print("  ".join(cell.ljust(width) if not column else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths))))


def finish(report, path, default_name):
    """Writes the report; warns where other programs may have disturbed it."""
    report["machine"]["load_after"] = os.getloadavg()[0]
    path = path or WORK / default_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    load = report["machine"]["load_before"]
    if load > 0.5:
        print(f"The load was {load:.2f} before the first measurement: other programs were running.")
    print(f"All numbers: {path}")
