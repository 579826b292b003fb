"""The GPU suite where there is no GPU: the bundle, honest counting, and its own code on the CUDA emulator."""
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from shori_programs import must, train
from small_jobs import TokenJob, make_model

SOURCE = pathlib.Path(os.environ["SHORI_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["SHORI_BIN_DIR"]).parent
HAS_GPU = pathlib.Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
NO_GPU = "the driver shows no GPU" if HAS_GPU else "no NVIDIA driver is loaded"
HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}  # these tests ask what happens without a GPU, also on a machine that has one


def call(*command, env=None):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, **(env or {})},
                          check=False)


def suite(script, *arguments, env=None):
    return call(script, *arguments, env={"SHORI_PYTHON": sys.executable, "SHORI_TEST_DATA": "", **(env or {})})


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def part_of(out, name):
    return json.loads((out / "suite.json").read_text())["parts"][name]


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
    libraries = pathlib.Path(importlib.util.find_spec("torch").origin).parent
    folders = [libraries / "lib", *sorted(libraries.parent.glob("nvidia/*/lib"))]
    env = {"LD_LIBRARY_PATH": ":".join(map(str, folders)), **HIDDEN}
    started = call(bundle / "bin/shori-train", "--version", env=env)
    assert started.returncode == 0 and started.stdout.startswith("shori-train "), started.stderr
    bench = call(bundle / "bin/kernel_bench", env=env)
    cases = call(bundle / "bin/ops_gpu_test", "--gtest_filter=DeviceLayer.*", env=env)
    assert cases.returncode == 0, cases.stdout
    assert bench.returncode == 5 and "E0404" in bench.stderr, bench.stderr
    assert f"no device: {NO_GPU}" in cases.stdout
    expected = call(bundle / "bin/ops_gpu_test", "--gtest_filter=DeviceLayer.KnowsTheCard", env={**env, "SHORI_EXPECT_GPU": "1"})
    assert expected.returncode == 1 and f"no device: {NO_GPU}" in expected.stdout, "a GPU that cannot be opened is a failure"


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_shipped_program_never_falls_back_to_the_cpu(tmp_path, monkeypatch, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job = TokenJob(tmp_path, make_model(tmp_path / "model", "--vocab", 512), device=device)
    outcome = must(train(job.config), 5)
    assert outcome.errors == ["E0404"] and NO_GPU in outcome.err
    assert not list(job.run.glob("checkpoints/*"))
    assert must(train(job.config, "--check"), 5).errors == ["E0404"], "a check opens the device as well"


@pytest.mark.parametrize("listed", [False, True], ids=["no-gpu", "listed-gpu"])
def test_without_a_gpu_parts_are_skipped_and_with_one_they_fail(bundle, tmp_path, listed):
    """An nvidia-smi in front of any other says whether the machine has one; the programs open none."""
    text = "echo 'Some Card, 580.1, 24576, 1800, 350'" if listed else "echo 'No devices were found'; exit 6"
    script(tmp_path / "bin/nvidia-smi", f"#!/bin/sh\n{text}\n")
    done = suite(bundle / "scripts/gpu_suite.sh", "--out", tmp_path / "out", "--work", tmp_path / "work",
                 env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", **HIDDEN})
    assert done.returncode == (1 if listed else 77), done.stdout + done.stderr
    assert f"parts: 0 passed, {'7 failed, 0 skipped' if listed else '0 failed, 7 skipped'}" in done.stdout
    report = json.loads((tmp_path / "out/suite.json").read_text())
    assert list(report["parts"]) == ["smoke", "ops", "goldens", "kernels", "model", "peer", "identities"]
    assert {(part["status"], part["reason"]) for part in report["parts"].values()} == {("failed" if listed else "skipped", NO_GPU)}
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_file()]) <= 8
    refused = call(SOURCE / "tests/gpu/record_results.py", tmp_path / "out/suite.json", "--table", tmp_path / "table.md")
    assert refused.returncode == (0 if listed else 1) or listed


