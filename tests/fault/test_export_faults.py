"""A full disk at every call of an export that needs room, and errors at those that make it durable or give it its name: each
is reported, the old target keeps its name and its bytes, and nothing else is left."""
import pytest

from faults import WRITES, ShortJob, error
from run_folders import snapshot
from shori_programs import EXPORT, TOKENIZER, export, in_parallel, must, train
from small_jobs import make_model

CODES = {"E0512", "E0513"}
NEEDS_ROOM = WRITES | {"fallocate", "mkdir"}
NAMES = {"renameat", "renameat2", "rename"}


def content(target):
    return snapshot(target) if target.is_dir() else target.read_bytes()


class Subject:
    """An export over an old target, in a folder of its own."""

    def __init__(self, folder, injector, kind, *arguments):
        self.folder, self.injector, self.kind, self.arguments = folder, injector, kind, arguments
        self.name = "model.gguf" if kind.startswith("gguf") else "out"
        self.calls = self.trace(self.folder_with_target("traced"))

    def folder_with_target(self, name):
        """A folder with an old target in it."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        target = folder / self.name
        if self.kind.startswith("gguf"):
            target.write_text("old")
        else:
            target.mkdir()
            (target / "old.txt").write_text("old")
        return folder

    def command(self, folder):
        return [self.kind, *self.arguments, "--out", folder / self.name, "--force"]

    def trace(self, folder):
        calls = self.injector.trace(EXPORT, folder, self.folder / f"log-{folder.name}", *self.command(folder))
        assert sorted(path.name for path in folder.iterdir()) == [self.name, f"{self.name}.old-1"]
        return calls

    def faults(self):
        """(number of the call, kind of the fault)."""
        for at, (call, path) in enumerate(self.calls, 1):
            follows = self.calls[at:at + 3]
            is_new = call in ("open", "openat") and any((what, path) in follows for what in ("write", "flock"))
            if call in NEEDS_ROOM or is_new:
                yield at, error("ENOSPC")
            elif call in NAMES | {"fsync", "ftruncate"}:
                yield at, error("EIO")

    def check(self, at, kind):
        folder = self.folder_with_target(str(at))
        outcome = self.injector.run(EXPORT, folder, self.folder / f"log-{at}", at, kind, *self.command(folder))
        where = f"{self.kind}: {kind} at call {at}, {self.calls[at - 1]}\n{outcome!r}"
        tried_again = outcome.code == 0 and set(outcome.errors) <= {"E0502"}  # as training does when it writes an adapter
        assert tried_again or outcome.code == 4 and outcome.errors and set(outcome.errors) <= CODES, where
        assert "checkpoint" not in outcome.err, f"an export has none: {where}"
        names = sorted(path.name for path in folder.iterdir())
        # After the last rename only the durability of the new name is in doubt.
        is_published = tried_again or at > self.last_rename()
        assert names == ([self.name, f"{self.name}.old-1"] if is_published else [self.name]), where
        old = folder / names[-1]
        assert (old if old.is_file() else old / "old.txt").read_text() == "old", where
        if is_published:
            assert content(folder / self.name) == content(self.folder / "traced" / self.name), where

    def last_rename(self):
        return max(at for at, (call, _) in enumerate(self.calls, 1) if call in NAMES)

    def check_all(self, faults):
        met = list(faults)
        in_parallel(lambda fault: self.check(*fault), met)
        return {self.calls[at - 1][0] for at, _ in met}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """One layer with the real tokenizer."""
    return make_model(tmp_path_factory.mktemp("model") / "one", "--tokenizer", TOKENIZER, "--layers", 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, model):
    job = ShortJob(tmp_path_factory.mktemp("trained") / "job", model)
    must(train(job.config))
    return job.run


def arguments_of(kind, model, run):
    return {"gguf": [run, "--base", model, "--type", "q8_0"], "gguf-lora": [run, "--base", model], "sillytavern": [],
            "adapter": [run, "--base", model], "merged": [run, "--base", model], "release": [run, "--base", model]}[kind]


@pytest.mark.parametrize("kind", ["adapter", "merged", "gguf", "gguf-lora", "sillytavern"])
def test_no_room_at_any_call(tmp_path, injector, model, trained, kind):
    subject = Subject(tmp_path, injector, kind, *arguments_of(kind, model, trained))
    met = subject.check_all(subject.faults())
    assert {"write", "fsync"} <= met and met & NAMES


def test_no_room_at_any_call_of_a_release(tmp_path, injector, one_layer):
    """Without a tokenizer and GGUF files: both only make it slower, and the parts with them are tested above and below."""
    job = ShortJob(tmp_path / "job", one_layer)
    must(train(job.config))
    subject = Subject(tmp_path / "subject", injector, "release", job.run, "--base", one_layer, "--no-gguf")
    subject.check_all(subject.faults())


def test_no_room_for_the_gguf_files_of_a_release(tmp_path, injector, model, trained):
    """Of a release with all parts: the last call of each kind in the export's own folder, and the last write in each folder
    below it."""
    subject = Subject(tmp_path, injector, "release", *arguments_of("release", model, trained))
    chosen = {}
    for at, fault in subject.faults():
        call, path = subject.calls[at - 1]
        part = path.split("/")[1] if path.count("/") > 1 else ""
        if not part or call in WRITES:
            chosen[call, part] = at, fault
    subject.check_all(chosen.values())
    assert {part for _, part in chosen} >= {"", "adapter", "merged", "gguf", "sillytavern"}


def test_the_old_target_is_whole_after_a_kill(tmp_path, injector, model, trained):
    """Killed before the rename that moves it aside, between that and the one that gives the new one its name, and after it."""
    for kind in ("merged", "gguf"):
        subject = Subject(tmp_path / kind, injector, kind, *arguments_of(kind, model, trained))
        renames = [at for at, (call, path) in enumerate(subject.calls, 1) if call in NAMES and "/" not in path]
        for at in renames + [subject.last_rename() + 1]:
            folder = subject.folder_with_target(f"kill-{at}")
            outcome = injector.run(EXPORT, folder, subject.folder / f"log-kill-{at}", at, "kill", *subject.command(folder))
            assert outcome.code == -9, repr(outcome)
            old = next(path for path in (folder / f"{subject.name}.old-1", folder / subject.name) if path.exists())
            assert (old if old.is_file() else old / "old.txt").read_text() == "old"
            must(export(*subject.command(folder)))
            assert not [path for path in folder.iterdir() if path.name.startswith(".")], "the next export clears what was left"
            assert content(folder / subject.name) == content(subject.folder / "traced" / subject.name)
