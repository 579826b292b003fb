"""Samples during training: what is written, that training does not notice, and that a kill in a sample loses nothing."""
import json
import signal
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from run_folders import checkpoints, metrics
from shori_programs import must, refused, start_train, train
from small_jobs import Job, scenes

KEYS = ["type", "stage", "step", "prompt", "preset", "seed", "hint", "bucket", "tokens", "stop", "impersonated",
        "repetition", "text"]
PRESETS = ["main", "alternative-1", "alternative-2"]
# Longer than a chunk of a prompt, whose keys and values may be kept between samples of one step only.
PROMPT = "▀description\nAya\n" + "goes to the river " * 36 + "▄\n" '▀title\nA walk▄\n▀message\nAya: "Hello."▄\n▀message (length: tiny)\nBen:'

OTHER = PROMPT[:PROMPT.rindex("▀message")] + "▀message\n"  # shares the first chunk

def make_job(folder, model, **settings):
    """A run of a few steps with one conversation held out."""
    folder.mkdir()
    scenes(folder / "data", 7, 3)
    (folder / "greeting.txt").write_text(PROMPT)
    return Job(folder, model, **{"datasets": [{"path": str(folder / "data"), "type": "blockml"}], "val_set_size": 1,
                                 "sequence_len": 256, "num_epochs": 1, "gradient_accumulation_steps": 1, **settings})


def of_type(job, *types):
    return [line for line in metrics(job.run) if line["type"] in types]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, text_model):
    """The same run without samples, and with two prompts every second step."""
    folder = tmp_path_factory.mktemp("samples")
    plain = make_job(folder / "plain", text_model)
    sampled = make_job(folder / "sampled", text_model, sample_steps=2)
    (sampled.folder / "other.txt").write_text(OTHER, encoding="utf-16")  # test_kill_in_a_sample has the same in UTF-8
    sampled.write(sample_prompts=[str(sampled.folder / "greeting.txt"), str(sampled.folder / "other.txt")])
    for job in (plain, sampled):
        must(train(job.config))
    return plain, sampled


def test_training_does_not_notice(jobs):
    plain, sampled = jobs
    adapters = [(job.run / "adapter/adapter_model.safetensors").read_bytes() for job in jobs]
    assert adapters[0][-4096:] == adapters[1][-4096:]
    assert of_type(plain, "step", "eval") == [line | {"stage": line["stage"]} for line in of_type(sampled, "step", "eval")]
    assert of_type(plain, "end")[0]["adapter_sha256"] == of_type(sampled, "end")[0]["adapter_sha256"]
    assert not of_type(plain, "sample")


def test_lines(jobs):
    _, sampled = jobs
    lines = of_type(sampled, "sample")
    last = of_type(sampled, "end")[0]["step"]
    due = sorted({*range(0, last + 1, 2), last})
    assert [(line["step"], line["prompt"], line["preset"]) for line in lines] == \
        [(step, prompt, preset) for step in due for prompt in ("greeting", "other") for preset in PRESETS]
    for line in lines:
        assert list(line) == KEYS
        assert line["hint"] == ("tiny" if line["prompt"] == "greeting" else None)
        assert line["seed"] == 42 and 0 <= line["repetition"] <= 1 and line["tokens"] < 256
        assert line["stop"] in ("block_end", "eos", "next_block", "length")
    assert "sample run step 0 greeting main: " in (sampled.run / "train.log").read_text()


def test_tensorboard(jobs):
    _, sampled = jobs
    reader = EventAccumulator(str(sampled.run / "events"), size_guidance={"tensors": 0, "scalars": 0})
    reader.Reload()
    assert {f"sample/greeting/{preset}/text_summary" for preset in PRESETS} <= set(reader.Tags()["tensors"])
    assert {"sample/stop_rate", "sample/hint_match_rate", "sample/impersonation_rate", "sample/repetition"} <= \
        set(reader.Tags()["scalars"])


def test_kill_in_a_sample(tmp_path, text_model, jobs):
    _, untouched = jobs
    job = make_job(tmp_path / "killed", text_model, sample_steps=2)
    (job.folder / "other.txt").write_text(OTHER)
    job.write(sample_prompts=[str(job.folder / "greeting.txt"), str(job.folder / "other.txt")])
    with start_train(job.config) as running:
        running.wait_for("saved step 1")
        time.sleep(0.3)  # step 2 takes milliseconds, its samples seconds
        running.signal(signal.SIGKILL)
        assert running.finish().code == -9
    assert max(checkpoints(job.run)) == 1
    must(train(job.config, "--resume"))
    assert (job.run / "metrics.jsonl").read_bytes() == (untouched.run / "metrics.jsonl").read_bytes()


def test_prompt_of_the_first_held_out_conversation(tmp_path, text_model):
    job = make_job(tmp_path / "job", text_model, sample_steps=100)
    must(train(job.config))
    lines = of_type(job, "sample")
    assert {line["prompt"] for line in lines} == {"held-out"}
    assert len({line["step"] for line in lines}) == 2  # before the first step and after the last


def test_memory_plan_counts_the_cache(tmp_path, text_model):
    job = make_job(tmp_path / "job", text_model, sample_steps=100)
    assert "keys and values" in must(train(job.config, "--plan")).err


def test_length_of_samples(tmp_path, text_model):
    """An output key: what is trained is the same, and a run goes on with another length."""
    job = make_job(tmp_path / "job", text_model, sample_steps=2, sample_prompts="greeting.txt", sample_max_tokens=3)
    with start_train(job.config) as running:
        running.wait_for("saved step 1")
        running.signal(signal.SIGINT)
        running.finish()
    assert {(line["tokens"], line["stop"]) for line in of_type(job, "sample")} == {(3, "length")}
    job.write(sample_max_tokens=5)
    must(train(job.config, "--resume"))
    assert {line["tokens"] for line in of_type(job, "sample")} == {3, 5}
    plain = make_job(tmp_path / "plain", text_model)
    must(train(plain.config))
    assert of_type(plain, "end")[0]["adapter_sha256"] == of_type(job, "end")[0]["adapter_sha256"]


@pytest.mark.parametrize("settings, code", [
    ({"sample_prompts": "missing.txt"}, "E0203"),
    ({"sample_prompts": 3}, "E0203"),
    ({"sample_prompts": {"a": 1}}, "E0104"),
    ({"sample_steps": 0}, "E0103"),
    ({"sample_steps": 1, "sample_max_tokens": 0}, "E0103"),
    ({"sample_steps": 1, "val_set_size": 0}, "E0107"),
], ids=json.dumps)
def test_refused(tmp_path, text_model, settings, code):
    refused(make_job(tmp_path / "job", text_model, **settings), code, 2 if code != "E0203" else 3)
