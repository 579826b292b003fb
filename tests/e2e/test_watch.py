"""What a person sees of a run: TensorBoard's events, `--status`, the report, the terminal."""
import re
import signal
import struct

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams

from run_folders import metrics
from shori_programs import must, start_train, train
from small_jobs import TokenJob

ALL = {"scalars": 0, "tensors": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_model):
    job = TokenJob(tmp_path_factory.mktemp("finished"), token_model)
    must(train(job.config))
    return job


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected_scalars(run):
    """tag -> [(step, value)] by the lines of metrics.jsonl."""
    expected = {}
    for line in metrics(run):
        values = {}
        if line["type"] == "step":
            keys = ("loss", "grad_norm", "learning_rate", "epoch", "tokens", "update_max")
            values = {f"train/{key}": line[key] for key in keys}
        elif line["type"] == "eval":
            tag = f"eval/{line['dataset']}"
            values = {f"{tag}/loss": line["loss"], f"{tag}/perplexity": line["perplexity"]}
            values |= {f"{tag}/loss_{role}": loss for role, loss in line["loss_by_role"].items()}
        for tag, value in values.items():
            expected.setdefault(tag, []).append((line["step"], float32(value)))
    return expected


def check_events(run):
    reader = EventAccumulator(str(run / "events"), size_guidance=ALL)
    reader.Reload()
    read = {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    of_clock = {tag: read.pop(tag) for tag in list(read) if tag.startswith(("speed/", "memory/"))}
    assert read == expected_scalars(run)
    steps = [line["step"] for line in metrics(run, "step")]
    assert set(of_clock) == {"speed/tokens_per_second", "memory/peak_bytes"}
    for values in of_clock.values():
        assert [step for step, _ in values] == sorted({step for step, _ in values}), "no step twice"
        assert {step for step, _ in values} <= set(steps)
    return reader


def test_events_hold_every_line(finished):
    reader = check_events(finished.run)
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    parameters = hparams.parse_session_start_info_plugin_data(content).hparams
    assert parameters["learning_rate"].number_value == 0.004 and parameters["lora_r"].number_value == 20
    assert parameters["train_on_inputs"].bool_value is True and parameters["lr_scheduler"].string_value == "constant"
    assert not any(str(finished.folder) in str(value) for value in parameters.values())


@pytest.mark.parametrize(("settings", "number"), [({}, signal.SIGKILL), ({}, signal.SIGINT),
                                                  ({"save_steps": 3}, signal.SIGKILL)])
def test_events_join_after_a_stop(tmp_path, token_model, settings, number):
    """Steps that are trained again after a kill are there once."""
    job = TokenJob(tmp_path, token_model, **settings)
    with start_train(job.config) as running:
        assert running.wait_for(r"step 4/8" if number == signal.SIGKILL else r"saved step 4 \(durable\)")
        running.signal(number)
        running.finish()
    must(train(job.config, "--resume"))
    assert len(list((job.run / "events").iterdir())) == 2
    check_events(job.run)


def test_events_of_a_run_of_an_earlier_version(tmp_path, token_model):
    """Its folder has no events; the first resume makes them of metrics.jsonl."""
    job = TokenJob(tmp_path, token_model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 4 \(durable\)")
        running.signal(signal.SIGINT)
        running.finish()
    for path in (job.run / "events").iterdir():
        path.unlink()
    must(train(job.config, "--resume"))
    check_events(job.run)


def test_status_of_a_run_that_goes_on_and_of_one_that_was_stopped(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, save_steps=100, num_epochs=400)
    with start_train(job.config) as running:
        assert running.wait_for(r"step 20/")
        before = (job.run / "run.lock").read_bytes()
        shown = must(train("--status", job.run)).out
        assert running.process.poll() is None and (job.run / "run.lock").read_bytes() == before
        assert f"run: running (shori-train, process {running.process.pid} on " in shown, shown
        assert re.search(r"  left        \d", shown) and re.search(r"  loss        \d+\.\d{4}, mean of the last 20 steps", shown)
        step = int(re.search(r"  step        ([\d,]+) of 1,600", shown)[1].replace(",", ""))
        assert 20 <= step, "steps that no checkpoint has yet count"
        running.signal(signal.SIGINT)
        running.finish()
    shown = must(train("--status", job.run)).out
    last = metrics(job.run, "step")[-1]
    assert "run: stopped: no process trains it\n" in shown
    assert f"  step        {last['step']:,} of 1,600" in shown and f"  loss        {last['loss']:.4f}" in shown
    assert f"  last save   step {last['step']}, " in shown


def test_status_of_a_finished_run(finished):
    shown = must(train("--status", finished.run)).out
    last = metrics(finished.run, "eval")
    best = min(last, key=lambda line: line["loss"])
    assert shown.startswith("run: finished\n") and "  step        8 of 8 (100.0 %, epoch 2.00)" in shown
    assert f"{last[-1]['loss']:.4f} at step 8" in shown
    assert best["step"] == 8 or f"best {best['loss']:.4f} at step {best['step']}" in shown
    assert str(finished.run / "adapter") in shown


def test_status_of_no_run(tmp_path):
    outcome = must(train("--status", tmp_path), 2)
    assert outcome.errors == ["E0510"] and "no run in" in outcome.err
