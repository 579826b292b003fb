"""The key `matmul` on the emulated device: the NF4 kernel trains as cuBLASLt's products do, and a run keeps its choice."""
import json
import re

import pytest

from run_folders import adapter_values, metrics, tensor_state
from shori_programs import BIN, Running, must, run
from small_jobs import TokenJob, copy_folder
from weight_files import fill

EMULATED = BIN / "shori-train-emulated"
# Three steps of one pack each: the emulator needs a second for a pass.
SHORT = {"samples": 4, "held_out": 1, "lengths": (40, 20), "gradient_accumulation_steps": 1, "num_epochs": 2, "max_steps": 3, "lora_r": 4,
         "eval_steps": 3, "device": "emulated"}


def emulated(*args, **options):
    return run(EMULATED, *args, **options)


def job(folder, model, **settings):
    return TokenJob(folder, model, **{**SHORT, **settings})


def trained(folder, model, env=None, **settings):
    done = job(folder, model, **settings)
    must(emulated(done.config, env=env))
    return done


def losses(job):
    return [line["loss"] for line in metrics(job.run, "step")] + [line["loss"] for line in metrics(job.run, "eval")]


def numbers(job):
    """Without the hash of the config, which has `matmul`."""
    return losses(job), adapter_values(job.run)


def products(job):
    return json.loads((job.run / "run.json").read_text())["products"]


@pytest.fixture(scope="module")
def library(tmp_path_factory, narrow_model):
    return trained(tmp_path_factory.mktemp("library"), narrow_model, matmul="cublaslt")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, narrow_model):
    return trained(tmp_path_factory.mktemp("kernel"), narrow_model, matmul="nf4")


def test_the_kernel_trains_as_well(tmp_path, narrow_model, library, kernel):
    """Its losses are nearer to those of the library than another seed's, also if tensor cores truncate their sums."""
    seed = trained(tmp_path / "seed", narrow_model, matmul="cublaslt", seed=43)
    truncated = trained(tmp_path / "truncated", narrow_model, {"SHORI_EMULATED_SUMS": "truncated"}, matmul="nf4")
    assert numbers(kernel) != numbers(library), "the kernel was not used"
    assert numbers(kernel) != numbers(truncated), "sums were not truncated"
    spread = max(abs(a - b) for a, b in zip(losses(library), losses(seed), strict=True))
    for other in (kernel, truncated):
        apart = max(abs(a - b) for a, b in zip(losses(library), losses(other), strict=True))
        assert apart < spread / 4, (apart, spread)
        for ours, theirs in zip(metrics(other.run, "step"), metrics(library.run, "step"), strict=True):
            assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=3e-2)


def test_the_record_names_the_kernel_of_each_product(kernel, library):
    recorded = products(kernel)
    assert {item["algorithm"] for item in recorded} == {"nf4"} and len(recorded) == 8, "four groups, forward and backward"
    assert all(item["product"].startswith("frozen x.w") and item["reason"] == "`matmul: nf4`" for item in recorded)
    assert products(library) == []


def clock(nf4):
    """The emulator's clock: milliseconds of a product by our kernel; one by the library takes 1."""
    return {"SHORI_EMULATED_CLOCK": f"nf4_product={nf4},device_matmul=1"}


def stopped_after_step_1(job, env=None):
    with Running(EMULATED, job.config, env=env) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(15)
        assert running.finish().code == 75


def test_auto_takes_the_faster_kernel_and_a_resumed_run_keeps_it(tmp_path, narrow_model, kernel):
    stopped = job(tmp_path, narrow_model)
    stopped_after_step_1(stopped, clock(nf4=0.94))
    recorded = products(stopped)
    assert {item["algorithm"] for item in recorded} == {"nf4"} and len(recorded) == 8
    assert all(re.fullmatch(r"with \d+ rows nf4 0.940 ms, cublaslt 1.000 ms", item["reason"]) for item in recorded), recorded
    must(emulated(stopped.config, "--resume", env=clock(nf4=2)))
    assert products(stopped) == recorded
    assert numbers(stopped) == numbers(kernel)


def test_auto_keeps_the_library_where_the_kernel_saves_less_than_a_twentieth(tmp_path, narrow_model, library):
    stopped = job(tmp_path, narrow_model)
    stopped_after_step_1(stopped, clock(nf4=0.96))
    recorded = products(stopped)
    assert {item["algorithm"] for item in recorded} == {"cublaslt"} and len(recorded) == 8
    must(emulated(stopped.config, "--resume", env=clock(nf4=0.5)))
    assert products(stopped) == recorded
    assert numbers(stopped) == numbers(library)


def test_a_run_whose_record_is_damaged_goes_on_where_other_algorithms_are_accepted(tmp_path, narrow_model):
    """Checkpoints have all of run.json but the algorithms."""
    stopped = job(tmp_path, narrow_model)
    stopped_after_step_1(stopped)
    (stopped.run / "run.json").write_text("{")
    refused = must(emulated(stopped.config, "--resume"), 2)
    assert refused.errors == ["E0509"] and "the algorithms of the run, cannot be read" in refused.err, repr(refused)
    must(emulated(stopped.config, "--resume", "--set", "resume_on_other_build=warn"))
    assert products(stopped) == []


def test_auto_chooses_once_for_the_stages_of_a_recipe(tmp_path, narrow_model):
    """In one process, and in another that finds the other kernel faster."""
    recipe = job(tmp_path, narrow_model, held_out=0, max_steps=1, num_epochs=...,
                 stages=[{"name": name, "learning_rate": rate} for name, rate in (("low", 1e-3), ("mid", 5e-4), ("high", 1e-4))])
    runs = {name: tmp_path / "run" / name for name in ("low", "mid", "high")}
    must(emulated(recipe.config, "--only", "low", env=clock(nf4=0.5)))
    must(emulated(recipe.config, env=clock(nf4=2)))
    choices = {name: {item["product"]: item["algorithm"] for item in json.loads((run / "run.json").read_text())["products"]}
               for name, run in runs.items()}
    assert choices["low"] == choices["mid"] == choices["high"] and set(choices["low"].values()) == {"nf4"}


def test_auto_does_not_try_on_the_emulator(tmp_path, narrow_model, library):
    default = trained(tmp_path, narrow_model)
    assert numbers(default) == numbers(library) and products(default) == []


def test_a_stopped_run_resumes_with_its_kernel(tmp_path, narrow_model, kernel):
    stopped = job(tmp_path, narrow_model, matmul="nf4")
    stopped_after_step_1(stopped)
    refused = must(emulated(stopped.config, "--resume", "--set", "matmul=auto"), 2)
    assert refused.errors == ["E0504"] and "`matmul` nf4 -> auto" in refused.err
    must(emulated(stopped.config, "--resume"))
    assert tensor_state(stopped.run) == tensor_state(kernel.run)


def test_an_overflow_names_the_product(tmp_path, narrow_model):
    """Weights beyond the bound of the sums: infinite, never wrong. With fp32 sums the same model has a finite loss."""
    model = copy_folder(narrow_model, tmp_path / "model")
    fill(model / "model.safetensors", 0x46EA, "model.layers.1.mlp.down_proj.weight")  # 29952
    outcome = must(emulated(job(tmp_path / "kernel", model, matmul="nf4", held_out=0).config), 6)
    assert outcome.errors == ["E0601"]
    assert "first tensor that is not finite: layers.1.down_proj output" in outcome.err
    assert "`matmul: cublaslt`" in outcome.err
    must(emulated(job(tmp_path / "library", model, matmul="cublaslt", held_out=0, max_steps=1, num_epochs=...).config))
