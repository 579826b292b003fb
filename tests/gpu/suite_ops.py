"""Parts `ops` and `goldens` of the GPU suite."""
import json
import os
import shutil
import sys

from suite_run import ROOT, Failed, Skipped

# Without the cases that are large, and those inside libtorch: a sanitizer takes a hundred times as long.
TINY_CASES = "*-*Many*:*Large*:*Attention*:*Full*:DeviceModel*"


def run_cases(suite, result, name, seconds, arguments=(), prefix=()):
    """One GoogleTest program; its counts go into the result, the names of failed cases too."""
    report = suite.work / f"{name}.json"
    report.unlink(missing_ok=True)
    outcome = suite.run([*prefix, suite.program(name), f"--gtest_output=json:{report}", *arguments], seconds)
    counts = {"seconds": round(outcome.seconds, 1), "exit": outcome.code, "timed_out": outcome.timed_out,
              "passed": 0, "failed": 0, "skipped": 0}
    failures = []
    cases = [case for group in json.loads(report.read_text())["testsuites"] for case in group["testsuite"]] if report.is_file() else []
    for case in cases:
        if case.get("result") == "SKIPPED":
            counts["skipped"] += 1
        elif case.get("failures"):
            counts["failed"] += 1
            failures.append(f"{name}: {case['classname']}.{case['name']}")
        elif case.get("status") == "RUN":
            counts["passed"] += 1
    if outcome.timed_out or (outcome.code != 0 and not failures):
        failures.append(f"{name}: " + ("ran out of time" if outcome.timed_out else f"exit {outcome.code}: {outcome.said}"))
    return counts, failures


def run_ops(suite, result):
    result.update(steps={}, failures=[])
    for name, seconds in {"ops_gpu_test": 140, "model_gpu_test": 50}.items():
        counts, failures = run_cases(suite, result, name, seconds)
        result["steps"][name] = counts
        result["failures"] += failures
        suite.say(f"{name}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        suite.flush()
    for tool in ["memcheck", "racecheck"]:
        result["steps"][tool] = sanitize(suite, result, tool)
        suite.say(f"compute-sanitizer {tool}: {result['steps'][tool]['outcome']}")
        suite.flush()


def sanitize(suite, result, tool):
    """compute-sanitizer over the tiny cases. Where it cannot work on this device, that is the result."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        return {"outcome": "not run: compute-sanitizer is not installed"}
    command = [program, "--tool", tool, "--error-exitcode", "9", suite.program("ops_gpu_test"), f"--gtest_filter={TINY_CASES}"]
    try:
        outcome = suite.run(command, 60)
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
                     60, env=environment)
    if made.code == 77:
        raise Skipped(made.said)
    if made.code != 0 or made.timed_out:
        raise Failed(made.said)
    result["file_bytes"] = file.stat().st_size
    outcome = suite.run([suite.program("golden_test")], 60, env={"SHORI_GOLDENS": str(file)})
    result["cases"] = [line for line in outcome.output.splitlines() if line.startswith(("[       OK", "[  FAILED", "[  SKIPPED", "measured"))]
    if outcome.code != 0:
        failures = [line.split("]")[1].strip() for line in outcome.output.splitlines() if line.startswith("[  FAILED  ]") and "." in line]
        # bitsandbytes' code for the CPU is no oracle for 8 bits: a try only shows that the file is made and read.
        result["expected_to_differ" if suite.emulated else "failures"] = sorted(set(failures)) or [outcome.said]
