"""Signals at any moment: what is documented happens, and nothing is half-written."""
import os
import signal
import subprocess

import pytest

from faults import TRAIN, ShortJob, check_recovery, surroundings
from run_folders import check_nothing_half_written, checkpoints, final_state, snapshot, tensor_state
from shori_programs import EXPORT, Running, export, in_parallel, must, start_train, train


@pytest.fixture(scope="module")
def traced(tmp_path_factory, one_layer, injector):
    """(job, calls) of an untouched run."""
    folder = tmp_path_factory.mktemp("traced")
    job = ShortJob(folder / "job", one_layer)
    return job, injector.trace(TRAIN, job.run, folder / "trace", job.config)


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def test_stop_at_any_call(tmp_path, one_layer, injector, traced):
    """Calls all over a run meet a signal: 75 once step 0 is durable, 130 or 143 before."""
    done, calls = traced
    first_durable = calls.index(("renameat2", "checkpoints/step-000000.safetensors")) + 2
    expected = tensor_state(done.run)

    def work(at):
        number = STOPS[at // 7 % 3]
        job = ShortJob(tmp_path / f"job-{at}", one_layer)
        around = surroundings(job)
        outcome = injector.run(TRAIN, job.run, tmp_path / f"log-{at}", at, f"signal:{number.value}", job.config)
        place = f"{number.name} at {at}, {calls[at - 1]}: {outcome!r}"
        immediate = 143 if number == signal.SIGTERM else 130
        allowed = {75, 0} if at > first_durable else {75, immediate}
        assert outcome.code in allowed, place
        assert outcome.errors == [], place
        if outcome.code == 75:
            assert f"shori-train {job.config} --resume" in outcome.err, place
            assert max(checkpoints(job.run)) == outcome.acknowledged, place
        elif outcome.code != 0:
            assert outcome.acknowledged == -1, place
        check_nothing_half_written(job.run)
        if outcome.code != 0:
            must(train(job.config, *(["--resume"] if checkpoints(job.run) else [])))
        assert tensor_state(job.run) == expected, place
        assert surroundings(job) == around
        return outcome.code

    codes = in_parallel(work, range(1, len(calls) + 1, 7))
    assert {75, 130, 143} <= set(codes)


def test_second_signal_ends_a_program_that_hangs(tmp_path, one_layer, injector, traced):
    """The disk hangs in the middle of a checkpoint: the first signal cannot be obeyed, the second ends at once."""
    done, calls = traced
    writes = [at for at, call in enumerate(calls, 1) if call == ("write", "checkpoints/.next.tmp")]
    spots = [writes[len(writes) // 2], calls.index(("renameat2", "checkpoints/step-000003.safetensors")) + 1,
             calls.index(("renameat2", "checkpoints/step-000003.safetensors")) + 2]
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        for at in spots:
            job, log = ShortJob(tmp_path / f"{code}-{at}", one_layer), tmp_path / f"log-{code}-{at}"
            around = surroundings(job)
            with Running(TRAIN, job.config, env=injector.environment(job.run, log, at=at, kind="hang")) as running:
                assert running.wait_for(r"saved step 2 \(durable\)")
                while not log.exists():
                    assert running.process.poll() is None
                running.signal(number)
                while is_pending(running.process.pid, number):
                    assert running.process.poll() is None
                running.signal(number)
                outcome = running.finish()
            assert outcome.code == code, repr(outcome)
            assert "stopped at once" in outcome.err and "is safe; resume with: " in outcome.err, repr(outcome)
            check_recovery(job, outcome, around, final_state(done.run))


def is_pending(pid, number):
    """Whether a signal that was sent has not been taken yet: a second one of its kind would be lost."""
    with open(f"/proc/{pid}/status") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def test_pin_requests_at_any_call(tmp_path, one_layer, injector, traced):
    done, calls = traced
    expected = final_state(done.run)

    def work(at):
        job = ShortJob(tmp_path / f"job-{at}", one_layer)
        outcome = injector.run(TRAIN, job.run, tmp_path / f"log-{at}", at, f"signal:{signal.SIGUSR1.value}", job.config)
        assert outcome.code == 0, repr(outcome)
        check_nothing_half_written(job.run)
        state = final_state(job.run)
        assert {key: state[key] for key in expected} == expected, (at, calls[at - 1])
        return set(state) - set(expected)

    kept = in_parallel(work, range(5, len(calls), len(calls) // 12))
    assert any(kept) and all(name.startswith("checkpoints/requested/") for names in kept for name in names)


def test_closed_terminal_does_not_stop_training(tmp_path, one_layer, traced):
    """Nobody reads stderr any more: SIGPIPE is ignored, and the log file has it all."""
    done, _ = traced
    job = ShortJob(tmp_path / "job", one_layer)
    reader, writer = os.pipe()
    os.close(reader)
    code = subprocess.run([str(TRAIN), str(job.config)], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
                          check=False).returncode
    os.close(writer)
    assert code == 0 and final_state(job.run) == final_state(done.run)
    assert "saved step 6 (durable)" in (job.run / "train.log").read_text()


def test_hangup_is_ignored_under_nohup(tmp_path, one_layer, traced):
    done, _ = traced
    job = ShortJob(tmp_path / "job", one_layer)
    process = subprocess.Popen([str(TRAIN), str(job.config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    for line in process.stderr:
        if "saved step 1 (durable)" in line:
            process.send_signal(signal.SIGHUP)
    process.stderr.close()
    assert process.wait() == 0 and final_state(job.run) == final_state(done.run)


def test_pause_and_continue(tmp_path, one_layer, traced):
    done, _ = traced
    job = ShortJob(tmp_path / "job", one_layer)
    with start_train(job.config) as running:
        for step in (0, 2, 4):
            assert running.wait_for(rf"saved step {step} \(durable\)")
            running.signal(signal.SIGSTOP)
            running.signal(signal.SIGCONT)
        assert running.finish().code == 0
    assert final_state(job.run) == final_state(done.run)


def test_stop_while_a_resume_loads(tmp_path, one_layer, traced, injector):
    """Steps are saved already, so that such a stop is 75, too."""
    def stopped(name):
        job = ShortJob(tmp_path / name, one_layer)
        with start_train(job.config) as running:
            assert running.wait_for(r"saved step 2 \(durable\)")
            running.signal(signal.SIGINT)
            assert running.finish().code == 75
        return job

    first, second = stopped("first"), stopped("second")
    calls = injector.trace(TRAIN, first.run, tmp_path / "trace", first.config, "--resume")
    at = [call for call, _ in calls].index("flock") + 1  # after it the base is read and loaded
    before = max(checkpoints(second.run))
    outcome = injector.run(TRAIN, second.run, tmp_path / "log", at, f"signal:{signal.SIGINT.value}", second.config,
                           "--resume")
    assert outcome.code == 75 and max(checkpoints(second.run)) == before, repr(outcome)
    must(train(second.config, "--resume"))
    assert tensor_state(second.run) == tensor_state(first.run) == tensor_state(traced[0].run)


def test_check_is_stopped_by_a_signal(tmp_path, one_layer, traced, injector):
    """Before anything is written there is nothing to save: 130."""
    job = ShortJob(tmp_path / "job", one_layer)
    before = snapshot(job.folder)
    # Calls on the job's folder while its data are read.
    calls = injector.trace(TRAIN, job.folder, tmp_path / "trace", job.config, "--check")
    at = next(i for i, (call, path) in enumerate(calls, 1) if path == "train.jsonl")
    outcome = injector.run(TRAIN, job.folder, tmp_path / "log", at, f"signal:{signal.SIGINT.value}", job.config, "--check")
    assert outcome.code == 130 and snapshot(job.folder) == before, repr(outcome)


# ---- exports --------------------------------------------------------------------------------------------------------

EXPORTS = {"adapter": [], "merged": ["--base"]}


def export_arguments(kind, run, model, out):
    return [kind, run, "--out", out, *(["--base", model] if kind == "merged" else [])]


@pytest.mark.parametrize("kind", EXPORTS)
def test_export_killed_or_stopped_at_any_call(tmp_path, one_layer, injector, traced, kind):
    """The target is complete or not there; a second try makes it."""
    done, _ = traced
    (tmp_path / "traced").mkdir()
    calls = injector.trace(EXPORT, tmp_path / "traced", tmp_path / "trace",
                           *export_arguments(kind, done.run, one_layer, tmp_path / "traced/out"))
    expected = snapshot(tmp_path / "traced/out")
    assert expected

    def work(case):
        at, fault = case
        folder = tmp_path / f"{at}-{fault.replace(':', '-')}"
        folder.mkdir()
        arguments = export_arguments(kind, done.run, one_layer, folder / "out")
        outcome = injector.run(EXPORT, folder, tmp_path / f"log-{at}-{fault.replace(':', '-')}", at, fault, *arguments)
        place = f"{fault} at {at}, {calls[at - 1]}: {outcome!r}"
        assert outcome.code in ({-9} if fault == "kill" else {0, 130, 143}), place
        if (folder / "out").exists():
            assert snapshot(folder / "out") == expected, place
        if outcome.code != 0 and not (folder / "out").exists():
            again = export(*arguments)
            assert again.code == 0, f"{place}\nsecond try: {again!r}"
        assert snapshot(folder / "out") == expected, place
        return outcome.code

    step = max(1, len(calls) // 16)
    cases = [(at, "kill") for at in range(1, len(calls) + 1, step)]
    cases += [(at, f"signal:{signal.SIGINT.value}") for at in range(2, len(calls) + 1, step * 3)]
    in_parallel(work, cases)


def test_export_with_a_full_disk(tmp_path, one_layer, injector, traced):
    done, _ = traced
    (tmp_path / "disk").mkdir()
    switch = tmp_path / "full"
    switch.write_text("")
    env = injector.environment(tmp_path / "disk", tmp_path / "log", full=switch)
    outcome = export(*export_arguments("merged", done.run, one_layer, tmp_path / "disk/out"), env=env)
    assert outcome.code == 4 and "ENOSPC" in outcome.err and not (tmp_path / "disk/out").exists(), repr(outcome)
    switch.unlink()
    must(export(*export_arguments("merged", done.run, one_layer, tmp_path / "disk/out")))