OPENINGS = {"crashes": ("kill -SEGV $$; sleep 1", "DeviceLayer.KnowsTheCard crashed (SIGSEGV): opening"),
            "hangs": ("exec sleep 600", "DeviceLayer.KnowsTheCard ran out of time: opening"),
            "fails": ("echo 'no device: the driver is too old'; exit 1", "the driver is too old"),
            "skips": ("echo '[  PASSED  ] 0 tests.'", "DeviceLayer.KnowsTheCard ended with exit 0: opening | [  PASSED  ] 0 tests.")}


@pytest.mark.parametrize("end", OPENINGS)
def test_a_listed_gpu_that_cannot_be_opened_fails_every_part(tmp_path, end):
    text, reason = OPENINGS[end]
    script(tmp_path / "path/nvidia-smi", "#!/bin/sh\necho 'Some Card, 580.1, 24576, 1800, 350'\n")
    script(tmp_path / "bin/ops_gpu_test", f"#!/bin/bash\necho opening; {text}\n")
    script(tmp_path / "bin/shori-train", "#!/bin/sh\necho shori-train of a test\n")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--parts", "kernels,identities",
                 "--seconds", "4.5", "--work", tmp_path / "work", env={"PATH": f"{tmp_path}/path:{os.environ['PATH']}"})
    assert done.returncode == 1, done.stdout + done.stderr
    parts = [part_of(tmp_path / "out", name) for name in ("kernels", "identities")]
    assert [(part["status"], part["reason"]) for part in parts] == [("failed", reason)] * 2


def test_a_gpu_that_torch_does_not_find_is_a_failure(tmp_path):
    script(tmp_path / "path/nvidia-smi", "#!/bin/sh\necho 'Some Card, 580.1, 24576, 1800, 350'\n")
    script(tmp_path / "bin/ops_gpu_test", "#!/bin/sh\necho '[  PASSED  ] 1 test.'\n")
    script(tmp_path / "bin/shori-train", "#!/bin/sh\necho shori-train of a test\n")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--parts", "goldens", "--seconds", "100",
                 "--work", tmp_path / "work", env={"PATH": f"{tmp_path}/path:{os.environ['PATH']}", **HIDDEN})
    assert done.returncode == 1, done.stdout + done.stderr
    assert part_of(tmp_path / "out", "goldens")["reason"] == "no GPU: the golden file is made by bitsandbytes' CUDA kernels"
    peer = call(sys.executable, SOURCE / "tests/gpu/peer.py", "--model", tmp_path, env=HIDDEN)
    assert (peer.returncode, peer.stdout) == (1, "torch finds no GPU\n"), peer.stderr


def test_documented_calls_cover_the_parts_in_the_minutes_they_name():
    """Those of the suite's help and of RESULTS.md. A GPU may be at hand for fifteen minutes only."""
    help_text = call(sys.executable, SOURCE / "tests/gpu/suite.py", "--help").stdout
    parts = dict(re.findall(r"(\w+)\s+(\d+)", re.search(r"\(default: ([^)]*)\)", help_text)[1]))
    for file in ("suite.py", "RESULTS.md"):
        calls = re.findall(r"--parts (\S+) --out \w+ .*?(\d+) (minutes|seconds)", (SOURCE / "tests/gpu" / file).read_text())
        assert {name for names, *_ in calls for name in names.split(",")} == set(parts), file
        for names, count, unit in calls:
            assert sum(int(parts[name]) for name in names.split(",")) <= int(count) * (60 if unit == "minutes" else 1), (file, names)


