"""An interrupted run ends with the bytes of an untouched one, and no acknowledged step is lost."""
import hashlib
import json
import random
import re
import shutil
import signal
import time

import pytest

from run_folders import (
    Checkpoint,
    check_nothing_half_written,
    checkpoints,
    file_sha256,
    final_state,
    flip,
    newest_checkpoint,
    pinned_steps,
    tensor_state,
)
from shori_programs import export, in_parallel, must, start_train, train
from small_jobs import TokenJob, make_model, token_lines

STEPS = 8


def resume(job, stopped, expected=tensor_state):
    """Goes on after `stopped` and returns the state at the end."""
    check_nothing_half_written(job.run)
    if (job.run / "done.json").exists():
        assert stopped.code == 0, repr(stopped)
        return expected(job.run)
    outcome = must(train(job.config, "--resume"))
    assert outcome.resumed_at >= stopped.acknowledged, repr(outcome)
    return expected(job.run)


def test_stop_after_each_step(tmp_path, token_model, untouched):
    def work(step):
        job = TokenJob(tmp_path / f"step-{step}", token_model)
        number = random.Random(step).choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        with start_train(job.config) as running:
            assert running.wait_for(rf"saved step {step} \(durable\)")
            running.signal(number)
            stopped = running.finish()
        assert stopped.code == 75 or (step == STEPS and stopped.code == 0), repr(stopped)
        if stopped.code == 75:
            assert f"shori-train {job.config} --resume" in stopped.err
            assert newest_checkpoint(job.run).step == stopped.acknowledged
        return resume(job, stopped)

    expected = tensor_state(untouched.run)
    for state in in_parallel(work, range(STEPS + 1)):
        assert state == expected


def test_stop_inside_steps(tmp_path, token_model):
    """Larger steps, so that the signal falls into forward, backward or update; several stops a run."""
    settings = {"samples": 56, "gradient_accumulation_steps": 8, "sequence_len": 512, "held_out": 0}
    plain = TokenJob(tmp_path / "plain", token_model, **settings)
    must(train(plain.config))
    expected = tensor_state(plain.run)

    def work(seed):
        job, source = TokenJob(tmp_path / f"run-{seed}", token_model, **settings), random.Random(seed)
        arguments, stops, newest = [], 0, -1
        while not (job.run / "done.json").exists():
            with start_train(job.config, *arguments) as running:
                if stops < 4 and running.wait_for(r"saved step \d|resumed at step"):
                    time.sleep(source.random() * 0.1)  # anywhere inside the steps that follow
                    running.signal(signal.SIGINT)
                stopped = running.finish()
            assert stopped.code in (0, 75), repr(stopped)
            assert stopped.resumed_at is None or stopped.resumed_at >= newest
            check_nothing_half_written(job.run)
            newest = newest_checkpoint(job.run).step
            assert newest >= stopped.acknowledged
            arguments, stops = ["--resume"], stops + (stopped.code == 75)
        return stops, tensor_state(job.run)

    results = in_parallel(work, range(4))
    assert sum(stops for stops, _ in results) >= 8
    for _, state in results:
        assert state == expected


def test_early_signals(tmp_path, token_model):
    """Before step 0 is durable nothing is there to resume: 130 or 143, and a plain start works."""
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        job = TokenJob(tmp_path / str(code), token_model)
        with start_train(job.config) as running:
            assert running.wait_for("resolved config")
            running.signal(number)
            stopped = running.finish()
        if stopped.code == 75:
            assert stopped.acknowledged >= 0
            continue
        assert stopped.code == code and stopped.acknowledged == -1, repr(stopped)
        must(train(job.config))


