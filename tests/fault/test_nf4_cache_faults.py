"""Faults at every call on the folder of the NF4 cache: it is absent or whole, and the run never suffers."""
import pytest

from faults import CAN_LACK_ROOM, TRAIN, error
from run_folders import tensor_state
from shori_programs import in_parallel, must, train
from small_jobs import TokenJob


def short_job(folder, model, cache):
    return TokenJob(folder, model, samples=2, lengths=(20,), held_out=0, max_steps=1,
                    nf4_cache=str(cache / "base.safetensors"))


@pytest.fixture(scope="module")
def traced(tmp_path_factory, one_layer, injector):
    """The calls that write a cache, the file, and the state of the run."""
    folder = tmp_path_factory.mktemp("traced")
    caches = folder / "caches"
    caches.mkdir()
    job = short_job(folder / "job", one_layer, caches)
    calls = injector.trace(TRAIN, caches, folder / "trace", job.config)
    return calls, (caches / "base.safetensors").read_bytes(), tensor_state(job.run)


def spots(calls):
    """Of many writes in a row the first two and the last two."""
    def inner(i):
        return all(0 <= j < len(calls) and calls[j] == calls[i] for j in range(i - 2, i + 3))
    return [i + 1 for i, call in enumerate(calls) if call[0] != "openat2" and not inner(i)]


def faulted(folder, model, injector, at, kind):
    caches = folder / "caches"
    caches.mkdir(parents=True)
    job = short_job(folder / "job", model, caches)
    outcome = injector.run(TRAIN, caches, folder / "log", at, kind, job.config)
    return job, caches, outcome


def test_file_is_synced_before_its_name(traced):
    names = [call for call, _ in traced[0]]
    renamed = names.index("renameat")
    assert names[:renamed][-1] == "fsync" and names[renamed + 1] == "fsync"


def test_kill_at_every_call(tmp_path, one_layer, injector, traced):
    calls, whole, state = traced

    def check(at):
        job, caches, outcome = faulted(tmp_path / str(at), one_layer, injector, at, "kill")
        assert outcome.code == -9, repr(outcome)
        cache = caches / "base.safetensors"
        assert not cache.exists() or cache.read_bytes() == whole
        must(train(job.config))
        assert cache.read_bytes() == whole and tensor_state(job.run) == state
        assert [path.name for path in caches.iterdir()] == [cache.name], "what the killed run left is gone"

    in_parallel(check, spots(calls))


@pytest.mark.parametrize("kind", ["EIO", "ENOSPC"])
def test_one_error_at_every_call(tmp_path, one_layer, injector, traced, kind):
    calls, whole, state = traced

    def check(at):
        job, caches, outcome = faulted(tmp_path / str(at), one_layer, injector, at, error(kind))
        must(outcome)
        assert tensor_state(job.run) == state
        cache = caches / "base.safetensors"
        left = [path.name for path in caches.iterdir()]
        assert left in ([], [cache.name]) or calls[at - 1][0] == "unlinkat", left
        assert not cache.exists() or cache.read_bytes() == whole

    in_parallel(check, [at for at in spots(calls) if calls[at - 1][0] in CAN_LACK_ROOM | {"renameat", "ftruncate"}])
