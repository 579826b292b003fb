"""One stage from one config: what shori-train says, writes and leaves alone."""
import json
import math
import os
import re

import pytest

from run_folders import Checkpoint, checkpoints, file_sha256, metrics, pinned_steps, read_safetensors, snapshot
from shori_programs import SAVED, SOURCE, in_parallel, must, train
from small_jobs import SETTINGS, Job, TokenJob, scenes

STEP_KEYS = ["type", "stage", "step", "epoch", "micro_batches", "samples", "tokens", "targets", "loss", "grad_norm",
             "clip_factor", "learning_rate", "update_max"]
EVAL_KEYS = ["type", "stage", "step", "epoch", "dataset", "samples", "targets", "loss", "perplexity", "loss_by_role",
             "loss_by_category"]
END_KEYS = ["type", "stage", "step", "epoch", "tokens", "targets", "adapter_sha256"]
TIMING_KEYS = ["step", "time", "seconds", "forward_seconds", "backward_seconds", "optimizer_seconds",
               "checkpoint_seconds", "tokens_per_second", "memory_bytes", "memory_peak_bytes"]
MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
           "mlp.up_proj", "mlp.down_proj"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_model):
    """A finished run of eight steps and what the program said."""
    job = TokenJob(tmp_path_factory.mktemp("finished"), token_model)
    return job, must(train(job.config))


def test_every_step_is_acknowledged_in_order(finished):
    _, outcome = finished
    assert [int(step) for step in SAVED.findall(outcome.err)] == list(range(9))
    assert outcome.out == ""


def test_metrics_lines(finished):
    job, _ = finished
    text = (job.run / "metrics.jsonl").read_text()
    for line in text.splitlines():
        value = json.loads(line)
        assert list(value) == {"step": STEP_KEYS, "eval": EVAL_KEYS, "end": END_KEYS}[value["type"]]
        assert line == json.dumps(value, separators=(",", ":"), ensure_ascii=False), "floats are the shortest"
    steps = metrics(job.run, "step")
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert [line["micro_batches"] for line in steps] == [2, 2, 2, 1] * 2, "the last window of an epoch is partial"
    assert steps[3]["epoch"] == 1.0 and steps[-1]["epoch"] == 2.0
    for line in steps:
        assert line["clip_factor"] == pytest.approx(min(1, 1 / (line["grad_norm"] + 1e-6)), rel=1e-12)
        assert line["learning_rate"] == 0.004
        assert line["targets"] == line["tokens"] - line["samples"], "only first tokens have nothing that predicts them"
    assert [line["step"] for line in metrics(job.run, "eval")] == [0, 3, 6, 8], "the last step, an epoch end, once"
    for line in metrics(job.run, "eval"):
        assert line["dataset"] == "test.jsonl" and line["samples"] == 3
        assert line["perplexity"] == pytest.approx(math.exp(line["loss"]), rel=1e-12)
    end = metrics(job.run)[-1]
    assert end["type"] == "end" and end["step"] == 8
    assert end["tokens"] == sum(line["tokens"] for line in steps)
    assert end["targets"] == sum(line["targets"] for line in steps)
    assert end["adapter_sha256"] == file_sha256(job.run / "adapter/adapter_model.safetensors")


def test_loss_falls(finished):
    job, _ = finished
    losses = [line["loss"] for line in metrics(job.run, "step")]
    held_out = [line["loss"] for line in metrics(job.run, "eval")]
    assert sum(losses[-2:]) / 2 < losses[0] - 0.3, losses
    assert held_out[-1] < held_out[0] - 0.3, held_out


