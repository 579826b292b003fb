"""What a merge reads back: weights that are not base + adapter, or not those written, are found before the export has its name."""
import json
import pathlib
import signal
import struct
import time

import pytest

from faults import ShortJob
from shori_programs import EXPORT, PATIENCE, Running, must, train
from small_jobs import copy_folder, replace_file

ADAPTED = "model.layers.0.mlp.down_proj.weight"
NOT_ADAPTED = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, one_layer):
    job = ShortJob(tmp_path_factory.mktemp("trained") / "job", one_layer)
    must(train(job.config))
    return job


def wait_until_stopped(process):
    """Until a program has stopped itself at the call that was asked for."""
    deadline = time.monotonic() + PATIENCE
    while pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def negate(path, name):
    """Turns the signs of one bf16 tensor, in the file that a program has open."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        first, last = json.loads(file.read(length))[name]["data_offsets"]
        file.seek(8 + length + first)
        data = bytearray(file.read(last - first))
        data[1::2] = bytes(byte ^ 0x80 for byte in data[1::2])
        file.seek(8 + length + first)
        file.write(data)


def merge_changed_at_sync(injector, folder, arguments, change):
    """Runs `merged` with `arguments` twice: once to find the call that syncs the weights, then it is stopped there for
    change(folder of the export). The outcome, and the folder that the export would have."""
    traced = folder / "exports/out"
    traced.parent.mkdir()
    calls = injector.trace(EXPORT, traced.parent, folder / "trace", "merged", *arguments, "--out", traced)
    written = next(at for at, (call, path) in enumerate(calls, 1) if call == "fsync" and path.endswith("model.safetensors"))
    out = folder / "others/out"
    out.parent.mkdir()
    env = injector.environment(out.parent, folder / "log", at=written, kind=f"signal:{signal.SIGSTOP.value}")
    with Running(EXPORT, "merged", *arguments, "--out", out, env=env) as running:
        wait_until_stopped(running.process)
        change(out.parent)
        running.signal(signal.SIGCONT)
        return running.finish(), out


@pytest.mark.parametrize("name, code", [(ADAPTED, "E0803"), (NOT_ADAPTED, None)])
def test_written_weights_are_compared_with_base_and_adapter(tmp_path, one_layer, trained, injector, name, code):
    """A product that is wrong in one tensor: the program stops itself once the weights are written, and meanwhile the base gets
    other values, so that the same factors belong to another sum. A tensor without an adapter is compared by its digest alone."""
    model = copy_folder(one_layer, tmp_path / "model")
    replace_file(model / "model.safetensors", (one_layer / "model.safetensors").read_bytes())
    outcome, out = merge_changed_at_sync(injector, tmp_path, [trained.run, "--base", model],
                                         lambda _: negate(model / "model.safetensors", name))
    assert outcome.errors == ([code] if code else []), repr(outcome)
    assert out.exists() == (code is None)
    if code:
        assert ADAPTED in outcome.err and list(out.parent.iterdir()) == [], repr(outcome)


@pytest.mark.parametrize("name", [ADAPTED, NOT_ADAPTED])
def test_what_is_read_back_is_compared_with_what_was_written(tmp_path, one_layer, trained, injector, name):
    outcome, out = merge_changed_at_sync(injector, tmp_path, [trained.run, "--base", one_layer],
                                         lambda exports: negate(next(exports.rglob("model.safetensors")), name))
    assert outcome.errors == ["E0804"] and name in outcome.err, repr(outcome)
    assert list(out.parent.iterdir()) == [], repr(outcome)
