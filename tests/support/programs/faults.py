"""Makes any one call of the shipped programs on a folder fail, or interrupts or kills the program at it."""
import errno
import pathlib
import re
import subprocess

import pytest

from run_folders import check_nothing_half_written, checkpoints, final_state, snapshot
from shori_programs import SOURCE, TRAIN, must, run, train
from small_jobs import TokenJob, make_model

WRITES = {"write", "pwrite"}
# By their manual pages: calls that may fail with an I/O error, for lack of space, or because of a signal.
CAN_FAIL = WRITES | {"open", "openat", "fsync", "fdatasync", "renameat", "renameat2", "rename", "linkat", "ftruncate",
                     "fallocate", "mkdir", "close", "unlink", "unlinkat"}
CAN_LACK_ROOM = WRITES | {"openat", "fallocate", "mkdir", "linkat", "fsync"}
CAN_BE_INTERRUPTED = WRITES | {"fallocate"}


class Injector:
    def __init__(self, folder):
        self.library = folder / "fault_injector.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(self.library),
                        str(SOURCE / "tests/fault/fault_injector.c")], check=True, capture_output=True)

    def environment(self, root, log, **settings):
        return {"LD_PRELOAD": str(self.library), "FAULT_ROOT": str(root), "FAULT_LOG": str(log),
                **{f"FAULT_{name.upper()}": str(value) for name, value in settings.items()}}

    def trace(self, program, root, log, *arguments):
        """(call, path below root) of every call on the folder of an untouched run."""
        must(run(program, *arguments, env=self.environment(root, log, trace=1)))
        calls = [line.split(" ", 2) for line in pathlib.Path(log).read_text().splitlines()]
        assert [int(number) for number, _, _ in calls] == list(range(1, len(calls) + 1))
        names = r"(?<=\.)\d+-\d+\.(?=tmp$)|(?<=tfevents\.)\d+\.shori\.\d+\.(?=0$)"  # with process and time
        paths = [re.sub(names, "", path) for _, _, path in calls]
        return [(call, path.removeprefix(str(root)).lstrip("/")) for (_, call, _), path in zip(calls, paths)]

    def run(self, program, root, log, at, kind, *arguments, **settings):
        """The outcome of a run with the fault in call number `at`. Asserts that the fault happened."""
        outcome = run(program, *arguments, env=self.environment(root, log, at=at, kind=kind, **settings))
        fired = pathlib.Path(log).read_text() if pathlib.Path(log).exists() else ""
        assert f"fired {at} " in fired, f"the fault did not fire: {kind} at {at}\n{outcome!r}"
        return outcome


def error(name):
    return f"error:{getattr(errno, name)}"


@pytest.fixture(scope="session")
def injector(tmp_path_factory):
    return Injector(tmp_path_factory.mktemp("injector"))


@pytest.fixture(scope="session")
def one_layer(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "one", "--vocab", 512, "--layers", 1)


class ShortJob(TokenJob):
    """Six steps of a one-layer model with an adapter on one module: few calls, yet both kinds of optimizer states."""

    def __init__(self, folder, model, **settings):
        super().__init__(folder, model, samples=6, lengths=(40,), held_out=1, gradient_accumulation_steps=1,
                         num_epochs=2, max_steps=6, sequence_len=96, lora_target_linear=False,
                         lora_target_modules=["down_proj"], **settings)


def go_on(job):
    """Starts again as a user would until the run is done: a plain start before step 0 is durable, then --resume."""
    arguments = ["--resume"] if checkpoints(job.run) and not (job.run / "done.json").exists() else []
    return must(train(job.config, *arguments))


def check_recovery(job, stopped, around, expected):
    """What must hold after a fault ended (or did not end) a run."""
    check_nothing_half_written(job.run)
    if stopped.code == 0:
        assert (job.run / "done.json").exists(), repr(stopped)
    else:
        resumed = go_on(job)
        # Where nothing is to be trained again, nothing is resumed: all was saved.
        at = resumed.resumed_at if resumed.resumed_at is not None else max(checkpoints(job.run), default=-1)
        assert at >= stopped.acknowledged or stopped.acknowledged == -1, f"{stopped!r}\n{resumed!r}"
    state = final_state(job.run)
    differing = {key for key in {*state, *expected} if state.get(key) != expected.get(key)}
    assert not differing, f"{differing}\n{stopped!r}"
    assert surroundings(job) == around, "nothing outside of the run folder is touched"


def surroundings(job):
    """Everything but the run folder and the tokenized data kept beside it, of which at most one file is not hidden."""
    found = snapshot(job.folder)
    kept = [pathlib.Path(key).name for key in found if key.startswith(".prepared/")]
    shown = [name for name in kept if not name.startswith(".")]
    assert len(shown) <= 1 and all(name.endswith(".bin") for name in shown), kept
    return {key: value for key, value in found.items() if not key.startswith(("run", ".prepared"))}


__all__ = ["CAN_BE_INTERRUPTED", "CAN_FAIL", "CAN_LACK_ROOM", "TRAIN", "WRITES", "Injector", "ShortJob",
           "check_recovery", "error", "go_on", "injector", "one_layer", "surroundings"]
