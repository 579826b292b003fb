"""A fault at every single call on the run folder: kill, errors of the disk, no room, short writes, interruptions.

After each: nothing half-written under a final name, no acknowledged step lost, the bytes of an untouched run at the end,
nothing outside of the run folder changed.
"""
import random

import pytest

from faults import CAN_BE_INTERRUPTED, CAN_FAIL, CAN_LACK_ROOM, TRAIN, WRITES, ShortJob, check_recovery, error, go_on, surroundings
from run_folders import checkpoints, final_state
from shori_programs import export, in_parallel, must, start_train, train

# Codes by which a run may end when the disk fails it: all of them say what is safe and how to go on.
DISK_CODES = {"E0502", "E0503", "E0506", "E0508", "E0512", "E0513", "E0514", "E0213", "E0804"}


class Subject:
    """What is injected into: the calls of an untouched run and the state it ends in."""

    def __init__(self, folder, model, injector):
        self.model, self.injector = model, injector
        job = ShortJob(folder / "traced", model)
        self.calls = injector.trace(TRAIN, job.run, folder / "trace", job.config)
        self.expected = final_state(job.run)
        again = ShortJob(folder / "again", model)
        assert injector.trace(TRAIN, again.run, folder / "trace2", again.config) == self.calls, "calls repeat exactly"
        assert final_state(again.run) == self.expected
        self.spots = self.distinct_spots()

    def distinct_spots(self):
        """Numbers of the calls to fail: all, but for steps 4 and 5, which repeat step 2, and but for the writes between the
        first and the last of a checkpoint after the first."""
        durable, epoch_end, fifth = (self.calls.index(("renameat2", f"checkpoints/step-{step:06}.safetensors"))
                                     for step in (0, 3, 5))
        repeated = range(self.calls.index(("write", "metrics.jsonl"), epoch_end), fifth)
        write = ("write", "checkpoints/.next.tmp")
        return [i + 1 for i, call in enumerate(self.calls) if call[0] != "openat2" and i not in repeated and not (
            call == write and i > durable and self.calls[i - 1] == write and self.calls[i + 1] == write)]

    def changing_spots(self):
        """Those before which a kill is not the same as before the next call."""
        def changes(call, path):
            return call != "close" and (call not in ("open", "openat") or path.endswith((".tmp", ".lock", ".jsonl")))
        return [at for at in self.spots if changes(*self.calls[at - 1])]

    def check(self, folder, at, kind, **settings):
        """Injects the fault into a new run, then recovers from it. How the faulted run ended."""
        job = ShortJob(folder / f"{at}-{kind.replace(':', '-')}", self.model)
        around = surroundings(job)
        outcome = self.injector.run(TRAIN, job.run, folder / f"log-{at}-{kind.replace(':', '-')}", at, kind, job.config,
                                    **settings)
        try:
            self.check_end(outcome, kind)
            check_recovery(job, outcome, around, self.expected)
        except AssertionError as failure:
            raise AssertionError(f"{kind} at call {at}, {self.calls[at - 1]}: {failure}") from failure
        return outcome

    @staticmethod
    def check_end(outcome, kind):
        if kind == "kill":
            assert outcome.code == -9, repr(outcome)
        else:
            assert outcome.code in (0, 3, 4), repr(outcome)
            assert outcome.code == 0 or set(outcome.errors) <= DISK_CODES, repr(outcome)


@pytest.fixture(scope="module")
def subject(tmp_path_factory, one_layer, injector):
    return Subject(tmp_path_factory.mktemp("subject"), one_layer, injector)


def test_kill_between_a_new_best_evaluation_and_the_end_of_the_old_one(tmp_path, one_layer, injector):
    """The new one is durable in pinned/ before the old one goes, and a resume finishes what the kill left."""
    done = ShortJob(tmp_path / "traced", one_layer, eval_steps=1)
    calls = injector.trace(TRAIN, done.run, tmp_path / "trace", done.config)
    gone = [at for at, (call, path) in enumerate(calls, 1)
            if call == "unlinkat" and path.startswith("checkpoints/pinned/")]
    assert len(gone) > 1
    for at in gone:
        saved = max(i for i, (call, _) in enumerate(calls[:at]) if call == "renameat2")
        name = calls[saved][1].replace("checkpoints/", "checkpoints/pinned/")
        since = calls[saved:at - 1]
        assert name > calls[at - 1][1], "what was saved last is the new one, not the one that goes"
        assert ("fsync", "checkpoints/pinned") in since[since.index(("linkat", name)):], "the new name is synced first"

    def kill(at):
        job, log = ShortJob(tmp_path / f"job-{at}", one_layer, eval_steps=1), tmp_path / f"log-{at}"
        around = surroundings(job)
        outcome = injector.run(TRAIN, job.run, log, at, "kill", job.config)
        must(export("adapter", job.run, "--best", "--out", tmp_path / f"best-{at}"))
        check_recovery(job, outcome, around, final_state(done.run))

    in_parallel(kill, sorted({at + offset for at in gone for offset in (-2, -1, 0, 1)}))


