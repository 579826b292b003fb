"""Part `smoke` of the GPU suite: the first minute on a card. Each step is a process of its own and one line of smoke.jsonl."""
import fnmatch
import json

import suite_bench
from suite_cases import Counts, list_cases, run_group
from suite_run import Failed, Skipped

# Without the cases that are large, and those of libraries, which have steps of their own.
NOT_TINY = ("*Many*", "*Large*", "*Attention*", "*Full*", "DeviceModel*")
TINY_CASES = "*-" + ":".join(NOT_TINY)
LIBRARY_SUITES = ("DeviceLayer", "MatmulDevice", "AttentionDevice")
MODEL = {"DeviceModelTest": ["ThreeStepsRepeatToTheBit"]}
SECONDS = 30  # of one step, most of it the start of a process on a slow machine
SKIPPED_ENTRIES = "-nf4_matmul/|nf4_dequantize_then"  # a hundred shapes of a few tokens


def run_smoke(suite, result):
    result.update(steps=[], failures=[])
    (suite.out / "smoke.jsonl").unlink(missing_ok=True)
    try:
        listed = list_cases(suite, "ops_gpu_test")
    except (Failed, Skipped) as reason:
        listed = {}
        result["failures"].append(f"the list of cases: {reason}")
    step(suite, result, "device", lambda: cases(suite, "ops_gpu_test", one(listed, "DeviceLayer")))
    for group, names in tiny(listed, suite.emulated).items():
        step(suite, result, f"kernels {group}", lambda group=group, names=names: cases(suite, "ops_gpu_test", {group: names}))
    step(suite, result, "products", lambda: cases(suite, "ops_gpu_test", one(listed, "MatmulDevice")))
    step(suite, result, "attention", lambda: cases(suite, "ops_gpu_test", one(listed, "AttentionDevice")))
    step(suite, result, "model", lambda: cases(suite, "model_gpu_test", MODEL))
    step(suite, result, "calls", lambda: calls(suite))
    suite.say(f"smoke: {sum(entry['status'] == 'passed' for entry in result['steps'])} of {len(result['steps'])} steps passed")


def one(listed, group):
    return {group: listed.get(group, [])}


def tiny(listed, emulated):
    """The tiny cases of each suite of kernels; a try without a GPU takes one of each of three suites."""
    chosen = {}
    for group, names in listed.items():
        kept = [name for name in names if not any(fnmatch.fnmatchcase(f"{group}.{name}", pattern) for pattern in NOT_TINY)]
        if kept and group not in LIBRARY_SUITES:
            chosen[group] = kept[:1] if emulated else kept
    return dict(list(chosen.items())[:3]) if emulated else chosen


def step(suite, result, name, work):
    """One line, whatever happens; nothing that a step does ends the part."""
    entry = {"step": name}
    try:
        entry.update(work())
        entry["status"] = "failed" if entry.get("failures") else "passed" if entry.get("passed", 1) else "skipped"
    except Skipped as reason:
        entry.update(status="not run", said=str(reason))
    except Failed as reason:
        entry.update(status="failed", failures=[str(reason)])
    result["steps"].append(entry)
    result["failures"] += [f"{name}: {failure}" for failure in entry.get("failures", [])]
    with (suite.out / "smoke.jsonl").open("a") as lines:
        lines.write(json.dumps(entry) + "\n")
    suite.say(json.dumps(entry))
    suite.flush()


def environment(suite):
    return {"SHORI_SYNC": "1", "SHORI_BENCH_LAUNCHES": "1", **suite.environment()}


def cases(suite, name, groups):
    counts, printed = Counts(), []
    for group, found in groups.items():
        if not found:
            raise Failed(f"{name} has no cases of {group}")
        run_group(suite, name, group, found, SECONDS * suite.scale, environment(suite), counts)
        printed += [line.strip() for line in suite.last_output.splitlines() if line.startswith("measured ")]
    return {**counts.report(), **({"measured": printed} if printed else {})}


def calls(suite):
    """Each op once at its real size, timed by events."""
    found = suite_bench.run_bench(suite, suite.work / "smoke_calls.json", SECONDS * suite.scale, SKIPPED_ENTRIES, environment(suite))
    times = {entry["name"]: {key: round(entry[key], 3) for key in ("real_time", "GB/s", "TFLOP/s") if key in entry}
             for entry in found["kernels"]}
    return {"passed": len(times) - len(found["failures"]), "context": found["context"], "calls": times, "failures": found["failures"],
            "not_run": found["not_run"]}
