"""Settings that cannot do what they say, with both numbers: a warm-up as long as the run (a run that trained nothing ended with "done"),
max_steps beyond the epochs, intervals longer than the run, run folders in their own data."""
import json

import pytest

from run_folders import adapter_values, metrics
from shori_programs import must, train
from small_jobs import TokenJob


def steps_of(job):
    return metrics(job.run, "step")


def job_of(folder, model, **settings):
    """Three steps an epoch."""
    fixed = {"samples": 3, "lengths": (40,), "held_out": 0, "gradient_accumulation_steps": 1, "num_epochs": 1}
    return TokenJob(folder, model, **{**fixed, **settings})


def test_warmup_longer_than_run(tmp_path, token_model):
    job = job_of(tmp_path / "three", token_model, lr_scheduler="cosine", warmup_steps=100)
    outcome = must(train(job.config, "--check"))
    assert outcome.codes == ["W0101"]
    assert "`warmup_steps` 100 is not shorter than the run of 3 steps" in outcome.err
    assert "the highest rate is 2/100 of `learning_rate`" in outcome.err and "write `warmup_steps: 0`" in outcome.err
    assert must(train(job.config)).codes == ["W0101"], "the start says the same"
    strict = job_of(tmp_path / "strict", token_model, lr_scheduler="cosine", warmup_steps=3, warnings_as_errors=True)
    assert train(strict.config).code == 2 and not strict.run.exists()


def test_warmup_of_a_run_of_one_step_is_refused(tmp_path, token_model):
    job = job_of(tmp_path, token_model, samples=1, lr_scheduler="linear", warmup_steps=10)
    for more in (["--check"], []):
        outcome = must(train(job.config, *more), 2)
        assert outcome.codes == ["E0119"]
        assert "`warmup_steps` 10 is not shorter than the run of 1 step: the rate is 0 in every step" in outcome.err
    assert not job.run.exists()
    assert must(train(job.config, "--set", "warmup_steps=0")).codes == [], "the fix works"


def test_a_run_that_changed_nothing_says_so(tmp_path, token_model):
    job = job_of(tmp_path, token_model, samples=1, learning_rate=1e-45, lr_scheduler="constant", lora_dropout=0.0)
    outcome = must(train(job.config))
    assert "W0603" in outcome.codes and "no weight of the adapter changed in 1 step" in outcome.err


def test_max_steps_beyond_epochs(tmp_path, token_model):
    """Axolotl and transformers repeat epochs until max_steps (transformers #6439, unsloth #594)."""
    job = job_of(tmp_path / "alone", token_model, max_steps=7, num_epochs=...)
    check = must(train(job.config, "--check", "--verbose"))
    assert check.codes == [] and "num_epochs: 3" in check.err
    must(train(job.config))
    steps = steps_of(job)
    assert [line["step"] for line in steps] == list(range(1, 8)) and 2 < steps[-1]["epoch"] <= 3
    must(train(job.config, "--resume"))  # done: the derived number of epochs is part of the run
    capped = job_of(tmp_path / "both", token_model, max_steps=7, num_epochs=1)
    outcome = must(train(capped.config, "--check"))
    assert outcome.codes == ["W0101"] and "`max_steps` 7 is not reached: 1 epoch has 3 steps" in outcome.err
    short = job_of(tmp_path / "short", token_model, max_steps=2, num_epochs=...)
    must(train(short.config))
    assert len(steps_of(short)) == 2


def test_max_steps_repeats_the_epochs_of_num_epochs(tmp_path, token_model):
    """The same steps in the same order as a run that names its epochs."""
    adapters = []
    for name, settings in {"epochs": {"num_epochs": 3}, "steps": {"num_epochs": ..., "max_steps": 9}}.items():
        job = job_of(tmp_path / name, token_model, **settings)
        must(train(job.config))
        adapters.append(adapter_values(job.run))
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("settings, text", [
    ({"save_steps": 500}, "`save_steps` 500 is not reached in 3 steps"),
    ({"logging_steps": 50}, "`logging_steps` 50 is not reached in 3 steps"),
    ({"held_out": 2, "eval_steps": 20}, "`eval_steps` 20 is not reached in 3 steps"),
    ({"loss_watchdog_threshold": 99.0, "loss_watchdog_patience": 4}, "`loss_watchdog_patience` 4 is not reached in 3 steps"),
    ({"gradient_accumulation_steps": 8}, "`gradient_accumulation_steps` 8 is never reached: an epoch has 3 micro-batches"),
    ({"micro_batch_size": 4}, "`micro_batch_size` 4 is never filled: an epoch has 3 packs"),
])
def test_numbers_that_are_never_reached(tmp_path, token_model, settings, text):
    job = job_of(tmp_path, token_model, **settings)
    outcome = must(train(job.config, "--check"))
    assert outcome.codes == ["W0101"] and text in outcome.err, repr(outcome)


@pytest.mark.parametrize("settings", [
    {"save_steps": 3}, {"logging_steps": 3}, {"held_out": 2, "eval_steps": 3}, {"gradient_accumulation_steps": 3},
    {"micro_batch_size": 3}, {"lr_scheduler": "cosine", "warmup_steps": 2}, {"max_steps": 3}, {"loss_watchdog_patience": 3,
                                                                                                "loss_watchdog_threshold": 99.0},
])
def test_numbers_that_are_just_reached(tmp_path, token_model, settings):
    assert must(train(job_of(tmp_path, token_model, **settings).config, "--check")).codes == []