def test_the_order_of_calls_makes_steps_durable(subject):
    """Metrics synced before the checkpoint that names them; file synced before its name; name synced before going on."""
    calls = subject.calls
    for step in range(7):
        name = f"checkpoints/step-{step:06}.safetensors"
        renamed = calls.index(("renameat2", name))
        before = calls[:renamed]
        assert before[-2:] == [("fsync", "checkpoints/.next.tmp"), ("close", "checkpoints/.next.tmp")]
        last_write = max(i for i, call in enumerate(before) if call == ("write", "checkpoints/.next.tmp"))
        first_write = min(i for i, call in enumerate(before) if call == ("write", "checkpoints/.next.tmp")
                          and i > max([j for j, c in enumerate(before) if c[0] == "renameat2"], default=-1))
        assert last_write < len(before) - 2
        metrics = [i for i, call in enumerate(before) if call[1] == "metrics.jsonl"]
        assert calls[metrics[-1]][0] == "fdatasync" and metrics[-1] < first_write
        assert calls[renamed + 1] == ("fsync", "checkpoints")
    unlinked = [path for call, path in calls if call == "unlinkat" and path.startswith("checkpoints/step-")]
    assert unlinked == [f"checkpoints/step-{step:06}.safetensors" for step in range(5)]
    finals = [path for call, path in calls if call in ("renameat", "rename") and "/" not in path.strip("/")]
    finals = [path for path in finals if path not in ("report.html", "loss.svg")]
    assert finals.index("adapter") < finals.index("done.json") == len(finals) - 1, "done.json is the last but for the report"


def test_new_names_are_synced_before_the_first_step(subject):
    """A power failure must not undo the name of a folder or a log that holds a durable step."""
    first = subject.calls.index(("renameat2", "checkpoints/step-000000.safetensors"))
    logs = [at for at, call in enumerate(subject.calls[:first]) if call in (("open", "metrics.jsonl"), ("open", "timing.jsonl"))]
    assert len(logs) == 2 and ("fsync", "") in subject.calls[logs[-1]:first]
    made = [at for at, (call, _) in enumerate(subject.calls) if call == "mkdir"]
    assert "checkpoints" in {subject.calls[at][1] for at in made}
    for at in made:
        path = subject.calls[at][1]
        parent = path.rpartition("/")[0]
        if path and not path.endswith(".tmp"):
            assert subject.calls[at + 1] == ("fsync", parent), f"{path}: {subject.calls[at:at + 4]}"


def test_kill_at_every_call(tmp_path, subject):
    outcomes = in_parallel(lambda at: subject.check(tmp_path, at, "kill"), subject.changing_spots())
    assert {outcome.acknowledged for outcome in outcomes} == set(range(-1, 7))


def kinds_for(call):
    kinds = []
    if call in CAN_FAIL:
        kinds.append(error("EIO"))
    if call in CAN_LACK_ROOM:
        kinds.append(error("ENOSPC"))
    if call in CAN_BE_INTERRUPTED:
        kinds.append(error("EINTR"))
    if call in WRITES:
        kinds.append("short")
    if call == "flock":
        kinds.append(error("ENOLCK"))
    return kinds


