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
DRIVER_BYTES, RESERVE_BYTES = GIB // 2, GIB // 4  # of the plan


class Sizes:
    """Of the real job, or of a try on the emulator."""

    def __init__(self, emulated):
        self.emulated = emulated
        self.model, self.tokens, self.vocabulary = ("tiny", 64, 512) if emulated else ("7b", 16384, 32000)
        self.rank = 4 if emulated else 20
        self.warm_up, self.counted = (1, 1) if emulated else (WARM_UP, COUNTED)
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


class SlowSteps:
    """Steps of a run while it trains: where one takes over five seconds, a warm-up step and three more say enough."""

    SECONDS, WARM_UP, COUNTED = 5.0, 1, 3

    def __init__(self, run):
        self.run = run

    def seconds(self):
        return [step["seconds"] for step in jsonl(self.run / "timing.jsonl")]

    def __call__(self):
        seconds = self.seconds()
        return len(seconds) >= self.WARM_UP + self.COUNTED and self.are_slow(seconds)

    def are_slow(self, seconds):
        return len(seconds) > self.WARM_UP and statistics.median(seconds[self.WARM_UP:]) > self.SECONDS


def train(suite, name, model, packs, counted=None, options=(), **settings):
    """One run of shori-train: its speed, memory and losses. The steps after the warm-up are counted, also those of a run that
    did not come to its end."""
    sizes = Sizes(suite.emulated)
    steps = sizes.warm_up + (counted or sizes.counted)
    data = write_packs(suite, packs, steps)
    config, run = write_config(suite, name, model, data, **settings)
    slow = SlowSteps(run)
    with MemoryWatch() as memory:
        outcome = suite.run([suite.program("shori-train"), config, *options], enough=slow)
    all_seconds = slow.seconds()
    warm_up = SlowSteps.WARM_UP if slow.are_slow(all_seconds) else sizes.warm_up
    tokens = [step["tokens"] for step in jsonl(run / "metrics.jsonl") if step["type"] == "step"]
    ended = ended_early(name, outcome, all_seconds, steps)
    per_step = sorted(count / second for count, second in list(zip(tokens, all_seconds))[warm_up:])
    if not per_step:
        raise Failed(ended or f"{name}: {len(all_seconds)} steps, none after the warm-up")
    seconds = all_seconds[warm_up:]
    timing = jsonl(run / "timing.jsonl")
    result = {"packs": packs, "steps": len(per_step), "tokens_per_second": round(statistics.median(per_step), 1),
              "p10": round(per_step[len(per_step) // 10], 1), "p90": round(per_step[-1 - len(per_step) // 10], 1),
              "median_seconds": round(statistics.median(seconds), 4),
              "seconds_outside_steps": round(outcome.seconds - sum(s["seconds"] + s["checkpoint_seconds"] for s in timing), 1),
              "gpu_peak_bytes": memory.most, "planned_bytes": planned_bytes(outcome.output),
              "host_peak_bytes": timing[-1]["memory_peak_bytes"],
              "losses": [step["loss"] for step in jsonl(run / "metrics.jsonl") if step["type"] == "step"],
              "said": [line.strip() for line in outcome.output.splitlines() if "GPU memory:" in line or "layers" in line][-3:],
              **({"ended_early": ended} if ended else {})}
    suite.say(f"{name}: {result['tokens_per_second']} tokens/s, {result['median_seconds']} s a step, "
              f"{(memory.most or 0) / GIB:.2f} GiB of the GPU taken, {(result['planned_bytes'] or 0) / GIB:.2f} planned")
    return result, run


def ended_early(name, outcome, seconds, steps):
    """Why a run has no end, or None; a stop that was asked for ends with 75."""
    if outcome.timed_out:
        return f"{name}: no end after {outcome.seconds:.0f} s and {len(seconds)} of {steps} steps"
    if outcome.code not in (0, 75):
        return f"{name}: exit {outcome.code}: {outcome.said}"
    return None


def check_memory(result, name, failures):
    """Whether a run stayed inside its plan and, where the plan does, inside the card that the project is made for."""
    taken, planned = result["gpu_peak_bytes"], result["planned_bytes"]
    if taken is None or planned is None:
        return
    if taken > planned:
        failures.append(f"{name}: {taken:,} bytes of the GPU, {taken - planned:,} more than the plan, of which {DRIVER_BYTES:,} are the "
                        f"estimate for the driver's context and {RESERVE_BYTES:,} the reserve")
    if planned <= CARD_BYTES < taken:
        failures.append(f"{name}: {taken:,} bytes of the GPU, more than the 24 GiB that the plan stays in")


def needs_a_larger_card(reason):
    return "E0401" in str(reason) and "exit 5" in str(reason)


def measure(suite, result, name, model, packs, may_need_more=False, **settings):
    """A run as one step of the part; what goes wrong with it does not end the part."""
    try:
        run_result, run = train(suite, name, model, packs, **settings)
    except Failed as reason:
        if may_need_more and needs_a_larger_card(reason):
            result["not_run"].append(f"{name}: the plan needs a larger card")
        else:
            result["failures"].append(str(reason))
        return None
    except Skipped as reason:
        result["not_run"].append(f"{name}: {reason}")
        return None
    if "ended_early" in run_result:
        result["failures"].append(run_result["ended_early"])
    check_memory(run_result, name, result["failures"])
    result["runs"][name] = run_result
    suite.flush()
    return run


def run_model(suite, result):
    """The short samples first: their steps are the quickest. What each run came to is counted, also where the time ends."""
    result.update(runs={}, failures=[], not_run=[])
    limit = {} if suite.emulated else {"gpu_memory_limit": "24GiB"}
    model = ensure_model(suite)
    # The first start quantizes and writes the NF4 cache, the others read it. The profiled step is one of the warm-up.
    run = measure(suite, result, "P2", model, "P2", options=["--profile-steps", "1:1"], **limit)
    if run and (run / "profile.json").is_file():
        result["profile"] = json.loads((run / "profile.json").read_text())
    measure(suite, result, "P3", model, "P3", **limit)
    for mode in MODES:  # all saved takes 54 GiB, which no plan for 24 GiB allows
        whole = mode == "keep"
        measure(suite, result, f"P1 {mode}", model, "P1", may_need_more=whole, activation_memory=mode, **({} if whole else limit))
    measure(suite, result, "P2 dropout 0", model, "P2", lora_dropout=0, **limit)
    suite.say(f"{len(result['runs'])} runs measured, {len(result['failures'])} failures, not run: {result['not_run']}")


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


def run_identities(suite, result):
    """Repetition, stop and resume, and every activation mode give the same adapter, on four layers of full width."""
    result.update(identities={}, failures=[], not_run=[])
    model = ensure_model(suite, None if suite.emulated else 4)  # the tiny one has two
    data = write_packs(suite, "P3", 4)
    wanted = None
    for name, mode in {"first": "keep", "again": "keep", "recompute": "recompute", "keep_attention": "keep_attention",
                       "resumed": "keep"}.items():
        try:
            found = identity_of(suite, result, name, mode, model, data)
        except Failed as reason:
            result["failures"].append(f"run `{name}`: {reason}")
            continue
        except Skipped as reason:
            result["not_run"].append(f"run `{name}`: {reason}")
            continue
        wanted = wanted or found
        result["identities"][name] = found == wanted
        if found != wanted:
            result["failures"].append(f"run `{name}` differs from the first one")
        suite.flush()
    suite.say(f"equal bytes: {result['identities']}")


def identity_of(suite, result, name, mode, model, data):
    run = pathlib.Path(suite.work / "runs/same")
    config, _ = write_config(suite, f"same-{name}", model, data, activation_memory=mode, max_steps=4, save_steps=1, output_dir=str(run))
    shutil.rmtree(run, ignore_errors=True)
    if name == "resumed":
        result["identities"]["stopped in the middle"] = stop_and_resume(suite, config, run)
    else:
        suite.run([suite.program("shori-train"), config], check=True)
    return fingerprint(run)
