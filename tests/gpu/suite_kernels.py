"""Part `kernels` of the GPU suite: time of every kernel, and of every op of a training step."""
import json

from suite_run import Failed


def run_kernels(suite, result):
    """Google Benchmark's own file goes to --out; the report keeps one line a kernel."""
    file = suite.out / "kernels.json"
    outcome = suite.run([suite.program("kernel_bench"), f"--benchmark_out={file}", "--benchmark_out_format=json"])
    try:
        report = json.loads(file.read_text())
    except (OSError, ValueError):
        raise Failed("ran out of time" if outcome.timed_out else outcome.said) from None
    result["context"] = {key: value for key, value in report["context"].items() if key in ("build", "device") or "/s" in key}
    standard = {"name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions", "repetition_index",
                "threads", "cpu_time", "iterations"}
    result["kernels"] = [{key: value for key, value in entry.items() if key not in standard or key == "name"}
                         for entry in report["benchmarks"]]
    failed = [entry["name"] for entry in report["benchmarks"] if entry.get("error_occurred")]
    result["failures"] = [f"{name}: did not run" for name in failed]
    if outcome.timed_out or outcome.code != 0:
        result["failures"].append("ran out of time" if outcome.timed_out else f"exit {outcome.code}: {outcome.said}")
    suite.say(f"{len(result['kernels'])} kernels timed, copy and product measured: {result['context']}")
