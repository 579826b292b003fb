"""The quantized base kept for the next start: used when it fits, replaced when it does not, never a change of a number."""
import hashlib
import json
import shutil
import struct

import pytest

from run_folders import tensor_state
from shori_programs import BIN, must, run, train
from small_jobs import TokenJob, replace_file

SHORT = {"samples": 4, "held_out": 0, "lengths": (20,), "num_epochs": 1, "lora_r": 4}
FROM_CACHE = "the base comes from the NF4 cache"


def job(folder, model, **settings):
    return TokenJob(folder, model, **{**SHORT, **settings})


def log_of(outcome):
    return outcome.err


@pytest.fixture(scope="module")
def plain(tmp_path_factory, token_model):
    """A run without a cache."""
    done = job(tmp_path_factory.mktemp("plain"), token_model, nf4_cache="off")
    assert "NF4 cache" not in log_of(must(train(done.config)))
    return tensor_state(done.run)


def the_file(folder):
    (path,) = folder.rglob("*.safetensors")
    return path


def test_second_run_reads_the_cache(tmp_path, token_model, plain):
    caches = tmp_path / "caches"
    first = job(tmp_path / "first", token_model, nf4_cache=str(caches))
    assert "NF4 cache written" in log_of(must(train(first.config)))
    second = job(tmp_path / "second", token_model, nf4_cache=str(caches))
    assert FROM_CACHE in log_of(must(train(second.config)))
    assert tensor_state(first.run) == tensor_state(second.run) == plain
    records = [json.loads((each.run / "run.json").read_text())["base"] for each in (first, second)]
    assert records[0] == records[1], "fingerprint and checksum of the base"


def test_a_relative_folder_lies_beneath_the_config(tmp_path, token_model):
    small = job(tmp_path, token_model, nf4_cache="caches")
    must(train(small.config))
    assert the_file(tmp_path / "caches").exists()


def test_emulated_device_and_cpu_share_one_cache(tmp_path, token_model, plain):
    caches = tmp_path / "caches"
    on_device = job(tmp_path / "device", token_model, nf4_cache=str(caches), device="emulated")
    must(run(BIN / "shori-train-emulated", on_device.config))
    on_cpu = job(tmp_path / "cpu", token_model, nf4_cache=str(caches))
    assert FROM_CACHE in log_of(must(train(on_cpu.config)))
    assert tensor_state(on_cpu.run) == plain


def test_cache_file_follows_its_description(tmp_path, token_model):
    small = job(tmp_path, token_model, nf4_cache="base.safetensors")
    must(train(small.config))
    data = (tmp_path / "base.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    assert header.pop("__metadata__") == {"format": "pt", "shori": "nf4-1"}
    arrays = {name: data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]]
              for name, entry in header.items()}
    assert list(arrays)[-2:] == ["shori.manifest", "shori.seal"]
    seal, manifest = arrays.pop("shori.seal"), arrays.pop("shori.manifest")
    digest = hashlib.sha256(data[:8 + length] + manifest).digest()
    assert seal == struct.pack("<8sQQ32sQ", b"SHORINF4", len(data), 0, digest, 1)
    recorded = json.loads(manifest)
    assert recorded["tensors"] == {name: hashlib.sha256(value).hexdigest() for name, value in arrays.items()}
    shard = token_model / "model.safetensors"
    assert recorded["files"] == [{"inode": shard.stat().st_ino, "mtime_ns": shard.stat().st_mtime_ns}]
    run_record = json.loads((small.run / "run.json").read_text())["base"]
    assert recorded["fingerprint"] == run_record["fingerprint"] and recorded["headers"] == run_record["headers"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "other"])
def test_damaged_or_foreign_cache_is_reported_and_replaced(tmp_path, token_model, plain, damage):
    small = job(tmp_path / "first", token_model, nf4_cache=str(tmp_path / "base.safetensors"))
    must(train(small.config))
    cache = tmp_path / "base.safetensors"
    whole = cache.read_bytes()
    middle = len(whole) // 2
    cache.write_bytes({"flipped": whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1:],
                       "cut": whole[:middle], "emptied": b"", "other": b"\0" * 100_000}[damage])
    again = job(tmp_path / "again", token_model, nf4_cache=str(cache))
    said = log_of(must(train(again.config)))
    assert "is not used and will be replaced: it is damaged" in said and "NF4 cache written" in said
    assert tensor_state(again.run) == plain and cache.read_bytes() == whole


def test_rewritten_base_is_quantized_again(tmp_path, token_model):
    model = shutil.copytree(token_model, tmp_path / "model")
    cache = str(tmp_path / "base.safetensors")
    must(train(job(tmp_path / "first", model, nf4_cache=cache).config))
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-2] ^= 1  # the lowest bit of the last weight: same size, same header
    replace_file(model / "model.safetensors", bytes(weights))
    second = job(tmp_path / "second", model, nf4_cache=cache)
    assert "written again since" in log_of(must(train(second.config)))
    bare = job(tmp_path / "bare", model, nf4_cache="off")
    must(train(bare.config))
    assert tensor_state(second.run) == tensor_state(bare.run)


def test_small_base_gets_no_cache_by_itself(tmp_path, token_model):
    model = shutil.copytree(token_model, tmp_path / "model")
    before = sorted(path.name for path in model.iterdir())
    must(train(job(tmp_path / "job", model).config))
    assert sorted(path.name for path in model.iterdir()) == before