def test_timing_lines(finished):
    job, _ = finished
    lines = [json.loads(line) for line in (job.run / "timing.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    for line in lines:
        assert list(line) == TIMING_KEYS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert all(line[key] >= 0 for key in TIMING_KEYS if key.endswith("seconds"))
        assert 0 < line["memory_bytes"] <= line["memory_peak_bytes"]


def best_evaluation(run):
    losses = {line["step"]: line["loss"] for line in metrics(run, "eval") if line["step"] > 0}
    return min(losses, key=losses.get)


def test_pinned_holds_the_newest_epoch_ends_and_one_evaluation(tmp_path, token_model):
    """Each evaluation is the best so far: of all of them but the last nothing is left."""
    job = TokenJob(tmp_path, token_model, num_epochs=4, eval_steps=1)
    must(train(job.config))
    losses = [line["loss"] for line in metrics(job.run, "eval")]
    assert len(losses) == 17 and sum(loss < min(losses[:i]) for i, loss in enumerate(losses) if i) > 4
    best = best_evaluation(job.run)
    assert pinned_steps(job.run) == sorted({12, 16, best})
    assert json.loads((job.run / "done.json").read_text())["best_step"] == best


@pytest.mark.parametrize("settings, steps", [({"eval_steps": 5}, [0, 5, 8]), ({"eval_steps": 4}, [0, 4, 8]),
                                             ({"eval_steps": 0.4}, [0, 4, 8]), ({"eval_steps": 99}, [0, 8]),
                                             ({"eval_steps": 2, "max_steps": 5}, [0, 2, 4, 5])])
def test_last_step_is_evaluated_once(tmp_path, token_model, settings, steps):
    job = TokenJob(tmp_path, token_model, **settings)
    must(train(job.config))
    assert [line["step"] for line in metrics(job.run, "eval")] == steps


def test_remains_of_a_run_are_not_overwritten(tmp_path, token_model):
    """Without checkpoint and done.json they cannot be gone on with, and a new run would replace them."""
    for name in ("adapter", "checkpoints/pinned", "checkpoints/requested", "checkpoints/damaged"):
        job = TokenJob(tmp_path / name.replace("/", "-"), token_model)
        (job.run / name).mkdir(parents=True)
        (job.run / name / "mine").write_text("mine")
        outcome = must(train(job.config), 2)
        assert outcome.errors == ["E0507"] and str(job.run / name) in outcome.err, repr(outcome)
        assert [path.name for path in job.run.rglob("*") if path.is_file()] == ["mine"]


def test_run_folder_holds_what_is_documented(finished):
    job, outcome = finished
    assert sorted(path.name for path in job.run.iterdir()) == [
        "adapter", "checkpoints", "data_report.json", "done.json", "events", "loss.svg", "metrics.jsonl", "pack_plan.bin",
        "report.html", "resolved.yaml", "run.json", "run.lock", "timing.jsonl", "train.log"]
    assert sorted(checkpoints(job.run)) == [7, 8], "save_total_limit is 2"
    assert pinned_steps(job.run) == sorted({4, 8, best_evaluation(job.run)}), "epoch ends and the best evaluation"
    log = (job.run / "train.log").read_text()
    assert outcome.err.endswith(log[log.index("saved step 0"):]), "train.log is what stderr showed"


def test_run_and_done_records(finished):
    job, _ = finished
    run = json.loads((job.run / "run.json").read_text())
    done = json.loads((job.run / "done.json").read_text())
    for record in (run, done):
        assert record["config"]["lora_r"] == 20 and record["parent"] is None and record["tokenizer_sha256"] is None
        files = {item["path"]: (item["size"], item["sha256"]) for item in record["data"]}
        assert files == {path.name: (path.stat().st_size, file_sha256(path))
                         for path in job.folder.glob("*.jsonl")}
    assert run["config_hash"] == done["config_hash"] and re.fullmatch("[0-9a-f]{64}", run["config_hash"])
    assert run["plan_sha256"] == file_sha256(job.run / "pack_plan.bin")
    assert done["step"] == 8 and done["checkpoint"] == "step-000008.safetensors"
    assert done["adapter"] == {path.name: file_sha256(path) for path in (job.run / "adapter").iterdir()}


def test_checkpoints_follow_the_written_format(finished):
    job, _ = finished
    run = json.loads((job.run / "run.json").read_text())
    _, adapter = read_safetensors(job.run / "adapter/adapter_model.safetensors")
    for path in [*checkpoints(job.run).values(), *(job.run / "checkpoints/pinned").iterdir()]:
        checkpoint = Checkpoint(path)
        manifest = checkpoint.manifest
        assert manifest["config_hash"] == run["config_hash"] and manifest["plan_sha256"] == run["plan_sha256"]
        assert manifest["build"] == run["build"] and manifest["device"] == run["device"]
        assert manifest["adam"]["t"] == checkpoint.step and manifest["adam"]["block_size"] == 256
        assert manifest["rng"] == {"algorithm": "philox4x32-10", "seed": 42}
        written = (job.run / "metrics.jsonl").read_bytes()[:manifest["metrics"]["bytes"]]
        assert len(json.loads(written.splitlines()[-1])) and written.endswith(b"\n")
        assert str(job.folder) not in checkpoint.bytes.decode("latin-1"), "no path of this machine"
    last = Checkpoint(checkpoints(job.run)[8])
    assert last.manifest["next_micro_batch"] == 14
    assert {name: last.tensors[name] for name in adapter} == {name: value[2] for name, value in adapter.items()}
    states = set(last.tensors) - set(adapter)
    small, large = [name for name in states if ".m32." in name], [name for name in states if name.startswith("adam.m.")]
    assert small and large, "both kinds of optimizer states"
    for name in large:
        factor = name.removeprefix("adam.m.")
        count = last.shapes[factor][0] * last.shapes[factor][1]
        assert count >= 4096 and len(last.tensors[name]) == count
        assert last.shapes[f"adam.m_absmax.{factor}"] == [math.ceil(count / 256)]


def test_adapter_names_order_and_types(finished):
    job, _ = finished
    metadata, tensors = read_safetensors(job.run / "adapter/adapter_model.safetensors")
    assert list(tensors) == [f"base_model.model.model.layers.{layer}.{module}.lora_{factor}.weight"
                             for layer in range(2) for module in MODULES for factor in "AB"]
    assert {dtype for dtype, _, _ in tensors.values()} == {"F32"}
    assert tensors["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"][1] == [20, 224]
    assert tensors["base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"][1] == [32, 20]
    assert metadata["format"] == "pt" and metadata["shori.step"] == "8" and metadata["shori.parent"] == ""
    assert re.fullmatch("[0-9a-f]{64}", metadata["shori.base_fingerprint"])


def test_second_start_trains_nothing(finished):
    job, _ = finished
    before = snapshot(job.folder)
    for arguments in ([], ["--resume"], ["--check"], ["--plan"]):
        outcome = must(train(job.config, *arguments))
        assert "done" in outcome.err and outcome.acknowledged == -1
        assert snapshot(job.folder) == before, arguments


def test_check_and_plan_write_nothing(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    before = snapshot(tmp_path)
    for option in ("--check", "--plan"):
        outcome = must(train(job.config, option))
        assert snapshot(tmp_path) == before
        table = next(line for line in outcome.err.splitlines() if line.startswith("run "))
        assert re.fullmatch(r"run\s+17\s+420\s+7\s+8\s+0\.004\s+to train", table), table
    outcome = must(train(job.config, "--check", "--verbose"))
    for text in ("learning_rate: 0.004", "lora_r: 20", "data: 17 conversations in 2 files"):
        assert text in outcome.err, text


def test_blockml_run(tmp_path, text_model):
    scenes(tmp_path / "scenes", 12, 3)
    scenes(tmp_path / "held", 3, 4)
    job = Job(tmp_path, text_model, datasets=[{"path": "scenes/", "type": "blockml", "category": "high"}],
              test_datasets=[{"path": "held/", "type": "blockml", "category": "top"}], sequence_len=256,
              train_on_inputs=False, gradient_accumulation_steps=1, num_epochs=5, name="talk")
    must(train(job.config))
    losses = [line["loss"] for line in metrics(job.run, "step")]
    assert losses[-1] < losses[0] - 0.5, losses
    first, *_, last = metrics(job.run, "eval")
    assert first["stage"] == "talk" and first["dataset"] == "held/" and last["loss"] < first["loss"] - 0.5
    assert list(last["loss_by_role"]) == ["eos", "message"], "only messages are targets"
    assert list(last["loss_by_category"]) == ["top"] and last["loss_by_category"]["top"] == last["loss"]
    report = json.loads((job.run / "data_report.json").read_text())
    assert report["total"]["masked"] > 0, "titles and tags are not trained"


VARIANTS = {
    "fp32": {"bf16": False},
    "16-bit base": {"adapter": "lora", "load_in_4bit": False},
    "no packing": {"sample_packing": False},
    "padded": {"pad_to_sequence_len": True},
    "two packs in a pass": {"micro_batch_size": 2, "gradient_accumulation_steps": 1},
    "axolotl": {"compat": "axolotl-2024"},
    "part of the modules": {"lora_target_linear": False, "lora_target_modules": ["q_proj", "v_proj"]},
    "cosine": {"lr_scheduler": "cosine", "warmup_steps": 2},
    "other rank": {"lora_r": 8, "lora_alpha": 32},
}


def check_cosine(job, steps):
    """The curve of torch's LambdaLR in transformers, two steps of warm-up: the rate of a step is that after the step before."""
    def share(done):
        return done / 2 if done < 2 else 0.5 * (1 + math.cos(math.pi * (done - 2) / (len(steps) - 2)))
    rates = [line["learning_rate"] for line in steps]
    assert rates == pytest.approx([SETTINGS["learning_rate"] * share(done) for done in range(len(steps))], rel=1e-12)


def adapter_shapes(job):
    _, tensors = read_safetensors(job.run / "adapter/adapter_model.safetensors")
    return {name: shape for name, (_, shape, _) in tensors.items()}


def check_modules(job, _steps):
    assert {name.split(".")[-3] for name in adapter_shapes(job)} == {"q_proj", "v_proj"}


def check_rank(job, _steps):
    assert {min(shape) for shape in adapter_shapes(job).values()} == {8}
    peft = json.loads((job.run / "adapter/adapter_config.json").read_text())
    assert peft["r"] == 8 and peft["lora_alpha"] == 32


def same_first_losses(plain, steps, tolerance):
    assert steps[0]["targets"] == plain[0]["targets"]
    assert steps[0]["loss"] == pytest.approx(plain[0]["loss"], rel=tolerance)


def test_variants_train(tmp_path, token_model):
    """Each learns, and does what its keys say."""
    def work(name):
        job = TokenJob(tmp_path / name.replace(" ", "-"), token_model, **VARIANTS.get(name, {}))
        must(train(job.config))
        return name, (job, metrics(job.run, "step"))

    done = dict(in_parallel(work, [*VARIANTS, "default"]))
    for name, (_, steps) in done.items():
        assert steps[-1]["loss"] < steps[0]["loss"] - 0.1, (name, steps)
    plain = done["default"][1]
    check_cosine(*done["cosine"])
    check_modules(*done["part of the modules"])
    check_rank(*done["other rank"])
    same_first_losses(plain, done["padded"][1], 1e-6)
    same_first_losses(plain, done["fp32"][1], 5e-3)
    assert [line["micro_batches"] for line in done["two packs in a pass"][1]] == [1] * len(plain)
    assert [line["targets"] for line in done["two packs in a pass"][1]] == [line["targets"] for line in plain]
    assert max(line["micro_batches"] for line in plain) == 2
    unpacked = done["no packing"][1]
    assert all(line["samples"] == line["micro_batches"] for line in unpacked), "a sample is a micro-batch"
    assert any(line["samples"] > line["micro_batches"] for line in plain)
    assert done["16-bit base"][1][0]["loss"] != plain[0]["loss"], "the base was not quantized"


def test_plain_and_reference_operations_agree(tmp_path, token_model):
    runs = {}
    for name, env in {"fast": {}, "reference": {"SHORI_OPS": "reference"}}.items():
        job = TokenJob(tmp_path / name, token_model, bf16=False, lora_dropout=0.0)
        must(train(job.config, env=env))
        runs[name] = [line["loss"] for line in metrics(job.run, "step")]
    assert runs["fast"] == pytest.approx(runs["reference"], rel=1e-3)


def test_set_replaces_a_key(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    must(train(job.config, "--set", "max_steps=2", "--set", "learning_rate=1e-3"))
    steps = metrics(job.run, "step")
    assert len(steps) == 2 and {line["learning_rate"] for line in steps} == {0.001}


def test_watchdog_stops_with_the_state_saved(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, loss_watchdog_threshold=0.01, loss_watchdog_patience=2)
    outcome = must(train(job.config), 6)
    assert outcome.errors == ["E0602"]
    assert not (job.run / "done.json").exists() and outcome.acknowledged >= 1
    job.write(loss_watchdog_threshold=..., loss_watchdog_patience=...)
    resumed = must(train(job.config, "--resume"))
    assert resumed.resumed_at >= outcome.acknowledged


def test_version_and_help(tmp_path):
    version = must(train("--version"))
    assert re.match(r"shori-train \d+\.\d+", version.out)
    usage = must(train("--help"))
    for option in ("--resume", "--check", "--plan", "--set", "--from", "--only", "--json-errors", "--help-keys",
                   "--explain", "--version"):
        assert option in usage.out


def key_rows(text):
    """Key, default and class of each row of a Markdown table of keys. A row may name several keys."""
    for row in re.findall(r"^\| (`.+) \|$", text, re.M):
        keys, default, kind = re.split(r" \| ", row)[:3]
        names = re.findall("`([a-z0-9_.]+)`", keys)
        defaults = default.split(", ") if len(names) > 1 else [default]
        yield from zip(names, defaults, [kind] * len(names), strict=True)


def test_keys_of_the_readme(tmp_path):
    """README has the keys that people change: each exists and has the default and class that the program names."""
    offered = {key: (default, kind) for key, default, kind in key_rows(must(train("--help-keys=markdown")).out)}
    assert len(offered) > 60
    section = re.search(r"^## Configuration\n(.*?)^## ", (SOURCE / "README.md").read_text(), re.M | re.S)[1]
    documented = list(key_rows(section))
    assert len(documented) >= 12
    for key, default, kind in documented:
        words = {"**required**": "(required)", "-": "(unset)"}
        assert offered[key] == (words.get(default, default), kind), key


def test_help_keys_formats(tmp_path):
    text = must(train("--help-keys")).out
    assert "\nlora_r: 20 " in text and "decided by the program" in text
    assert must(train("--help-keys=text")).out == text
    assert "--help-keys=html: choose text or markdown" in must(train("--help-keys=html"), 2).err


@pytest.mark.parametrize("code, exit_code", [("E0001", 1), ("E0101", 2), ("E0207", 3), ("E0502", 4), ("E0404", 5),
                                             ("E0601", 6), ("E0501", 7)])
def test_explain(code, exit_code):
    printed = must(train("--explain", code))
    assert re.match(rf"{code}: .+ \(exit {exit_code}\)\n\n.{{60,}}", printed.out, re.S), printed.out


def test_usage_errors(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    for code, arguments in (("E0116", []), ("E0117", ["--explain", "E9999"]), ("E0117", [job.config, "--only", "high"]),
                            ("E0116", [job.config, "--from", "low", "--only", "low"]),
                            ("E0113", [job.config, "--set", "max_steps"])):
        assert must(train(*arguments), 2).errors == [code], arguments
    for arguments in (["--no-such-option"], [job.config, "--set"], [job.config, "second.yaml"]):
        assert must(train(*arguments), 2).err, arguments
    assert must(train(tmp_path / "jbo.yaml"), 2).errors == ["E0108"]
    assert not job.run.exists()


BAD_CONFIG = """\
base_model: missing-model
output_dir: run
learning_rate: 7.25e5
lora_apha: 16
lora_r: 20
lora_r: 8
bf16: yes
deepspeed: zero3.json
sequence_len: 0x10
datasets: [{path: train.jsonl, type: tokenized}]
"""


def test_all_config_errors_in_one_go(tmp_path):
    config = tmp_path / "bad.yaml"
    config.write_text(BAD_CONFIG)
    printed = must(train(config, "--json-errors"), 2)
    places = {(d["code"], d["line"], d["column"]) for d in printed.diagnostics}
    assert {("E0103", 3, 16), ("E0101", 4, 1), ("E0102", 6, 1), ("E0104", 7, 7), ("E0112", 8, 1),
            ("E0106", 9, 15)} <= places, places
    for diagnostic in printed.diagnostics:
        if diagnostic["code"] == "E0404":
            continue  # a build for GPUs says as well that there is none
        assert list(diagnostic) == ["code", "severity", "message", "file", "line", "column", "end_column", "notes",
                                    "help", "exit_code"]
        assert diagnostic["severity"] == "error"
        assert diagnostic["exit_code"] == (3 if diagnostic["code"] == "E0315" else 2), "missing data is said as well"
        assert os.path.basename(diagnostic["file"]) == "bad.yaml"
    typo = next(d for d in printed.diagnostics if d["code"] == "E0101")
    assert any("lora_alpha" in text for text in typo["help"])
    shown = must(train(config), 2)
    assert sorted(shown.errors) == sorted(printed.errors)
    assert f"--> {config}:4:1\n   |\n 4 | lora_apha: 16\n   | ^^^^^^^^^" in shown.err, shown.err
    assert "shori-train --explain E0101" in shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml"]


def test_missing_keys_model_and_device(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    job.write(learning_rate=..., output_dir=...)
    assert must(train(job.config), 2).errors == ["E0114", "E0114"]
    job.write(learning_rate=0.001, output_dir="run", base_model="../modell")
    assert must(train(job.config), 2).errors == ["E0108"]
    job.write(base_model="no-such-org/no-such-model")
    assert must(train(job.config, env={"HF_HUB_CACHE": str(tmp_path)}), 2).errors == ["E0108"]
    job.write(base_model=str(token_model), device="cuda")
    assert must(train(job.config), 5).errors == ["E0404"]
    job.write(device="cpu", datasets=[{"path": "nothing-*.jsonl", "type": "tokenized"}])
    assert must(train(job.config), 3).errors == ["E0315"]
    job.write(datasets=[{"path": "train.jsonl", "type": "tokenized"}], num_epochs=0)
    assert must(train(job.config), 2).errors == ["E0115"]
    assert not job.run.exists()


def test_output_folder_that_cannot_be_used(tmp_path, token_model):
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    job = TokenJob(tmp_path, token_model)
    for target in ("file", "link", "file/below"):
        job.write(output_dir=target)
        outcome = must(train(job.config), 4)
        assert outcome.errors == ["E0513"], repr(outcome)
    assert list((tmp_path / "real").iterdir()) == []