def test_one_error_at_every_call(tmp_path, subject):
    """Each call meets one of the kinds that suit it; over the steps of a run each kind of call meets all of them."""
    cases, met = [], {}
    first, last = (subject.calls.index(("renameat2", f"checkpoints/step-{step:06}.safetensors")) for step in (1, 5))
    for at in subject.spots:
        call, _ = subject.calls[at - 1]
        if first < at < last and call == "close":
            continue
        kinds = kinds_for(call)
        turn = met[call] = met.get(call, -1) + 1
        cases.append((at, kinds[turn % len(kinds)]))
    outcomes = in_parallel(lambda case: subject.check(tmp_path, *case), cases)
    for (at, kind), outcome in zip(cases, outcomes):
        call, path = subject.calls[at - 1]
        survives = path.startswith(("checkpoints/", "metrics.jsonl", "timing.jsonl")) and call in WRITES
        if survives or kind == "short" or kind == error("EINTR"):
            assert outcome.code == 0, f"{kind} at {at}, {call} {path}: the run should go on\n{outcome!r}"
        if survives and kind == error("ENOSPC"):
            assert "E0502" in outcome.errors, "the missing room is reported and waited for"


def test_a_disk_that_stays_broken(tmp_path, subject):
    """From one call on every write fails: three tries, then E0512 that names what is safe."""
    writes = [at for at, (call, path) in enumerate(subject.calls, 1)
              if call in ("write", "fsync", "renameat2") and path.startswith("checkpoints/")]
    chosen = random.Random(7).sample(writes, 8)

    def work(at):
        return subject.check(tmp_path, at, error("EIO"), forever=1)

    for at, outcome in zip(chosen, in_parallel(work, chosen)):
        assert outcome.code == 4 and "E0512" in outcome.errors, (subject.calls[at - 1], repr(outcome))
        assert "EIO" in outcome.err and "3 tries" in outcome.err


def test_a_failed_sync_is_never_repeated_on_the_same_file(tmp_path, subject, injector):
    """After a failed fsync the file is given up and a new one is written: a second fsync could lie."""
    at = [i for i, call in enumerate(subject.calls, 1) if call == ("fsync", "checkpoints/.next.tmp")][2]
    job = ShortJob(tmp_path / "job", subject.model)
    log = tmp_path / "log"
    must(injector.run(TRAIN, job.run, log, at, error("EIO"), job.config, trace=1))
    calls = [line.split(" ", 2)[1:] for line in log.read_text().splitlines() if not line.startswith("fired")]
    after = [(call, path.removeprefix(str(job.run)).lstrip("/")) for call, path in calls][at:]
    assert after[0][0] == "close" and after[1] == ("unlinkat", "checkpoints/.next.tmp"), after[:4]
    assert after[2] == ("openat", "checkpoints/.next.tmp") and after[3][0] == "fallocate"
    assert final_state(job.run) == subject.expected


def test_kill_while_resuming(tmp_path, subject):
    """The second life dies as well: at calls of a resume, then it is resumed again."""
    stopped = ShortJob(tmp_path / "stopped", subject.model)
    with start_train(stopped.config) as running:
        assert running.wait_for(r"saved step 2 \(durable\)")
        running.signal(9)
        running.finish()
    template = {path.relative_to(stopped.run): path.read_bytes() for path in stopped.run.rglob("*") if path.is_file()}

    def copied(name):
        job = ShortJob(tmp_path / name, subject.model)
        for path, data in template.items():
            (job.run / path).parent.mkdir(parents=True, exist_ok=True)
            (job.run / path).write_bytes(data)
        return job

    traced = copied("traced")
    calls = subject.injector.trace(TRAIN, traced.run, tmp_path / "trace", traced.config, "--resume")
    assert final_state(traced.run) == subject.expected
    first_steps = next(i for i, call in enumerate(calls) if call[0] == "renameat2") + 3

    def work(at):
        job = copied(f"resume-{at}")
        around, newest = surroundings(job), max(checkpoints(job.run))
        outcome = subject.injector.run(TRAIN, job.run, tmp_path / f"log-{at}", at, "kill", job.config, "--resume")
        assert max(checkpoints(job.run)) >= newest
        check_recovery(job, outcome, around, subject.expected)

    in_parallel(work, range(1, first_steps + 1))


def test_metrics_survive_a_lost_tail(tmp_path, subject):
    """Lines after the last checkpoint are written again, not doubled."""
    job = ShortJob(tmp_path / "job", subject.model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 3 \(durable\)")
        running.signal(9)
        running.finish()
    path = job.run / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"type":"step","stage":"run","step":99}\n{"ty')
    must(go_on(job))
    assert final_state(job.run) == subject.expected
    must(train(job.config))
