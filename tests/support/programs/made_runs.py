"""Run folders with metrics that no run wrote."""
import json
import shutil


def made_run(folder, template, lines, **changes):
    """A copy of a run that is not finished, with other metrics."""
    shutil.copytree(template, folder)
    (folder / "done.json").unlink()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    record = {**json.loads((folder / "run.json").read_text()), **changes}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def step_line(step, loss):
    return {"type": "step", "stage": "run", "step": step, "epoch": step / 1000, "micro_batches": 1, "samples": 1, "tokens": 9,
            "targets": 8, "loss": loss, "grad_norm": 1 + loss / 3, "clip_factor": 1.0, "learning_rate": 1e-4 / step,
            "update_max": 1e-5}


def eval_line(step, loss, dataset="test.jsonl", **roles):
    return {"type": "eval", "stage": "run", "step": step, "epoch": 1.0, "dataset": dataset, "samples": 1, "targets": 1, "loss": loss,
            "perplexity": 2.7, "loss_by_role": roles, "loss_by_category": {}}


def sample_line(step, text, prompt="prompt", preset="main"):
    return {"type": "sample", "stage": "run", "step": step, "prompt": prompt, "preset": preset, "seed": 1, "hint": None, "bucket": None,
            "tokens": 3, "stop": "block_end", "impersonated": False, "repetition": 0.5, "text": text}