def test_output_dir_in_data(tmp_path, token_model):
    job = job_of(tmp_path / "job", token_model)
    data = job.folder / "data"
    data.mkdir()
    (job.folder / "train.jsonl").rename(data / "train.jsonl")
    entries = [{"path": "data", "type": "tokenized"}]
    job.write(datasets=entries, output_dir="data/run")
    for more in (["--check"], []):
        outcome = must(train(job.config, *more), 2)
        assert outcome.codes == ["E0107"] and "`output_dir` lies in the data of `datasets`" in outcome.err
    assert [path.name for path in data.iterdir()] == ["train.jsonl"], "a refused start writes nothing"
    job.write(output_dir=".")
    assert "the data of `datasets` lie in `output_dir`" in must(train(job.config, "--check"), 2).err
    job.write(output_dir=str(token_model / "run"))
    assert "`output_dir` lies in `base_model`" in must(train(job.config, "--check"), 2).err
    job.write(output_dir="run")
    must(train(job.config))


def test_shares_of_the_run(tmp_path, token_model):
    """warmup_ratio, evals_per_epoch and saves_per_epoch as Axolotl counts them, shown as what they become."""
    job = job_of(tmp_path, token_model, samples=10, held_out=2, eval_steps=..., lr_scheduler="cosine", warmup_ratio=0.25,
                 evals_per_epoch=5, saves_per_epoch=2)
    check = must(train(job.config, "--check", "--verbose"))
    for key, value, written in [("warmup_steps", 2, "warmup_ratio: 0.25"), ("eval_steps", 2, "evals_per_epoch: 5"),
                                ("save_steps", 5, "saves_per_epoch: 2")]:
        assert any(line.startswith(f"{key}: {value} ") and line.endswith(f"# `{written}`") for line in check.err.splitlines()), check
    must(train(job.config))
    evaluated = [line["step"] for line in metrics(job.run, "eval")]
    assert evaluated == [0, 2, 4, 6, 8, 10]
    rates = [line["learning_rate"] for line in steps_of(job)]
    assert rates[0] == 0 and max(rates) == rates[2]
    manifest = json.loads((job.run / "run.json").read_text())
    assert manifest["config"]["warmup_steps"] == 2


@pytest.mark.parametrize("settings, text", [
    ({"eval_steps": 2}, "`eval_steps` has no effect"), ({"evals_per_epoch": 2}, "`evals_per_epoch` has no effect"),
    ({"loss_watchdog_patience": 2}, "`loss_watchdog_patience` has no effect"),
    ({"gpu_memory_limit": "20GiB"}, "`gpu_memory_limit` has no effect"),
    ({"sample_max_tokens": 20}, "`sample_max_tokens` has no effect"),
    ({"sequence_len": 10**6}, "`sequence_len` 1000000 is more than the "),
    ({"adapter": None}, "`adapter` is empty: `qlora` is trained"),
])
def test_settings_without_effect_are_warned_of(tmp_path, token_model, settings, text):
    outcome = must(train(job_of(tmp_path, token_model, **settings).config, "--check"))
    assert outcome.codes == ["W0101"] and text in outcome.err and "no problems but 1 warning" in outcome.err, repr(outcome)


def test_help_for_a_warmup_names_the_key_of_the_file_and_a_value_that_works(tmp_path, token_model):
    steps = job_of(tmp_path / "a", token_model, samples=5, lr_scheduler="cosine", warmup_steps=7)
    err = must(train(steps.config, "--check")).err
    assert "than the run of 5 steps" in err and "= help: write `warmup_steps: 0`\n" in err, err
    ratio = job_of(tmp_path / "b", token_model, lr_scheduler="cosine", warmup_ratio=1.0)
    err = must(train(ratio.config, "--check")).err
    assert "`warmup_ratio: 1.0` is 3 steps" in err and "= help: write `warmup_ratio: 0.1` or less" in err, err
    assert train(ratio.config, "--check", "--set", "warmup_ratio=0.1").codes == []
    alone = job_of(tmp_path / "c", token_model, lr_scheduler=..., warmup_ratio=0.05)
    err = must(train(alone.config, "--check"), 2).err
    assert "`constant` is the default: add `lr_scheduler: cosine`" in err, err


@pytest.mark.parametrize("kind", ["file", "below a file", "/proc/x", "/dev/null"])
def test_an_output_dir_that_cannot_be_made(tmp_path, token_model, kind):
    (tmp_path / "file").write_text("mine")
    path = {"file": str(tmp_path / "file"), "below a file": str(tmp_path / "file/run")}.get(kind, kind)
    outcome = must(train(job_of(tmp_path / "job", token_model, output_dir=path).config, "--check"), 4)
    assert outcome.codes == ["E0513"] and "`output_dir` cannot be made" in outcome.err, repr(outcome)


def test_roles_that_the_data_do_not_have(tmp_path, text_model):
    data = tmp_path / "a.blockml"
    data.write_text("▀message\nAya: Hello there.▄\n▀message\nBen: Good evening.▄\n")
    job = TokenJob(tmp_path / "job", text_model, held_out=0, train_on_inputs=..., datasets=[{"path": str(data)}], roles_to_train=["ooc"])
    assert must(train(job.config, "--check"), 3).errors == ["E0306"]
    outcome = must(train(job.config, "--check", "--set", "roles_to_train=[message, ooc]"))
    assert "`roles_to_train` names `ooc`" in outcome.err, repr(outcome)