FAKE_CASES = """#!/bin/bash
# Lists like a GoogleTest program and runs what the filter names; `Bad.second` is what a test puts in its place.
filter=$(printf '%s\n' "$@" | sed -n 's/--gtest_filter=//p')
for word in "$@"; do
  if [ "$word" = --gtest_list_tests ]; then
    printf 'Good.\n  first\nBad.\n  first\n  second\n  third\nLater.\n  first\nDeviceLayer.\n  KnowsTheCard\n'
    exit 0
  fi
done
code=0
for case in ${filter//:/ }; do
  echo "[ RUN      ] $case"
  if [ "$case" = Bad.second ]; then BAD; else echo "[       OK ] $case (1 ms)"; fi
done
exit $code
"""
ENDS = {"crashes": ("kill -SEGV $$; sleep 1", "Bad.second: crashed (SIGSEGV)", 3, 0),
        "hangs": ("sleep 600", "Bad.second: ran out of time", 2, 1),
        "fails": ('echo "[  FAILED  ] $case (1 ms)"; code=1', "Bad.second: failed", 3, 0)}


@pytest.mark.parametrize("end", ENDS)
def test_cases_before_and_after_a_bad_one_are_counted(tmp_path, end):
    bad, failure, passed, not_run = ENDS[end]
    for name in ("ops_emulated_test", "model_emulated_test"):
        script(tmp_path / "bin" / name, FAKE_CASES.replace("BAD", bad if name.startswith("ops") else "echo"))
    script(tmp_path / "bin/shori-train-emulated", "#!/bin/sh\necho shori-train of a test\n")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--emulated", "--parts", "ops",
                 "--seconds", "15", "--work", tmp_path / "work")
    assert done.returncode == 1, done.stdout + done.stderr
    part = part_of(tmp_path / "out", "ops")
    assert part["failures"][0] == f"ops_gpu_test: {failure}"
    bad_suite = part["steps"]["ops_gpu_test"]["suites"]["Bad"]
    assert part["steps"]["ops_gpu_test"]["suites"]["Good"]["passed"] == 1
    assert (bad_suite["passed"], bad_suite["failed"], bad_suite["not_run"]) == (passed - 1, 1, not_run)
    assert part["steps"]["ops_gpu_test"]["passed"] == passed + 2
    assert part["steps"]["model_gpu_test"]["suites"]["Good"]["passed"] == 1, "a suite that hangs does not take all of the time"


@pytest.mark.parametrize("end", ENDS)
def test_no_step_of_smoke_stops_the_next(tmp_path, end):
    """The suites of the fake program, one of them bad, no products, no model and no kernel_bench. A step that hangs has its share of
    --seconds, and the one after it runs."""
    bad, failure, _, _ = ENDS[end]
    script(tmp_path / "bin/ops_emulated_test", FAKE_CASES.replace("BAD", bad).replace("  first\n  second\n", "  second\n"))
    script(tmp_path / "bin/shori-train-emulated", "#!/bin/sh\necho shori-train of a test\n")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--emulated", "--parts", "smoke",
                 "--seconds", "12", "--work", tmp_path / "work")
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out/smoke.jsonl").read_text().splitlines()]
    assert {line["step"]: line["status"] for line in lines} == {
        "device": "passed", "kernels Good": "passed", "kernels Bad": "failed", "kernels Later": "passed", "products": "failed",
        "attention": "failed", "model": "not run", "calls": "not run"}
    assert lines[2]["failures"] == [failure] and lines[2]["failed"] == 1
    assert lines == part_of(tmp_path / "out", "smoke")["steps"]


FAKE_BENCH = """#!/bin/bash
# Runs the entries one, two and three that the filter names, and ends in two: BAD
entries=$(for name in one two three; do echo "$@" | grep -q "[(|]$name[|)]" && echo $name; done)
out=$(printf '%s\n' "$@" | sed -n 's/--benchmark_out=//p')
for word in "$@"; do
  if [ "$word" = --benchmark_list_tests ]; then printf '%s/iterations:1/manual_time\n' one two three; exit 0; fi
done
printf '{"context": {"build": "b", "copy GB/s": "8"},\n"benchmarks": [\n' > "$out"
for name in $entries; do
  if [ $name = two ]; then BAD; fi
  printf '%s{"name": "%s/iterations:1/manual_time", "real_time": 2.5, "run_type": "iteration"}' "$comma" $name >> "$out"
  comma=,
done
printf ']}\n' >> "$out"
"""