def test_pin_request(tmp_path, token_model, untouched):
    job = TokenJob(tmp_path, token_model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(signal.SIGUSR1)
        assert running.finish().code == 0
    assert pinned_steps(job.run) == pinned_steps(untouched.run)
    (requested,) = (job.run / "checkpoints/requested").iterdir()
    step = Checkpoint(requested).step
    must(export("adapter", job.run, "--step", str(step), "--out", tmp_path / "requested"))
    assert tensor_state(job.run)["adapter/adapter_model.safetensors"] == \
        tensor_state(untouched.run)["adapter/adapter_model.safetensors"]


def test_superseded_evaluations_of_an_older_version(tmp_path, token_model):
    """It kept each evaluation that was the best so far; the resumed run ends with the bytes of an untouched one."""
    settings = {"eval_steps": 1, "num_epochs": 3}
    # Each checkpoint has the config in it: a limit that only the interrupted run has would show in those that it still writes.
    untouched = TokenJob(tmp_path / "untouched", token_model, save_total_limit=9, **settings)
    must(train(untouched.config))
    job, links = TokenJob(tmp_path / "job", token_model, save_total_limit=9, **settings), []
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 7 \(durable\)")
        running.signal(signal.SIGINT)
        assert running.finish().code == 75
    for step, path in checkpoints(job.run).items():
        name = job.run / "checkpoints/pinned" / path.name
        if Checkpoint(path).manifest["guards"]["best_step"] == step and not name.exists():
            name.hardlink_to(path)
            links.append(step)
    assert len(links) > 1
    (job.run / "checkpoints/pinned/notes.txt").write_text("mine")
    must(train(job.config, "--resume"))
    (job.run / "checkpoints/pinned/notes.txt").unlink()
    ours, theirs = final_state(job.run), final_state(untouched.run)
    assert len(theirs) > 4 and {key: ours.get(key) for key in theirs} == theirs
    assert pinned_steps(job.run) == pinned_steps(untouched.run)


def test_start_without_resume_is_refused(tmp_path, half_way):
    job = half_way.copy(tmp_path / "job")
    before = {path: path.stat().st_mtime_ns for path in job.run.rglob("*")}
    outcome = must(train(job.config), 2)
    assert outcome.errors == ["E0507"] and "--resume" in outcome.err
    assert {path: path.stat().st_mtime_ns for path in job.run.rglob("*")} == before


def test_resume_of_nothing(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    assert must(train(job.config, "--resume"), 4).errors == ["E0506"]
    assert not job.run.exists()


def damaged_places(path):
    """Offsets in every part of a checkpoint: length, header, first and last tensor, manifest, seal."""
    size, header = path.stat().st_size, int.from_bytes(path.read_bytes()[:8], "little")
    manifest = Checkpoint(path)
    text = len(json.dumps(manifest.manifest, separators=(",", ":"), ensure_ascii=False).encode())
    capacity = size - 64 - (8 + header + sum(len(value) for value in manifest.tensors.values()))
    return {"length": 0, "header": 8 + header // 2, "padding of the header": 8 + header - 1, "first tensor": 8 + header,
            "last tensor": size - 64 - capacity - 1, "manifest": size - 64 - capacity + text // 2,
            "padding of the manifest": size - 65, "magic": size - 64, "size": size - 56, "step": size - 48,
            "digest": size - 30, "version": size - 8, "version, upwards": size - 7}


def test_damaged_newest_checkpoint(tmp_path, half_way, untouched):
    newest = newest_checkpoint(half_way.run)
    places = damaged_places(newest.path)

    def work(name):
        job = half_way.copy(tmp_path / name.replace(" ", "-"))
        path = checkpoints(job.run)[newest.step]
        if name == "truncated":
            path.write_bytes(newest.bytes[:-1])
        elif name == "empty":
            path.write_bytes(b"")
        elif name == "grown":
            path.write_bytes(newest.bytes + b"\0")
        elif name == "other step":
            path.write_bytes(checkpoints(job.run)[newest.step - 1].read_bytes())
        else:
            flip(path, places[name])
        outcome = must(train(job.config, "--resume"))
        assert outcome.errors == ["E0503"], (name, repr(outcome))
        assert newest.path.name in outcome.err and outcome.resumed_at == newest.step - 1
        assert f"the run goes on from step {newest.step - 1}\n" in outcome.err, repr(outcome)
        assert f"it is now {job.run}/checkpoints/damaged/{newest.path.name}\n" in outcome.err, repr(outcome)
        assert re.search(r"resumed at step \d+ of \d+ \(epoch \d+\.\d\d\)", outcome.err), repr(outcome)
        assert [p.name for p in (job.run / "checkpoints/damaged").iterdir()] == [newest.path.name]
        return name, final_state(job.run)

    expected = final_state(untouched.run)
    for name, state in in_parallel(work, [*places, "truncated", "empty", "grown", "other step"]):
        assert {key: state[key] for key in expected} == expected, name


def test_all_checkpoints_damaged(tmp_path, half_way):
    job = half_way.copy(tmp_path / "job")
    for path in checkpoints(job.run).values():
        flip(path, path.stat().st_size // 2)
    outcome = must(train(job.config, "--resume"), 4)
    assert outcome.errors == ["E0503", "E0503", "E0506"], repr(outcome)
    assert len(list((job.run / "checkpoints/damaged").iterdir())) == 2
    again = train(job.config, "--resume")
    assert again.code == 4 and again.errors == ["E0506"], "never a silent fresh start"


def replace_in_manifest(path, before, after, version=1):
    """Replaces bytes by as many others; the seal agrees with the result."""
    tensors = sum(len(value) for value in Checkpoint(path).tensors.values())
    data = bytearray(path.read_bytes())
    head = 8 + int.from_bytes(data[:8], "little")
    assert len(before) == len(after) and before in data[head + tensors:]
    data[head + tensors:] = data[head + tensors:].replace(before, after)
    digest = hashlib.sha256(data[:head] + data[head + tensors:-64]).digest()
    data[-40:] = digest + version.to_bytes(8, "little")
    path.write_bytes(data)


def test_checkpoint_of_a_newer_program(tmp_path, half_way):
    """A whole file of format 2: manifest and seal agree about it."""
    job = half_way.copy(tmp_path / "job")
    path = newest_checkpoint(job.run).path
    replace_in_manifest(path, b'"format":1,', b'"format":2,', version=2)
    assert must(train(job.config, "--resume"), 4).errors == ["E0515"]
    assert path.exists(), "not damaged, not moved"


def test_foreign_names_are_ignored(tmp_path, half_way, untouched):
    job = half_way.copy(tmp_path / "job")
    folder = job.run / "checkpoints"
    for name in ("step-99.safetensors", "step-000099.safetensors.bak", "step-0000000000099.safetensors", ".next.tmp",
                 ".other.tmp"):
        (folder / name).write_bytes(b"not a checkpoint")
    must(train(job.config, "--resume"))
    assert tensor_state(job.run) == tensor_state(untouched.run)
    assert not list(folder.glob(".*.tmp")), "leftovers of earlier runs are removed"


def test_linked_checkpoint_is_not_followed(tmp_path, half_way):
    job = half_way.copy(tmp_path / "job")
    path = newest_checkpoint(job.run).path
    path.rename(tmp_path / path.name)
    path.symlink_to(tmp_path / path.name)
    outcome = must(train(job.config, "--resume"))
    assert outcome.errors == ["E0503"] and outcome.resumed_at == int(path.name[5:11]) - 1


def test_metrics_cut_and_missing(tmp_path, half_way, untouched):
    longer = half_way.copy(tmp_path / "longer")
    with (longer.run / "metrics.jsonl").open("a") as file:
        file.write('{"type":"step","stage":"run","st')
    outcome = must(train(longer.config, "--resume"))
    assert outcome.codes == [] and tensor_state(longer.run) == tensor_state(untouched.run)
    shorter = half_way.copy(tmp_path / "shorter")
    (shorter.run / "metrics.jsonl").write_text("")
    outcome = must(train(shorter.config, "--resume"))
    assert outcome.codes == ["W0501"]
    name = "adapter/adapter_model.safetensors"
    assert tensor_state(shorter.run)[name] == tensor_state(untouched.run)[name]


def test_changed_config(tmp_path, half_way):
    job = half_way.copy(tmp_path / "job")
    job.write(learning_rate=0.002, lora_dropout=0.0)
    outcome = must(train(job.config, "--resume"), 2)
    assert outcome.errors == ["E0504"]
    for text in ("`learning_rate` 0.004 -> 0.002", "`lora_dropout` 0.1 -> 0"):
        assert text in outcome.err, repr(outcome)
    assert must(train(job.config, "--check"), 2).errors == ["E0504"]


def test_keys_that_may_change(tmp_path, half_way, untouched):
    job = half_way.copy(tmp_path / "job")
    job.write(logging_steps=3, save_total_limit=4, threads=2)
    must(train(job.config, "--resume"))
    expected = tensor_state(untouched.run)
    state = tensor_state(job.run)
    assert {key: state[key] for key in expected} == expected
    assert len(checkpoints(job.run)) == 4


def make_earlier_version(run):
    """The records as a version wrote them for which `tf32` was numeric: another hash, and in run.json `tf32: true`."""
    record = run / "run.json"
    config_hash = json.loads(record.read_text())["config_hash"]
    for path in checkpoints(run).values():
        replace_in_manifest(path, config_hash.encode(), b"a" * 64)
    text = record.read_text().replace(config_hash, "a" * 64)
    assert '"tf32":false' in text
    record.write_text(text.replace('"tf32":false', '"tf32":true'))


def test_run_of_an_earlier_version(tmp_path, half_way, untouched):
    job = half_way.copy(tmp_path / "job")
    make_earlier_version(job.run)
    job.write(learning_rate=0.002)
    assert must(train(job.config, "--resume"), 2).errors == ["E0504"]
    job.write(learning_rate=0.004)
    must(train(job.config, "--resume"))
    name = "adapter/adapter_model.safetensors"
    assert tensor_state(job.run)[name] == tensor_state(untouched.run)[name]


def test_changed_data(tmp_path, half_way):
    job = half_way.copy(tmp_path / "job")
    (job.folder / "train.jsonl").write_text(token_lines(14, 2))
    outcome = must(train(job.config, "--resume"), 3)
    assert outcome.errors == ["E0508"] and "train.jsonl" in outcome.err
    assert re.search(r"sha256 [0-9a-f]{8} -> [0-9a-f]{8}", outcome.err)


def test_changed_base(tmp_path, half_way, token_model):
    """Another header is seen before loading, other weights when they are read."""
    job = half_way.copy(tmp_path / "job")
    job.write(base_model=str(make_model(tmp_path / "longer", "--vocab", 520)))
    assert must(train(job.config, "--resume"), 3).errors == ["E0508"]
    job.write(base_model=str(make_model(tmp_path / "seed", "--vocab", 512, "--seed", 7)))
    outcome = must(train(job.config, "--resume"), 3)
    assert outcome.errors == ["E0508"] and "base" in outcome.err
    shutil.copytree(token_model, tmp_path / "moved")
    job.write(base_model=str(tmp_path / "moved"))
    must(train(job.config, "--resume"))


def test_other_build(tmp_path, half_way, untouched):
    job = half_way.copy(tmp_path / "job")
    record = json.loads((job.run / "run.json").read_text())
    text = (job.run / "run.json").read_text().replace(json.dumps(record["build"]), '"another build"')
    (job.run / "run.json").write_text(text)
    assert must(train(job.config, "--resume"), 2).errors == ["E0509"]
    job.write(resume_on_other_build="warn")
    outcome = must(train(job.config, "--resume"))
    assert "another build" in outcome.err
    name = "adapter/adapter_model.safetensors"
    assert tensor_state(job.run)[name] == tensor_state(untouched.run)[name]


@pytest.mark.parametrize("damage", ["cut off", "empty", "missing"])
def test_run_json_is_made_again_from_the_newest_checkpoint(tmp_path, half_way, untouched, damage):
    job = half_way.copy(tmp_path / "job")
    record = job.run / "run.json"
    whole = record.read_text()
    record.unlink() if damage == "missing" else record.write_text(whole[:100] if damage == "cut off" else "")
    assert must(train(job.config), 2).errors == ["E0507"], "as where it is whole"
    assert must(train(job.config, "--resume", "--set", "learning_rate=0.002"), 2).errors == ["E0504"]
    job.write(base_model=str(make_model(tmp_path / "seed", "--vocab", 512, "--seed", 7)))
    assert must(train(job.config, "--resume"), 3).errors == ["E0508"], "the weights are compared"
    job.write(base_model=str(half_way.model))
    outcome = must(train(job.config, "--resume"))
    assert "run.json could not be read: made again from the checkpoint of step " in outcome.err and outcome.errors == []
    name = "adapter/adapter_model.safetensors"
    assert tensor_state(job.run)[name] == tensor_state(untouched.run)[name]
    assert record.read_text() == whole.replace(str(half_way.folder), str(job.folder))


@pytest.mark.parametrize("name", ["done.json", "run.json"])
def test_a_damaged_record_of_a_finished_run_is_made_again_as_the_message_says(tmp_path, token_model, untouched, name):
    job = untouched.copy(tmp_path / "job")
    before = final_state(job.run)
    (job.run / name).write_text("{")
    refused = must(train(job.config), 4) if name == "done.json" else must(train("--status", job.run), 4)
    assert refused.errors == ["E0506"] and "delete done.json" in refused.err, repr(refused)
    (job.run / "done.json").unlink()
    must(train(job.config, "--resume"))
    assert final_state(job.run) == before and "run: finished" in must(train("--status", job.run)).out


def test_folder_in_use(tmp_path, token_model, untouched):
    job = TokenJob(tmp_path, token_model, samples=56)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(signal.SIGSTOP)
        second = train(job.config, "--resume")
        third = must(train(job.config, "--check"))
        running.signal(signal.SIGKILL)
        running.finish()
    assert second.code == 7 and second.errors == ["E0501"], repr(second)
    assert re.search(r"shori-train, process \d+ on \S+, since \S+", second.err)
    assert "interrupted at step" in third.err, "--check takes no lock"
    assert must(train(job.config, "--resume")).resumed_at >= 1, "the lock of a dead program is gone"


def test_exactly_one_of_two_starts_wins(tmp_path, token_model):
    def pair(number):
        job = TokenJob(tmp_path / str(number), token_model, samples=28)
        outcomes = in_parallel(lambda _: train(job.config), range(2))
        final_state(job.run)
        return sorted(outcome.code for outcome in outcomes), outcomes

    for codes, outcomes in [pair(number) for number in range(4)]:
        # The slower one may also arrive when a run is there (E0507) or all is done (0).
        assert codes[0] == 0 and codes[1] in (0, 2, 7), outcomes
        assert not {code for o in outcomes for code in o.errors} - {"E0501", "E0507"}, outcomes


def test_data_of_evaluations_may_move_but_not_change(tmp_path, half_way, untouched):
    """The adapter does not depend on them, but best_step, the pinned checkpoints and the curve do: one run, one measure."""
    table = must(train("--help-keys=markdown")).out
    assert re.search(r"^\| `test_datasets` .*\| place \|", table, re.M)
    entry = {"path": "held-out.jsonl", "type": "tokenized"}
    for name in ("moved", "changed", "removed"):
        job = half_way.copy(tmp_path / name)
        path = (job.folder / "test.jsonl").rename(job.folder / entry["path"])
        job.write(test_datasets=[entry] if name != "removed" else ..., eval_steps=3 if name != "removed" else ...)
        if name == "moved":
            must(train(job.config, "--resume"))
            adapters = {file_sha256(run / "adapter/adapter_model.safetensors") for run in (job.run, untouched.run)}
            assert len(adapters) == 1, "only the lines of evaluations name the path"
            continue
        if name == "changed":
            path.write_text(token_lines(3, 99))
        assert set(must(train(job.config, "--resume"), 3).errors) == {"E0508"}
