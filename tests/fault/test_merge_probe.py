"""The probe of a merge: weights that are not base + adapter are found before the export has its name."""
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


@pytest.mark.parametrize("name, code", [(ADAPTED, "E0803"), ("model.layers.0.mlp.up_proj.weight", None)])
def test_written_weights_are_compared_with_base_and_adapter(tmp_path, one_layer, trained, injector, name, code):
    """A product that is wrong in one tensor: the program stops itself once the weights are written, and meanwhile the base gets
    other values, so that the same factors belong to another sum. A tensor without an adapter is compared by its digest alone."""
    model = copy_folder(one_layer, tmp_path / "model")
    replace_file(model / "model.safetensors", (one_layer / "model.safetensors").read_bytes())
    out = tmp_path / "exports/out"
    out.parent.mkdir()
    arguments = ["merged", trained.run, "--out", out, "--base", model]
    calls = injector.trace(EXPORT, out.parent, tmp_path / "trace", *arguments)
    written = next(at for at, (call, path) in enumerate(calls, 1) if call == "fsync" and path.endswith("model.safetensors"))

    other = tmp_path / "others/out"
    other.parent.mkdir()
    arguments[3] = other
    env = injector.environment(other.parent, tmp_path / "log", at=written, kind=f"signal:{signal.SIGSTOP.value}")
    with Running(EXPORT, *arguments, env=env) as running:
        wait_until_stopped(running.process)
        negate(model / "model.safetensors", name)
        running.signal(signal.SIGCONT)
        outcome = running.finish()
    assert outcome.errors == ([code] if code else []), repr(outcome)
    assert other.exists() == (code is None)
    if code:
        assert ADAPTED in outcome.err and list(other.parent.iterdir()) == [], repr(outcome)