@pytest.mark.parametrize("bad,ended,after", [("kill -SEGV $$; sleep 1", "crashed (SIGSEGV)", True), ("exec sleep 600", "ran out of time", False),
                                             ("exit 5", "ended with exit 5", True)], ids=["crashes", "hangs", "fails"])
def test_timings_before_and_after_a_bad_kernel_are_kept(tmp_path, bad, ended, after):
    script(tmp_path / "bin/kernel_bench_emulated", FAKE_BENCH.replace("BAD", bad))
    script(tmp_path / "bin/shori-train-emulated", "#!/bin/sh\necho shori-train of a test\n")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--emulated", "--parts", "kernels",
                 "--seconds", "4", "--work", tmp_path / "work")
    assert done.returncode == 1, done.stdout + done.stderr
    part = part_of(tmp_path / "out", "kernels")
    assert [entry["name"] for entry in part["kernels"]] == (["one", "three"] if after else ["one"])
    assert part["failures"] == [f"two: {ended}: "] and part["context"] == {"build": "b", "copy GB/s": "8"}
    assert part["not_run"] == ([] if after else ["three"])


FAKE_TRAIN = """#!/usr/bin/env python3
# Steps of seven seconds by its own clock, in no time; P3 ends badly after three of them, `keep` needs a larger card, P2 takes more memory
# than it planned.
import json, os, pathlib, signal, sys, time
if sys.argv[1] == "--version":
    sys.exit(print("shori-train of a test"))
config = dict(line.split(": ", 1) for line in pathlib.Path(sys.argv[1]).read_text().splitlines())
run = pathlib.Path(json.loads(config["output_dir"]))
if config.get("activation_memory") == '"keep"':
    sys.exit(print("error[E0401]: the plan of stage `x` needs 54.36 GiB, 23.60 GiB are free") or 5)
run.mkdir(parents=True)
takes_more = sys.argv[1].endswith("/P2.yaml")
(run.parents[1] / "used").write_text("26000" if takes_more else "0")  # MiB, for the nvidia-smi of the test
if takes_more:
    print("  sum  13,000,000,000  12.11 GiB")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
for step in range(int(json.loads(config["max_steps"])) if "max_steps" in config else 13):
    for name, value in {"timing": {"seconds": 7.0, "checkpoint_seconds": 0, "memory_peak_bytes": 1},
                        "metrics": {"type": "step", "tokens": 700, "loss": 1.0}}.items():
        with (run / f"{name}.jsonl").open("a") as lines:
            lines.write(json.dumps(value) + "\\n")
    if "P3" in sys.argv[1] and step == 2:
        BAD
    time.sleep(0 if step < 3 else 0.2)
"""
RUN_ENDS = {"crashes": ("os.kill(os.getpid(), signal.SIGSEGV)", "exit -11: ", "100"),
            "hangs": ("time.sleep(600)", "no end after ", "6"), "fails": ("sys.exit('the device is lost')", "exit 1: the device is lost", "100")}


def train_script(path, text, bad):
    script(path, text.replace("#!/usr/bin/env python3", f"#!{sys.executable} -S").replace("BAD", bad))


