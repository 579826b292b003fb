"""A full disk pauses the run and ends nothing: it continues when there is room, to the same bytes."""
import errno
import os
import signal
import subprocess

import pytest

from faults import TRAIN, ShortJob, error
from run_folders import check_nothing_half_written, checkpoints, final_state
from shori_programs import Running, must, start_train, train


@pytest.fixture(scope="module")
def expected(tmp_path_factory, one_layer):
    job = ShortJob(tmp_path_factory.mktemp("untouched"), one_layer)
    must(train(job.config))
    return final_state(job.run)


def fill(path):
    """Takes every byte that the file system has left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError as failure:
                assert failure.errno == errno.ENOSPC


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte; where none may be mounted, a folder and a switch that makes its disk full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False)
    yield disk, done.returncode == 0
    if done.returncode == 0:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_file_system(small_disk, tmp_path, one_layer, injector, expected):
    disk, is_mounted = small_disk
    job, switch = ShortJob(disk / "job", one_layer), tmp_path / "full"
    env = None if is_mounted else injector.environment(job.run, tmp_path / "log", full=switch)
    with Running(TRAIN, job.config, env=env) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(signal.SIGSTOP)  # so that it does not finish before the disk is full
        fill(disk / "filler") if is_mounted else switch.write_text("")
        running.signal(signal.SIGCONT)
        assert running.wait_for(r"error\[E0502\]"), "it says so"
        assert running.wait_for("ENOSPC") and running.wait_for("the program continues")
        assert running.process.poll() is None, "and waits"
        if is_mounted:
            assert "the disk is full: " in must(train("--status", job.run)).out, "as its status says"
        (disk / "filler").unlink() if is_mounted else switch.unlink()
        outcome = running.finish()
    assert outcome.code == 0, repr(outcome)
    assert "the disk is full" not in must(train("--status", job.run)).out
    assert final_state(job.run) == expected


def test_full_file_system_at_the_start(small_disk, tmp_path, one_layer, injector):
    disk, is_mounted = small_disk
    job, switch = ShortJob(disk / "job", one_layer), tmp_path / "full"
    switch.write_text("")
    env = None if is_mounted else injector.environment(job.run, tmp_path / "log", full=switch)
    if is_mounted:
        fill(disk / "filler")
    outcome = train(job.config, env=env)
    assert outcome.code == 4 and outcome.acknowledged == -1, repr(outcome)
    assert set(outcome.errors) <= {"E0502", "E0512", "E0513"} and "ENOSPC" in outcome.err
    (disk / "filler").unlink(missing_ok=True)
    switch.unlink()
    must(train(job.config))


def test_stop_while_waiting_for_room(tmp_path, one_layer, injector, expected):
    """A signal ends the pause with E0502; the last durable step is there to go on from."""
    job, switch = ShortJob(tmp_path / "job", one_layer), tmp_path / "full"
    for number in (signal.SIGINT, signal.SIGTERM):
        env = injector.environment(job.run, tmp_path / f"log-{number}", full=switch)
        with Running(TRAIN, job.config, *(["--resume"] if checkpoints(job.run) else []), env=env) as running:
            assert running.wait_for(r"saved step \d \(durable\)")
            running.signal(signal.SIGSTOP)
            switch.write_text("")
            running.signal(signal.SIGCONT)
            assert running.wait_for(r"error\[E0502\]")
            running.signal(number)
            outcome = running.finish()
        assert outcome.code == 4 and "stopped while waiting for space" in outcome.err, repr(outcome)
        switch.unlink()
        check_nothing_half_written(job.run)
        assert max(checkpoints(job.run)) >= outcome.acknowledged
    must(train(job.config, "--resume"))
    assert final_state(job.run) == expected


def test_limit_of_the_file_size(tmp_path, one_layer, expected):
    """SIGXFSZ is ignored; its error (EFBIG) is handled like a full disk. The limit is lifted, and the run goes on."""
    job = ShortJob(tmp_path / "job", one_layer)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 2 \(durable\)")
        running.limit_file_size(4096)
        assert running.wait_for(r"error\[E0502\]") and running.wait_for("EFBIG")
        running.limit_file_size(1 << 40)
        outcome = running.finish()
    assert outcome.code == 0, repr(outcome)
    assert final_state(job.run) == expected


def test_limit_from_the_start(tmp_path, one_layer):
    """A disk without room for one checkpoint is reported before anything is trained."""
    import resource
    job = ShortJob(tmp_path / "job", one_layer)
    outcome = train(job.config, setup=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)))
    assert outcome.code == 4 and outcome.errors == ["E0502"] and outcome.acknowledged == -1, repr(outcome)
    must(train(job.config))


def test_space_is_reserved_before_it_is_needed(tmp_path, one_layer, injector):
    """The blocks of the next checkpoint are allocated while there is room; without fallocate it works all the same."""
    job = ShortJob(tmp_path / "job", one_layer)
    calls = injector.trace(TRAIN, job.run, tmp_path / "trace", job.config)
    size = checkpoints(job.run)[6].stat().st_size
    assert calls.count(("fallocate", "checkpoints/.next.tmp")) >= 7
    freed = max(i for i, call in enumerate(calls) if call == ("unlinkat", "checkpoints/.next.tmp"))
    assert freed < min(i for i, (_, path) in enumerate(calls) if path.startswith(".adapter.tmp")), "the adapter may take that room"
    with start_train(ShortJob(tmp_path / "other", one_layer).config) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(signal.SIGINT)
        running.finish()
    waiting = os.stat(tmp_path / "other/run/checkpoints/.next.tmp")
    assert waiting.st_size == size and waiting.st_blocks * 512 >= size
    at = calls.index(("fallocate", "checkpoints/.next.tmp")) + 1
    plain = ShortJob(tmp_path / "plain", one_layer)
    must(injector.run(TRAIN, plain.run, tmp_path / "log", at, error("EOPNOTSUPP"), plain.config))
    assert final_state(plain.run) == final_state(job.run)
