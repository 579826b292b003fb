"""Part `peer` of the GPU suite: the same weights and packs trained by transformers + PEFT + bitsandbytes, in turn with ours."""
import json
import os

from suite_model import Sizes, ensure_model, train, write_packs
from suite_run import ROOT, Failed, MemoryWatch, Skipped

COUNTED = 6
LOSS_STEPS = 3


def run_peer(suite, result):
    """Ours, peer, ours. Each is a process of its own; the peer loads once and trains P2 and then P1."""
    result.update(ours=[], failures=[], not_run=[])
    model = ensure_model(suite)
    sizes = Sizes(suite.emulated)
    counted = 2 if suite.emulated else COUNTED
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]),
                   "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    adapter = suite.work / "adapter"
    made = suite.python("peer.py", "--make-adapter", adapter, "--model", model, "--rank", sizes.rank, env=environment)
    if made.code == 77:
        raise Skipped(made.said)
    ours(suite, result, model, counted)
    packs = [f"{name}={write_packs(suite, name, sizes.warm_up + counted)}" for name in ("P2", "P1")]
    file = suite.work / "peer.json"
    file.unlink(missing_ok=True)
    dense = ["--dense"] if suite.emulated else []
    with MemoryWatch() as memory:
        outcome = suite.python("peer.py", "--model", model, "--packs", *packs, "--tokens", sizes.tokens, "--warm-up", sizes.warm_up,
                               "--rank", sizes.rank, "--adapter", adapter, "--loss-steps", LOSS_STEPS, "--out", file, *dense, env=environment)
    if file.is_file():
        result["peer"] = {**json.loads(file.read_text()), "gpu_peak_bytes_of_process": memory.most}
        suite.flush()
    if outcome.timed_out or outcome.code != 0:
        result["failures"].append("peer: " + ("ran out of time" if outcome.timed_out else outcome.said))
    ours(suite, result, model, counted)
    losses(suite, result, model, adapter)
    compare(suite, result)


def ours(suite, result, model, counted):
    figures = {}
    result["ours"].append(figures)
    for packs in ("P2", "P1"):
        try:
            figures[packs], _ = train(suite, f"ours {packs} {len(result['ours'])}", model, packs, counted=counted)
        except Failed as reason:
            result["failures"].append(str(reason))
        except Skipped as reason:
            result["not_run"].append(f"ours {packs}: {reason}")
        suite.flush()


def losses(suite, result, model, adapter):
    """Ours from the peer's adapter, dropout 0: the losses of the first steps side by side."""
    try:
        figures, _ = train(suite, "losses", model, "P2", counted=2 if suite.emulated else COUNTED, init_from=str(adapter),
                           lora_dropout=0, max_steps=LOSS_STEPS)
        result["losses"] = {"ours": figures["losses"][:LOSS_STEPS], "peer": result.get("peer", {}).get("losses")}
    except (Failed, Skipped) as reason:
        result["not_run"].append(f"losses: {reason}")


def compare(suite, result):
    """Ratio of tokens/s and of the memory of the process, ours over the peer's."""
    for packs in ("P1", "P2"):
        ours_runs = [figures[packs] for figures in result["ours"] if packs in figures]
        peer = result.get("peer", {}).get("runs", {}).get(packs)
        if not ours_runs or not peer:
            continue
        speed = sum(run["tokens_per_second"] for run in ours_runs) / len(ours_runs)
        result[f"{packs} ratio"] = round(speed / peer["tokens_per_second"], 3)
        suite.say(f"{packs}: ours {speed:.0f} tokens/s, peer {peer['tokens_per_second']:.0f}: {result[f'{packs} ratio']}x")
    suite.flush()