@pytest.mark.parametrize("end", RUN_ENDS)
def test_training_counts_what_ran(tmp_path, end):
    bad, failure, seconds = RUN_ENDS[end]
    train_script(tmp_path / "bin/shori-train-emulated", FAKE_TRAIN, bad)
    (tmp_path / "work/model").mkdir(parents=True)
    (tmp_path / "work/model/config.json").write_text("{}")  # made by an earlier part, as it were
    script(tmp_path / "path/nvidia-smi", f"#!/bin/sh\ncat {tmp_path / 'work/used'} 2>/dev/null || echo 0\n")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--emulated", "--parts", "model",
                 "--seconds", seconds, "--work", tmp_path / "work", env={"PATH": f"{tmp_path}/path:{os.environ['PATH']}"})
    assert done.returncode == 1, done.stdout + done.stderr
    part = part_of(tmp_path / "out", "model")
    rest = [] if end == "hangs" else ["P1 recompute", "P1 keep_attention", "P2 dropout 0"]
    assert list(part["runs"]) == ["P2", "P3", *rest], "the quick ones first"
    assert 3 <= part["runs"]["P2"]["steps"] < 12 and part["runs"]["P2"]["tokens_per_second"] == 100
    assert part["runs"]["P3"]["steps"] == 2, "three steps, the first of which warms up"
    assert part["failures"][:2] == [
        "P2: 27,262,976,000 bytes of the GPU, 14,262,976,000 more than the plan, of which 536,870,912 are the estimate for the driver's context "
        "and 268,435,456 the reserve", "P2: 27,262,976,000 bytes of the GPU, more than the 24 GiB that the plan stays in"]
    assert len(part["failures"]) == 3 and part["failures"][2].startswith(f"P3: {failure}")
    no_time = [f"{name}: no time left" for name in ("P1 recompute", "P1 keep_attention", "P1 keep", "P2 dropout 0")]
    assert part["not_run"] == (no_time if end == "hangs" else ["P1 keep: the plan needs a larger card"])


FAKE_SAME = """#!/usr/bin/env python3
# Four steps that give the same adapter each time; with `recompute` the run ends badly.
import json, os, pathlib, signal, sys, time
if sys.argv[1] == "--version":
    sys.exit(print("shori-train of a test"))
config = dict(line.split(": ", 1) for line in pathlib.Path(sys.argv[1]).read_text().splitlines())
run, adapter = pathlib.Path(json.loads(config["output_dir"])), b"same"
(run / "adapter").mkdir(parents=True, exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
if config["activation_memory"] == '"recompute"':
    BAD
for step in range(4):
    with (run / "timing.jsonl").open("a") as lines:
        lines.write("{}\\n")
    time.sleep(0.05)
(run / "adapter/adapter_model.safetensors").write_bytes(adapter)
(run / "metrics.jsonl").write_text("")
"""
SAME_ENDS = {"crashes": (RUN_ENDS["crashes"][0], "run `recompute`: shori-train-emulated: exit -11: "),
             "hangs": (RUN_ENDS["hangs"][0], "run `recompute`: shori-train-emulated: stopped after "),
             "fails": (RUN_ENDS["fails"][0], "run `recompute`: shori-train-emulated: exit 1: the device is lost"),
             "differs": ("adapter = b'other'", "run `recompute` differs from the first one")}


@pytest.mark.parametrize("end", SAME_ENDS)
def test_identities_before_and_after_a_bad_run_are_counted(tmp_path, end):
    bad, failure = SAME_ENDS[end]
    train_script(tmp_path / "bin/shori-train-emulated", FAKE_SAME, bad)
    (tmp_path / "work/model").mkdir(parents=True)
    (tmp_path / "work/model/config.json").write_text("{}")
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", tmp_path / "out", "--emulated", "--parts", "identities",
                 "--seconds", "6" if end == "hangs" else "60", "--work", tmp_path / "work")
    assert done.returncode == 1, done.stdout + done.stderr
    part = part_of(tmp_path / "out", "identities")
    assert len(part["failures"]) == 1 and part["failures"][0].startswith(failure), part
    wanted = {"first": True, "again": True, "recompute": False, "keep_attention": True, "stopped in the middle": True, "resumed": True}
    if end != "differs":
        del wanted["recompute"]
    if end == "hangs":
        assert part["not_run"] == ["run `keep_attention`: no time left", "run `resumed`: no time left"]
        wanted = {"first": True, "again": True}
    assert part["identities"] == wanted


