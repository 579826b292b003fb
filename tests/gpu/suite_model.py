"""Part `model` of the GPU suite: shori-train on a Mistral-7B of random weights."""
import hashlib
import json
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import time

from suite_run import Failed, MemoryWatch, Skipped

# Lengths of the conversations of a realistic pack: a few long ones, many short ones.
REALISTIC = [5200, 3100, 2400, 1900, 1500, 900, 700, 380, 160, 90]
WARM_UP, COUNTED = 3, 10
MODES = ["recompute", "keep_attention", "keep"]
GIB = 1 << 30
CARD_BYTES = 24 * GIB


class Sizes:
    """Of the real job, or of a try on the emulator."""

    def __init__(self, emulated):
        self.emulated = emulated
        self.model, self.tokens, self.vocabulary = ("tiny", 128, 512) if emulated else ("7b", 16384, 32000)
        self.rank = 4 if emulated else 20
        self.warm_up, self.counted = (1, 2) if emulated else (WARM_UP, COUNTED)
        self.realistic = [length * self.tokens // 16384 + 1 for length in REALISTIC] if emulated else REALISTIC

    def lengths(self, packs):
        """Sample lengths of one pack: P1 one sample, P2 eight, P3 a realistic list."""
        return {"P1": [self.tokens], "P2": [self.tokens // 8] * 8, "P3": self.realistic}[packs]


def ensure_model(suite, layers=None):
    """The model folder, made once a call."""
    sizes = Sizes(suite.emulated)
    folder = suite.work / (f"model-{layers}" if layers else "model")
    if not (folder / "config.json").is_file():
        arguments = ["--out", folder, "--sizes", sizes.model, *(["--layers", layers] if layers else [])]
        made = suite.python("make_model.py", *arguments, check=True)
        suite.say(f"{made.output.strip()}, {made.seconds:.1f} s")
    return folder


def write_packs(suite, packs, count):
    """`count` packs as JSON lines of random ids; the same in every call."""
    sizes = Sizes(suite.emulated)
    path = suite.work / f"{packs}-{count}.jsonl"
    if not path.is_file():
        source = random.Random(f"{packs} of the GPU suite")
        lines = []
        for _ in range(count):
            for length in sizes.lengths(packs):
                lines.append(json.dumps({"input_ids": [source.randrange(3, sizes.vocabulary) for _ in range(length)]}))
        path.write_text("\n".join(lines) + "\n")
    return path


def write_config(suite, name, model, data, **settings):
    """A YAML file whose values are JSON; one micro-batch a step, checkpoints only at the ends."""
    sizes = Sizes(suite.emulated)
    run = suite.work / "runs" / name
    shutil.rmtree(run, ignore_errors=True)
    config = {"base_model": str(model), "output_dir": str(run), "datasets": [{"path": str(data), "type": "tokenized"}],
              "device": "emulated" if suite.emulated else "cuda", "sequence_len": sizes.tokens, "sample_packing": True,
              "train_on_inputs": True, "lora_r": sizes.rank, "lora_alpha": 16, "lora_dropout": 0.1, "learning_rate": 1e-4,
              "weight_decay": 0.05, "seed": 42, "save_steps": 1000000, **settings}
    path = suite.work / f"{name}.yaml"
    path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    return path, run


def jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def planned_bytes(log):
    """The sum of the memory table that the program prints before it loads anything."""
    for line in log.splitlines():
        words = line.split()
        if "sum" in words and words[-1] == "GiB":
            return int(words[words.index("sum") + 1].replace(",", ""))
    return None


def train(suite, name, model, packs, counted=None, options=(), **settings):
    """One run of shori-train: its speed, memory and losses. The steps after the warm-up are counted."""
    sizes = Sizes(suite.emulated)
    counted = counted or sizes.counted
    steps = sizes.warm_up + counted
    data = write_packs(suite, packs, steps)
    config, run = write_config(suite, name, model, data, **settings)
    with MemoryWatch() as memory:
        outcome = suite.run([suite.program("shori-train"), config, *options])
    timing = jsonl(run / "timing.jsonl")
    if outcome.timed_out or outcome.code != 0:
        raise Failed(f"{name}: " + (f"no end after {outcome.seconds:.0f} s and {len(timing)} steps" if outcome.timed_out else
                                    f"exit {outcome.code}: {outcome.said}"))
    seconds = [step["seconds"] for step in timing[sizes.warm_up:]]
    tokens = [step["tokens"] for step in jsonl(run / "metrics.jsonl") if step["type"] == "step"][sizes.warm_up:]
    per_step = sorted(count / second for count, second in zip(tokens, seconds))
    result = {"packs": packs, "steps": len(seconds), "tokens_per_second": round(statistics.median(per_step), 1),
              "p10": round(per_step[len(per_step) // 10], 1), "p90": round(per_step[-1 - len(per_step) // 10], 1),
              "median_seconds": round(statistics.median(seconds), 4),
              "seconds_outside_steps": round(outcome.seconds - sum(s["seconds"] + s["checkpoint_seconds"] for s in timing), 1),
              "gpu_peak_bytes": memory.most, "planned_bytes": planned_bytes(outcome.output),
              "host_peak_bytes": timing[-1]["memory_peak_bytes"],
              "losses": [step["loss"] for step in jsonl(run / "metrics.jsonl") if step["type"] == "step"],
              "said": [line.strip() for line in outcome.output.splitlines() if "GPU memory:" in line or "layers" in line][-3:]}
    suite.say(f"{name}: {result['tokens_per_second']} tokens/s, {result['median_seconds']} s a step, "
              f"{(memory.most or 0) / GIB:.2f} GiB of the GPU taken, {(result['planned_bytes'] or 0) / GIB:.2f} planned")
    return result, run


def check_memory(result, name, failures):
    """Whether a run stayed inside its plan and inside the card that the project is made for."""
    if result["gpu_peak_bytes"] is None:
        return
    for limit, bytes_of_limit in {"plan": result["planned_bytes"], "24 GiB": CARD_BYTES}.items():
        if bytes_of_limit is not None and result["gpu_peak_bytes"] > bytes_of_limit:
            failures.append(f"{name}: {result['gpu_peak_bytes']:,} bytes of the GPU, more than the {limit}")


def measure(suite, result, name, model, packs, **settings):
    """A run as one step of the part; what goes wrong with it does not end the part."""
    try:
        run_result, run = train(suite, name, model, packs, **settings)
    except Failed as reason:
        result["failures"].append(str(reason))
        return None
    except Skipped as reason:
        result["not_run"].append(f"{name}: {reason}")
        return None
    check_memory(run_result, name, result["failures"])
    result["runs"][name] = run_result
    suite.flush()
    return run


def run_model(suite, result):
    result.update(runs={}, identities={}, failures=[], not_run=[])
    limit = {} if suite.emulated else {"gpu_memory_limit": "24GiB"}
    model = ensure_model(suite)
    for number, mode in enumerate(MODES):  # the first start quantizes and writes the NF4 cache, the others read it
        name = f"P1 {mode}" + (", first start" if number == 0 else "")
        measure(suite, result, name, model, "P1", activation_memory=mode, **limit)
    last = Sizes(suite.emulated).warm_up + Sizes(suite.emulated).counted
    run = measure(suite, result, "P2", model, "P2", options=["--profile-steps", f"{last}:{last}"], **limit)
    if run and (run / "profile.json").is_file():
        result["profile"] = json.loads((run / "profile.json").read_text())
    measure(suite, result, "P3", model, "P3", **limit)
    measure(suite, result, "P2 dropout 0", model, "P2", lora_dropout=0, **limit)
    check_identities(suite, result)


# ---- Equal bytes


def fingerprint(run):
    """SHA-256 of what two equal runs have in common."""
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest()
            for name in ["adapter/adapter_model.safetensors", "metrics.jsonl"]}


def stop_and_resume(suite, config, run):
    """SIGTERM after the second step, then --resume."""
    command = [str(suite.program("shori-train")), str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    end = time.monotonic() + suite.left()
    while process.poll() is None and len(jsonl(run / "timing.jsonl")) < 2:
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise Skipped("no time left")
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    code = process.wait(timeout=max(5, suite.left()))
    if code not in (0, 75):
        raise Failed(f"the stopped run ended with {code}")
    if code == 75:
        suite.run([*command, "--resume"], check=True)
    return code == 75


def check_identities(suite, result):
    """Repetition, stop and resume, and every activation mode give the same adapter, on four layers of full width."""
    try:
        model = ensure_model(suite, 2 if suite.emulated else 4)
        data = write_packs(suite, "P3", 4)
        wanted = None
        for name, mode in {"first": "keep", "again": "keep", "recompute": "recompute", "keep_attention": "keep_attention",
                           "resumed": "keep"}.items():
            config, run = write_config(suite, f"same-{name}", model, data, activation_memory=mode, max_steps=4,
                                       save_steps=1, output_dir=str(suite.work / "runs/same"))
            run = pathlib.Path(suite.work / "runs/same")
            shutil.rmtree(run, ignore_errors=True)
            if name == "resumed":
                stopped = stop_and_resume(suite, config, run)
                result["identities"]["stopped in the middle"] = stopped
            else:
                suite.run([suite.program("shori-train"), config], check=True)
            found = fingerprint(run)
            wanted = wanted or found
            result["identities"][name] = found == wanted
            if found != wanted:
                result["failures"].append(f"run `{name}` differs from the first one")
            suite.flush()
        suite.say(f"equal bytes: {result['identities']}")
    except Failed as reason:
        result["failures"].append(f"equal bytes: {reason}")
    except Skipped as reason:
        result["not_run"].append(f"equal bytes: {reason}")
