"""`--plan` with the memory of a GPU that is not in this machine, and of the CPU."""
import re

import pytest

from shori_programs import must, train
from small_jobs import TokenJob


def plan(job, *options):
    return train(job.config, "--plan", "--gpu-memory", "24GiB", "--sm-count", "82", *options)


def table(text):
    """Bytes by category, up to the sum."""
    rows = re.findall(r"^  (.+?)\s{2,}([\d,]+)  +[\d.]+ GiB$", text, re.M)
    return {name: int(number.replace(",", "")) for name, number in rows}


def test_table_adds_up_and_nothing_is_written(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    rows = table(must(plan(job)).err)
    names = list(rows)
    total = names.index("sum")
    assert sum(rows[name] for name in names[:total]) == rows["sum"]
    assert rows["sum"] + rows["left of what is free"] == 24 * 2**30
    # 2 layers of 64 x (64 + 32 + 32 + 64) + 3 x 64 x 224 weights: half a byte, a byte in 64, four bytes in 16,384.
    assert rows["linear weights, NF4"] >= 2 * (64 * 192 + 3 * 64 * 224) * (1 / 2 + 1 / 64)
    assert not job.run.exists()


def test_modes_are_shown_and_auto_keeps_what_fits(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    for mode, text in {"auto": "2 layers kept whole", "keep": "2 layers kept whole", "recompute": "2 layers recomputed",
                       "keep_attention": "2 layers with the attention kept"}.items():
        assert text in must(plan(job, "--set", f"activation_memory={mode}")).err


def test_refusal_says_what_would_fit(tmp_path, token_model):
    long = {"sequence_len": 8192, "lengths": (8000,), "samples": 2, "held_out": 0, "num_epochs": 1, "micro_batch_size": 2}
    job = TokenJob(tmp_path, token_model, **long)
    needed = table(must(plan(job, "--set", "activation_memory=recompute")).err)["sum"]
    limit = f"gpu_memory_limit={needed // 2**20 - 1}MiB"
    refused = must(plan(job, "--set", limit, "--set", "activation_memory=keep"), 5)
    assert refused.errors == ["E0401"]
    assert "`micro_batch_size: 1`" in refused.err
    found = re.search(r"`sequence_len: (\d+)` fits", refused.err)
    assert found, refused.err
    length = int(found[1])
    shorter = TokenJob(tmp_path / "shorter", token_model, **{**long, "sequence_len": length, "lengths": (length,)})
    must(plan(shorter, "--set", limit, "--set", "activation_memory=recompute"))


@pytest.mark.parametrize("arguments", [["--gpu-memory", "24GiB"], ["--plan", "--sm-count", "82"],
                                       ["--plan", "--gpu-memory", "24GiB"],
                                       ["--plan", "--gpu-memory", "24", "--sm-count", "82"],
                                       ["--gpu-memory", "24GiB", "--sm-count", "82"]])
def test_options_go_together(tmp_path, token_model, arguments):
    assert must(train(TokenJob(tmp_path, token_model).config, *arguments), 2).errors == ["E0116"]


@pytest.mark.parametrize("value", ["22", "22 gib", "-1GiB", "lots"])
def test_bad_memory_limit(tmp_path, token_model, value):
    job = TokenJob(tmp_path, token_model, gpu_memory_limit=value)
    assert must(train(job.config, "--check"), 2).errors == ["E0104"]


def test_other_programs_device_is_refused(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, device="emulated")
    assert must(train(job.config), 5).errors == ["E0404"]
    assert not job.run.exists()


@pytest.mark.parametrize("bf16", ["true", "false"])
def test_a_cpu_has_a_table_of_its_own(tmp_path, token_model, bf16):
    job = TokenJob(tmp_path, token_model)
    shown = must(train(job.config, "--plan", "--set", "device=cpu", "--set", f"bf16={bf16}")).err
    rows = table(shown)
    names = list(rows)
    assert sum(rows[name] for name in names[:names.index("sum")]) == rows["sum"]
    assert rows["free now"] > 0
    assert "CPU memory for" in shown and "layers" in shown.split("backward pass:")[1]
    assert "driver and kernels (estimate)" not in rows and "workspace of the kernels" not in rows
    assert not job.run.exists()