def test_parts_that_end_early_or_badly_are_reported(tmp_path):
    """No time at all, a program that is missing; parts of an earlier call stay in the report."""
    script(tmp_path / "bin/shori-train-emulated", "#!/bin/sh\necho shori-train of a test\n")
    script(tmp_path / "bin/kernel_bench_emulated", "#!/bin/sh\nsleep 600\n")
    out = tmp_path / "out"
    out.mkdir()
    (out / "suite.json").write_text(json.dumps({"parts": {"peer": {"status": "passed", "time": "2024-01-01T00:00:00Z"}}}))

    def parts(seconds, *names):
        done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", tmp_path, "--out", out, "--emulated", "--parts", ",".join(names),
                     "--seconds", seconds, "--work", tmp_path / "work")
        assert part_of(out, "peer")["status"] == "passed"
        return done.returncode, [(part_of(out, name)["status"], part_of(out, name).get("reason")) for name in names]

    assert parts(3, "kernels") == (1, [("failed", None)])
    assert part_of(out, "kernels")["failures"] == ["kernel_bench: ran out of time: "]
    assert parts(0, "kernels") == (77, [("skipped", "no time left")])
    assert parts(60, "ops") == (77, [("skipped", f"ops_emulated_test is not in {tmp_path / 'bin'}")])
    assert suite(SOURCE / "scripts/gpu_suite.sh", "--out", out, "--parts", "nothing").returncode == 2


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Parts share the model that the first of them makes."""
    return tmp_path_factory.mktemp("work")


def test_an_op_that_fails_has_no_time_and_those_after_it_do(tmp_path):
    """The emulated device has no memory for the temporaries of the attention."""
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", BUILD, "--out", tmp_path / "out", "--emulated", "--parts", "kernels",
                 "--seconds", "400", "--work", tmp_path / "work", env={"SHORI_EMULATED_ATTENTIONS": "0"})
    assert done.returncode == 1, done.stdout + done.stderr
    part = part_of(tmp_path / "out", "kernels")
    failed = [f"{name}/{samples}" for samples in (1, 8) for name in ("attention", "attention_backward")]
    words = "E0704: the emulated device has no memory for the temporaries of the attention"
    assert part["failures"] == [f"{name}: {words}" for name in failed] and part["not_run"] == []
    names = [entry["name"] for entry in part["kernels"]]
    assert names.index("adamw8bit") > names.index("attention/1") and len(names) > 60
    assert all(entry["real_time"] > 0 for entry in part["kernels"] if entry["name"] not in failed)


@pytest.mark.parametrize("part", ["smoke", "goldens", "model", "peer", "identities"])
def test_part_on_the_emulator(tmp_path, work, part):
    done = suite(SOURCE / "scripts/gpu_suite.sh", "--build", BUILD, "--out", tmp_path / "out", "--emulated", "--parts", part,
                 "--seconds", "400", "--work", work)
    assert done.returncode == 0, done.stdout + done.stderr
    result = part_of(tmp_path / "out", part)
    assert result["status"] == "passed" and not result["failures"]
    if part == "smoke":
        names = [entry["step"] for entry in result["steps"]]
        assert names[0] == "device" and names[-4:] == ["products", "attention", "model", "calls"] and len(names) == 8
        assert len(result["steps"][-1]["calls"]) > 10 and result["steps"][-4]["measured"]
    elif part == "goldens":
        assert result["cases"] and result["file_bytes"] > 0
    elif part == "peer":
        assert set(result["peer"]["runs"]) == {"P1", "P2"} and result["P1 ratio"] > 0 and len(result["losses"]["ours"]) == 3
    elif part == "model":
        assert list(result["runs"]) == ["P2", "P3", "P1 recompute", "P1 keep_attention", "P1 keep", "P2 dropout 0"]
        assert result["profile"]["ops"]
    else:
        assert result["identities"] == {"first": True, "again": True, "recompute": True, "keep_attention": True,
                                        "stopped in the middle": True, "resumed": True}


def test_performance_model_agrees_with_a_count_by_hand(tmp_path):
    """Seconds of a step, counted kernel by kernel from the launches of a step and not from this script's formulas."""
    model, plan = SOURCE / "tests/gpu/performance_model.py", tmp_path / "plan.txt"

    def seconds(weights, *options):
        result = {}
        for card, layers in (("3090", "3 layers kept whole, 29 layers with the attention kept"), ("H200", "32 layers kept whole")):
            plan.write_text(f"  backward pass: {layers}\n  frozen weights: decoded {weights} tokens\n")
            result.update(json.loads(call(sys.executable, model, "--card", card, "--plan", plan, "--json", *options).stdout))
        return result

    each, once = "for each product, MLP in tiles of 4,096", "once in a pass of a layer, MLP in tiles of 4,096"
    one_call, ranges = seconds(each, "--all-heads"), seconds(each)
    assert one_call == pytest.approx(
        {"3090 P1": 19.5, "3090 P2": 11.7, "3090 P3": 12.6, "H200 P1": 2.09, "H200 P2": 1.04, "H200 P3": 1.25}, rel=0.02)
    assert ranges["3090 P1"] < one_call["3090 P1"] - 1 and ranges["H200 P1"] < one_call["H200 P1"] - 0.05
    assert ranges["3090 P2"] == one_call["3090 P2"], "eight samples fill the card as they are"
    saved = {name: ranges[name] - value for name, value in seconds(once).items()}
    assert saved["3090 P2"] == pytest.approx(0.16, abs=0.02) and saved["H200 P2"] == pytest.approx(0.028, abs=0.003)
    longer = seconds("once in a pass of a layer, MLP in tiles of 16,384")
    assert 0 < ranges["H200 P2"] - saved["H200 P2"] - longer["H200 P2"] < 0.01, "fewer launches"
    plan.write_text("  backward pass: 30 layers recomputed, 1 layer with the attention kept, 1 layer kept whole\n"
                    f"  frozen weights: decoded {each} tokens\n")
    recomputed = call(sys.executable, model, "--card", "3090", "--packs", "P2", "--plan", plan)
    assert "keeps 1 layers whole, 1 with attention kept; expected, not measured" in recomputed.stdout, recomputed.stderr
    assert "frozen weights decoded for each product, MLP in tiles of 4096 tokens" in recomputed.stdout
    plan.write_text(f"  backward pass: 2 layers kept whole\n  frozen weights: decoded {each} tokens\n")
    assert call(sys.executable, model, "--card", "3090", "--plan", plan).returncode == 1


def test_results_go_to_the_tables(tmp_path):
    run = {"tokens_per_second": 1000.4, "gpu_peak_bytes": 13 << 30, "planned_bytes": 14 << 30}
    time = "2030-01-02T03:04:05Z"
    parts = {
        "ops": {"status": "passed", "time": time, "steps": {"ops_gpu_test": {"passed": 40, "failed": 0},
                                                            "model_gpu_test": {"passed": 5, "failed": 1},
                                                            "memcheck": {"outcome": "ERROR SUMMARY: 0 errors"}}},
        "kernels": {"status": "passed", "time": time, "context": {"copy GB/s": "800", "matmul TFLOP/s": "60"},
                    "kernels": [{"name": "nf4_dequantize/qkv", "share_of_copy": 0.83}]},
        "identities": {"status": "failed", "time": time, "identities": {"first": True, "again": False}},
        "model": {"status": "failed", "time": time,
                  "runs": {"P1 recompute": run, "P2": run, "P2 dropout 0": {**run, "tokens_per_second": 1040.4}}},
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
