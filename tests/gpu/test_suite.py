"""The GPU suite where there is no GPU: the bundle, honest counting, and its own code on the CUDA emulator."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from shori_programs import must, train
from small_jobs import TokenJob, make_model

SOURCE = pathlib.Path(os.environ["SHORI_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["SHORI_BIN_DIR"]).parent
HAS_GPU = pathlib.Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def call(*command, env=None):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, **(env or {})},
                          check=False)


def suite(script, *arguments):
    return call(script, *arguments, env={"SHORI_PYTHON": sys.executable, "SHORI_TEST_DATA": ""})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere") / "bundle"
    made = call(SOURCE / "scripts/gpu_bundle.sh", folder, "--build", BUILD)
    assert made.returncode == 0, made.stderr
    return folder


def test_bundle_is_small_and_knows_no_folder_of_this_machine(bundle):
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40 << 20
    libraries = [path.name for path in files if path.name.startswith("libbitsandbytes_cuda")]
    assert libraries == ["libbitsandbytes_cuda130.so"]
    again = call(SOURCE / "scripts/gpu_bundle.sh", bundle, "--build", BUILD)
    assert again.returncode == 1 and "not empty" in again.stderr


def test_bundle_programs_start_elsewhere(bundle, tmp_path):
    import torch
    libraries = pathlib.Path(torch.__file__).parent
    folders = [libraries / "lib", *sorted(libraries.parent.glob("nvidia/*/lib"))]
    env = {"LD_LIBRARY_PATH": ":".join(map(str, folders))}
    started = call(bundle / "bin/shori-train", "--version", env=env)
    assert started.returncode == 0 and started.stdout.startswith("shori-train "), started.stderr
    bench = call(bundle / "bin/kernel_bench", env=env)
    cases = call(bundle / "bin/ops_gpu_test", "--gtest_filter=DeviceLayer.*", env=env)
    assert cases.returncode == 0, cases.stdout
    if not HAS_GPU:
        assert bench.returncode == 5 and "E0404" in bench.stderr, bench.stderr
        assert "no device: no NVIDIA driver is loaded" in cases.stdout


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU, which `device: auto` would take")
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_shipped_program_never_falls_back_to_the_cpu(tmp_path, device):
    job = TokenJob(tmp_path, make_model(tmp_path / "model", "--vocab", 512), device=device)
    outcome = must(train(job.config), 5)
    assert outcome.errors == ["E0404"] and "no NVIDIA driver is loaded" in outcome.err
    assert not list(job.run.glob("checkpoints/*"))
    assert must(train(job.config, "--check"), 5).errors == ["E0404"], "a check opens the device as well"


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU: scripts/gpu_suite.sh runs it")
def test_suite_says_and_counts_what_it_skips(bundle, tmp_path):
    done = suite(bundle / "scripts/gpu_suite.sh", "--out", tmp_path, "--work", tmp_path / "work")
    assert done.returncode == 77, done.stdout + done.stderr
    assert "parts: 0 passed, 0 failed, 5 skipped" in done.stdout
    report = json.loads((tmp_path / "suite.json").read_text())
    assert {name: (part["status"], part["reason"]) for name, part in report["parts"].items()} == {
        name: ("skipped", "no NVIDIA driver is loaded") for name in ["ops", "goldens", "kernels", "model", "peer"]}
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) <= 8
    refused = call(SOURCE / "tests/gpu/record_results.py", tmp_path / "suite.json", "--table", tmp_path / "table.md")
    assert refused.returncode == 1


def test_parts_that_end_early_or_badly_are_told(tmp_path):
    """A program that never ends, one that is missing, no time at all; parts of an earlier call stay in the report."""
    (tmp_path / "bin").mkdir()
    for name, text in {"shori-train-emulated": "echo shori-train of a test", "kernel_bench_emulated": "sleep 600"}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    (out / "suite.json").write_text(json.dumps({"parts": {"peer": {"status": "passed", "time": "2024-01-01T00:00:00Z"}}}))

    def parts(seconds, *names):
        done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", out, "--emulated", "--parts", ",".join(names),
                     "--seconds", seconds, "--work", tmp_path / "work")
        found = json.loads((out / "suite.json").read_text())["parts"]
        assert found["peer"]["status"] == "passed"
        return done.returncode, [(found[name]["status"], found[name]["reason"]) for name in names]

    assert parts(4, "kernels") == (1, [("failed", "ran out of time")])
    assert parts(0, "kernels") == (77, [("skipped", "no time left")])
    assert parts(60, "ops") == (77, [("skipped", f"ops_emulated_test is not in {tmp_path / 'bin'}")])
    assert suite(SOURCE / "scripts/gpu_suite.sh", "--out", out, "--parts", "nothing").returncode == 2


@pytest.mark.parametrize("part", ["kernels", "model"])
def test_part_on_the_emulator(tmp_path, part):
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", BUILD, "--out", tmp_path / "out", "--emulated", "--parts", part,
                 "--work", tmp_path / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "out/suite.json").read_text())["parts"][part]
    assert result["status"] == "passed" and not result["failures"]
    if part == "kernels":
        assert len(result["kernels"]) > 10 and all(entry["real_time"] > 0 for entry in result["kernels"])
    else:
        assert set(result["runs"]) >= {"P1 recompute, first start", "P1 keep_attention", "P1 keep", "P2", "P3"}
        assert result["identities"] == {"first": True, "again": True, "recompute": True, "keep_attention": True,
                                        "stopped in the middle": True, "resumed": True}
        assert result["profile"]["ops"]


def test_results_go_to_the_tables(tmp_path):
    run = {"tokens_per_second": 1000.4, "gpu_peak_bytes": 13 << 30, "planned_bytes": 14 << 30}
    time = "2030-01-02T03:04:05Z"
    parts = {
        "ops": {"status": "passed", "time": time, "steps": {"ops_gpu_test": {"passed": 40, "failed": 0},
                                                            "model_gpu_test": {"passed": 5, "failed": 1},
                                                            "memcheck": {"outcome": "ERROR SUMMARY: 0 errors"}}},
        "kernels": {"status": "passed", "time": time, "context": {"copy GB/s": "800", "matmul TFLOP/s": "60"},
                    "kernels": [{"name": "nf4_dequantize/qkv", "share_of_copy": 0.83}]},
        "model": {"status": "failed", "time": time, "identities": {"first": True, "again": False},
                  "runs": {"P1 recompute, first start": run, "P2": run, "P2 dropout 0": {**run, "tokens_per_second": 1040.4}}},
        "peer": {"status": "passed", "time": time, "ours": [{"P1": run}, {"P1": run}], "P1 ratio": 1.7,
                 "peer": {"runs": {"P1": run}, "gpu_peak_bytes_of_process": 20 << 30}},
    }
    (tmp_path / "suite.json").write_text(json.dumps(
        {"parts": parts, "gpu": {"name": "A Card", "driver_version": "580.1"}, "build": "shori-train 0.1.0 (0.1.0 abc123 GNU 12)"}))
    shutil.copy(SOURCE / "tests/gpu/RESULTS.md", tmp_path / "table.md")
    for _ in range(2):
        done = call(SOURCE / "tests/gpu/record_results.py", tmp_path / "suite.json", "--table", tmp_path / "table.md")
        assert done.returncode == 0, done.stderr
    text = (tmp_path / "table.md").read_text()
    assert text.count("| 2030-01-02 | A Card, 580.1 | abc123 | 1000 tokens/s |") == 2
    assert "| 1.040x | 13.00 GiB | 14.00 GiB | 1 of 2 |" in text
    assert "| 2030-01-02 | A Card | 1000, 1000 | 1000 tokens/s | 1.7x |" in text and "20.00 GiB |" in text
    assert "| 45 / 1 | ERROR SUMMARY: 0 errors | - | - | 800 | 60 | 83 % |" in text
    assert "Not yet measured" not in text
