"""kernel_bench for the GPU suite: every figure that was printed is kept, and an entry that ends the program is named."""
import json
import re

MOST_RESTARTS = 8
STANDARD = {"name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions", "repetition_index", "threads",
            "cpu_time", "iterations"}


def read_report(text):
    """(context, entries) of a report that may end anywhere."""
    try:
        report = json.loads(text)
        return report["context"], report["benchmarks"]
    except ValueError:
        pass
    decoder, entries = json.JSONDecoder(), []
    context = re.search(r'"context": ', text)
    context = decode(decoder, text, context.end()) if context else None
    at = text.find('"benchmarks": [')
    while at >= 0 and (found := decode(decoder, text, text.find("{", at))):
        entries.append(found[0])
        at = found[1]
    return context[0] if context else {}, entries


def decode(decoder, text, at):
    try:
        return decoder.raw_decode(text, at) if at >= 0 else None
    except ValueError:
        return None


def plain(name):
    """The name without the words that the library adds."""
    return re.sub(r"/(iterations:\d+|manual_time)", "", name)


def run_bench(suite, file, seconds, chosen=".", env=None):
    """{context, kernels, failures, not_run}. The entry at which the program ended is a failure, and the rest runs after it."""
    result = {"context": {}, "kernels": [], "failures": [], "not_run": []}
    program = suite.program("kernel_bench")
    listed = suite.run([program, "--benchmark_list_tests", f"--benchmark_filter={chosen}"], env=env)
    left = [plain(line) for line in listed.output.splitlines() if "/manual_time" in line]
    if listed.code != 0 or not left:
        result["failures"].append(f"kernel_bench: {listed.ending}: {listed.said}")
        return result
    for _ in range(MOST_RESTARTS):
        file.unlink(missing_ok=True)
        names = "|".join(re.escape(name) for name in left)
        outcome = suite.run([program, f"--benchmark_filter=^({names})/iterations", f"--benchmark_out={file}",
                             "--benchmark_out_format=json"], seconds, env=env)
        seconds -= outcome.seconds
        context, entries = read_report(file.read_text() if file.is_file() else "")
        result["context"] = {key: value for key, value in context.items() if key in ("build", "device") or "/s" in key} or result["context"]
        for entry in entries:
            name = plain(entry["name"])
            left = [other for other in left if other != name]
            kept = {key: value for key, value in entry.items() if key not in STANDARD} | {"name": name}
            result["kernels"].append(kept)
            if entry.get("error_occurred"):
                result["failures"].append(f"{name}: {entry.get('error_message', 'did not run')}")
        if outcome.code == 0 and not outcome.timed_out:
            break
        ended = left.pop(0) if left else "kernel_bench"
        result["failures"].append(f"{ended}: {outcome.ending}: {outcome.said}")
        if outcome.timed_out or not left or not entries or seconds < 2:
            break
    result["not_run"] = left
    return result
