"""A stage that begins from an adapter or a checkpoint takes all of it, and only what fits."""
import json
import shutil
import signal

import pytest

from run_folders import Checkpoint, checkpoints, flip, newest_checkpoint, tensor_state
from shori_programs import export, in_parallel, must, start_train, train
from small_jobs import TokenJob, copy_folder, make_model, other_tokenizer, replace_file


def begun_from(folder, model, source, **settings):
    return TokenJob(folder, model, seed=5, init_from=str(source), num_epochs=1, **settings)


def test_init_from_run_adapter_and_checkpoint_agree(tmp_path, token_model, untouched):
    sources = {"run": untouched.run, "adapter": untouched.run / "adapter", "checkpoint": checkpoints(untouched.run)[8]}

    def work(name):
        job = begun_from(tmp_path / name, token_model, sources[name])
        outcome = must(train(job.config))
        assert "optimizer: fresh" in outcome.err and "begins from" in outcome.err
        return json.loads((job.run / "run.json").read_text())["parent"], tensor_state(job.run)

    (run_parent, run), (adapter_parent, adapter), (_, checkpoint) = in_parallel(work, sources)
    assert run_parent == adapter_parent == tensor_state(untouched.run)["adapter/adapter_model.safetensors"]
    assert run == adapter
    assert run["step-000004.safetensors"] == checkpoint["step-000004.safetensors"]


def test_optimizer_state_is_carried(tmp_path, token_model, untouched):
    job = begun_from(tmp_path, token_model, untouched.run, optimizer_state="carry", max_steps=1)
    assert "optimizer: carried" in must(train(job.config)).err
    before, start = Checkpoint(checkpoints(untouched.run)[8]), Checkpoint(checkpoints(job.run)[0])
    assert start.tensors == before.tensors and start.manifest["adam"]["t"] == 8
    assert Checkpoint(checkpoints(job.run)[1]).manifest["adam"]["t"] == 9
    bare = begun_from(tmp_path / "bare", token_model, untouched.run / "adapter", optimizer_state="carry")
    assert must(train(bare.config), 2).errors == ["E0510"]


def test_init_from_what_is_not_finished(tmp_path, token_model, half_way):
    job = begun_from(tmp_path / "a", token_model, half_way.run)
    outcome = must(train(job.config), 2)
    assert outcome.errors == ["E0510"] and newest_checkpoint(half_way.run).path.name in outcome.err
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "missing"):
        job = begun_from(tmp_path / "b", token_model, source)
        assert must(train(job.config), 2).errors == ["E0510"], source
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle/adapter_model.bin").write_bytes(b"\x80\x02")
    job = begun_from(tmp_path / "c", token_model, tmp_path / "pickle")
    assert must(train(job.config), 3).errors == ["E0202"]
    for name in "abc":
        assert not checkpoints(tmp_path / name / "run")


def test_init_from_an_adapter_that_does_not_fit(tmp_path, token_model, untouched):
    cases = {"rank": ({"lora_r": 8}, ["`r` 20"]), "alpha": ({"lora_alpha": 32}, ["`lora_alpha` 16"]),
             "modules": ({"lora_target_linear": False, "lora_target_modules": ["q_proj"]}, ["target_modules"])}
    for name, (settings, texts) in cases.items():
        job = begun_from(tmp_path / name, token_model, untouched.run, **settings)
        outcome = must(train(job.config), 2)
        assert set(outcome.errors) == {"E0511"}, repr(outcome)
        for text in texts:
            assert text in outcome.err, repr(outcome)
        assert not checkpoints(job.run)


def test_init_from_an_adapter_of_another_base(tmp_path, untouched):
    other = make_model(tmp_path / "model", "--vocab", 512, "--seed", 7)
    job = begun_from(tmp_path / "job", other, untouched.run)
    assert must(train(job.config), 3).errors == ["E0505"]
    assert not checkpoints(job.run)


@pytest.mark.parametrize("source", ["run", "checkpoint"])
def test_init_from_knows_another_base_and_another_alpha(tmp_path, token_model, untouched, source):
    """A checkpoint says in its manifest what a folder says in its files."""
    start = untouched.run if source == "run" else checkpoints(untouched.run)[8]
    other = copy_folder(token_model, tmp_path / "model")
    weights = other / "model.safetensors"
    bits = bytearray(weights.read_bytes())
    bits[-2] ^= 1
    replace_file(weights, bytes(bits))
    for code, exit_code, job in (("E0505", 3, begun_from(tmp_path / "base", other, start)),
                                 ("E0511", 2, begun_from(tmp_path / "alpha", token_model, start, lora_alpha=32))):
        for arguments in (["--check"], []):
            assert set(must(train(job.config, *arguments), exit_code).errors) == {code}
        assert not checkpoints(job.run)


@pytest.mark.parametrize("source", ["run", "checkpoint"])
def test_init_from_knows_another_tokenizer(tmp_path, text_model, source):
    """The weights are the same, so only the tokenizer tells that the ids mean other text."""
    first = TokenJob(tmp_path / "first", text_model, held_out=0, max_steps=1)
    must(train(first.config))
    other = copy_folder(text_model, tmp_path / "model")
    replace_file(other / "tokenizer.model", other_tokenizer((other / "tokenizer.model").read_bytes()))
    job = begun_from(tmp_path / "job", other, first.run if source == "run" else checkpoints(first.run)[1])
    for arguments in (["--check"], []):
        outcome = must(train(job.config, *arguments), 3)
        assert outcome.errors == ["E0505"] and "another tokenizer.model" in outcome.err, repr(outcome)
    assert not checkpoints(job.run)


@pytest.mark.parametrize("change", ["one bit", "missing"])
def test_init_from_a_finished_run_whose_adapter_changed(tmp_path, token_model, untouched, change):
    """done.json knows the files that the run wrote."""
    source = untouched.copy(tmp_path / "source")
    path = source.run / "adapter/adapter_model.safetensors"
    if change == "one bit":
        flip(path, path.stat().st_size - 2)
    else:
        path.unlink()
    job = begun_from(tmp_path / "job", token_model, source.run)
    for outcome in (train(job.config, "--check"), train(job.config), export("adapter", source.run, "--out", tmp_path / "out")):
        assert must(outcome, 2).errors == ["E0517"] and str(checkpoints(source.run)[8]) in outcome.err, repr(outcome)
    assert not checkpoints(job.run) and not (tmp_path / "out").exists()
    job.write(init_from=str(checkpoints(source.run)[8]))
    must(train(job.config))


def test_source_changed_after_the_stage_began(tmp_path, token_model, untouched):
    shutil.copytree(untouched.run / "adapter", tmp_path / "adapter")
    job = begun_from(tmp_path / "job", token_model, tmp_path / "adapter")
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(signal.SIGINT)
        assert running.finish().code == 75
    other = tmp_path / "other"
    must(export("adapter", untouched.run, "--step", "7", "--out", other))
    shutil.copyfile(other / "adapter_model.safetensors", tmp_path / "adapter/adapter_model.safetensors")
    assert must(train(job.config, "--resume"), 2).errors == ["E0516"]
