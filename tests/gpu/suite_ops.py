"""Parts `ops` and `goldens` of the GPU suite."""
import os
import shutil
import sys

from suite_cases import list_cases, run_group
from suite_run import ROOT, Failed, Skipped
from suite_smoke import TINY_CASES

LONGEST_SUITE = 90  # seconds; the CPU versions of LargeShapes take most of them. A case that hangs leaves the rest of the part to others.


def run_ops(suite, result):
    """Every case of both programs, one process a suite of cases."""
    result.update(steps={}, failures=[])
    for name in ("ops_gpu_test", "model_gpu_test"):
        counts = result["steps"][name] = {"passed": 0, "failed": 0, "skipped": 0, "not_run": 0, "seconds": 0.0, "suites": {}}
        for group, found in list_cases(suite, name).items():
            run_suite(suite, result, name, group, found, counts)
        suite.say(f"{name}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped, {counts['not_run']} not run")
        if counts["not_run"] and not counts["failed"]:
            result["failures"].append(f"{name}: ran out of time, {counts['not_run']} cases were not run")
    for tool in ["memcheck", "racecheck"]:
        result["steps"][tool] = sanitize(suite, result, tool)
        suite.say(f"compute-sanitizer {tool}: {result['steps'][tool]['outcome']}")
        suite.flush()


def run_suite(suite, result, name, group, cases, counts):
    """One suite of cases; what it did is in the report before the next one starts."""
    try:
        found = run_group(suite, name, group, cases, min(suite.left() - 1, LONGEST_SUITE * suite.scale), suite.environment()).report()
    except Skipped:
        found = {"passed": 0, "failed": 0, "skipped": 0, "not_run": len(cases), "seconds": 0.0}
    counts["suites"][group] = found
    for key in ("passed", "failed", "skipped", "not_run", "seconds"):
        counts[key] = round(counts[key] + found[key], 1)
    result["failures"] += [f"{name}: {failure}" for failure in found.get("failures", [])]
    suite.flush()


def sanitize(suite, result, tool):
    """compute-sanitizer over the tiny cases. Where it cannot work on this device, that is the result."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        return {"outcome": "not run: compute-sanitizer is not installed"}
    command = [program, "--tool", tool, "--error-exitcode", "9", suite.program("ops_gpu_test"), f"--gtest_filter={TINY_CASES}"]
    try:
        outcome = suite.run(command, 25 * suite.scale)  # what it found so far counts
    except Skipped as reason:
        return {"outcome": f"not run: {reason}"}
    summary = [line.strip("= ") for line in outcome.output.splitlines() if "SUMMARY" in line]
    if "not supported" in outcome.output:
        return {"outcome": "not run: the device refuses it", "said": outcome.said}
    if outcome.timed_out:
        return {"outcome": "ran out of time without an error" if "=========     " not in outcome.output else "ran out of time"}
    if outcome.code == 9:
        result["failures"].append(f"compute-sanitizer {tool}: {'; '.join(summary)}")
    return {"outcome": "; ".join(summary) or f"exit {outcome.code}: {outcome.said}", "seconds": round(outcome.seconds, 1)}


def run_goldens(suite, result):
    """bitsandbytes' own results, then our code against them; the file goes to --out and from there to tests/golden."""
    result.update(failures=[])
    file = suite.out / "bitsandbytes_cuda.safetensors"
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")])}
    made = suite.run([sys.executable, ROOT / "scripts/make_golden.py", "--out", file, *(["--device", "cpu"] if suite.emulated else [])],
                     env=environment)
    if made.code == 77:  # a package is missing; where there is a GPU, torch has to find it
        raise (Failed if suite.gpu and "no GPU" in made.said else Skipped)(made.said)
    if made.code != 0 or made.timed_out:
        raise Failed(made.said)
    result["file_bytes"] = file.stat().st_size
    outcome = suite.run([suite.program("golden_test")], env={"SHORI_GOLDENS": str(file)})
    result["cases"] = [line for line in outcome.output.splitlines() if line.startswith(("[       OK", "[  FAILED", "[  SKIPPED", "measured"))]
    if outcome.code != 0:
        failures = [line.split("]")[1].strip() for line in outcome.output.splitlines() if line.startswith("[  FAILED  ]") and "." in line]
        # bitsandbytes' code for the CPU is no oracle for 8 bits: a try only shows that the file is made and read.
        result["expected_to_differ" if suite.emulated else "failures"] = sorted(set(failures)) or [outcome.said]
