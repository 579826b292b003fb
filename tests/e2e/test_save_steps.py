"""`save_steps`: which steps have checkpoints, what a stop saves, and what a kill between two saves loses."""
import re
import signal

import pytest

from run_folders import checkpoints, metrics, tensor_state
from shori_programs import must, start_train, train
from small_jobs import TokenJob

SAVED = re.compile(r"saved step (\d+) \(durable\)")
# One epoch and no evaluation: neither saves a step of its own.
ONE_EPOCH = {"samples": 28, "held_out": 0, "num_epochs": 1, "save_total_limit": 100, "lengths": (40,), "sequence_len": 40,
             "gradient_accumulation_steps": 4}


def make(folder, model, **settings):
    return TokenJob(folder, model, **{**ONE_EPOCH, **settings})


@pytest.fixture(scope="module")
def every_step(tmp_path_factory, token_model):
    job = make(tmp_path_factory.mktemp("every"), token_model)
    must(train(job.config))
    return job


def adapter_of(job):
    return tensor_state(job.run)["adapter/adapter_model.safetensors"]


def test_which_steps_are_saved(tmp_path, token_model, every_step):
    steps = len(metrics(every_step.run, "step"))
    assert steps == 7 and list(checkpoints(every_step.run)) == list(range(steps + 1))
    job = make(tmp_path / "job", token_model, save_steps=3)
    outcome = must(train(job.config))
    assert sorted({int(step) for step in SAVED.findall(outcome.err)}) == [0, 3, 6, 7], "the start, every third, the end"
    assert list(checkpoints(job.run)) == [0, 3, 6, 7]
    assert adapter_of(job) == adapter_of(every_step), "when it saves changes no number"


def test_a_stop_saves_the_last_completed_step(tmp_path, token_model, every_step):
    job = make(tmp_path / "job", token_model, save_steps=1000)
    with start_train(job.config) as running:
        assert running.wait_for(r"step 3/7")
        running.signal(signal.SIGTERM)
        stopped = running.finish()
    assert stopped.code == 75, repr(stopped)
    completed = metrics(job.run, "step")[-1]["step"]
    assert 3 <= completed < 7
    assert max(checkpoints(job.run)) == completed, "the step that was done last, not the last multiple of save_steps"
    resumed = must(train(job.config, "--resume"))
    assert resumed.resumed_at == completed
    assert adapter_of(job) == adapter_of(every_step)


def test_a_kill_loses_what_was_done_since_the_last_save(tmp_path, token_model, every_step):
    job = make(tmp_path / "job", token_model, save_steps=3)
    with start_train(job.config) as running:
        assert running.wait_for(r"step 5/7")
        running.signal(signal.SIGKILL)
        running.finish()
    newest = max(checkpoints(job.run))
    assert newest in (3, 6)
    resumed = must(train(job.config, "--resume"))
    assert resumed.resumed_at == newest
    assert [line["step"] for line in metrics(job.run, "step")] == list(range(1, 8))
    assert adapter_of(job) == adapter_of(every_step)


def test_a_lost_tail_longer_than_all_that_comes(tmp_path, token_model, every_step):
    """Lines after the checkpoint are cut before new ones are written: what is still to come does not cover them."""
    job = make(tmp_path / "job", token_model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 5 \(durable\)")
        running.signal(signal.SIGKILL)
        running.finish()
    with (job.run / "metrics.jsonl").open("a") as file:
        file.write('{"type":"step","stage":"run","step":99,"loss":1}\n' * 1000)
    must(train(job.config, "--resume"))
    assert (job.run / "metrics.jsonl").read_bytes() == (every_step.run / "metrics.jsonl").read_bytes()
