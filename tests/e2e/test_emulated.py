"""shori-train on the emulated device: dispatch, memory and loading as on a GPU, kernels executed on the CPU."""
import json
import re

import pytest

from run_folders import final_state, metrics, tensor_state
from shori_programs import BIN, Running, must, run
from small_jobs import SETTINGS, TokenJob, copy_folder, make_model, replace_file, token_lines, write_config

EMULATED = BIN / "shori-train-emulated"
# Two epochs of two steps of two micro-batches, evaluated before the first and after the second and the last step; one thread
# executes every kernel thread, so packs are short.
SHORT = {"samples": 8, "held_out": 2, "lengths": (14, 9), "held_out_lengths": (12, 7), "sequence_len": 24, "num_epochs": 2,
         "lora_r": 4, "eval_steps": 2, "device": "emulated"}


def emulated(*args, **options):
    return run(EMULATED, *args, **options)


def job(folder, model, **settings):
    return TokenJob(folder, model, **{**SHORT, **settings})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, narrow_model):
    """An untouched run, which others are compared with."""
    done = job(tmp_path_factory.mktemp("emulated"), narrow_model)
    done.outcome = must(emulated(done.config))
    return done


def test_agrees_with_the_cpu(tmp_path, narrow_model, finished):
    cpu = job(tmp_path, narrow_model, device="cpu")
    must(emulated(cpu.config))
    pairs = list(zip(metrics(finished.run, "step"), metrics(cpu.run, "step"), strict=True))
    assert len(pairs) >= 4
    for ours, theirs in pairs:
        assert ours["tokens"] == theirs["tokens"] and ours["targets"] == theirs["targets"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=3e-2)
    for ours, theirs in zip(metrics(finished.run, "eval"), metrics(cpu.run, "eval"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3)
    sums = [json.loads((run_folder / "run.json").read_text())["base"]["nf4_checksum"]
            for run_folder in (finished.run, cpu.run)]
    assert sums[0] == sums[1], "the weights in memory have the same bits"


@pytest.mark.parametrize("mode", ["recompute", "keep_attention", "keep"])
def test_activation_modes_give_the_same_bytes(tmp_path, narrow_model, finished, mode):
    other = job(tmp_path, narrow_model, activation_memory=mode)
    must(emulated(other.config))
    assert tensor_state(other.run) == tensor_state(finished.run)


def test_stopped_run_resumes_to_the_same_bytes(tmp_path, narrow_model, finished):
    stopped = job(tmp_path, narrow_model)
    with Running(EMULATED, stopped.config) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.signal(15)
        outcome = running.finish()
    assert outcome.code == 75, repr(outcome)
    assert outcome.acknowledged >= 1
    resumed = must(emulated(stopped.config, "--resume"))
    assert resumed.resumed_at == outcome.acknowledged
    assert final_state(stopped.run) == final_state(finished.run)


def test_killed_run_loses_nothing_acknowledged(tmp_path, narrow_model, finished):
    killed = job(tmp_path, narrow_model)
    with Running(EMULATED, killed.config) as running:
        assert running.wait_for(r"saved step 2 \(durable\)")
        running.signal(9)
        outcome = running.finish()
    resumed = must(emulated(killed.config, "--resume"))
    assert resumed.resumed_at >= outcome.acknowledged
    assert final_state(killed.run) == final_state(finished.run)


def test_disk_that_fills_while_training_goes_on(tmp_path, narrow_model, finished):
    """The write of one step fails beside the next step, whose update waits for it; a stop then ends the run."""
    full = job(tmp_path, narrow_model)
    with Running(EMULATED, full.config) as running:
        assert running.wait_for(r"saved step 1 \(durable\)")
        running.limit_file_size(4096)
        assert running.wait_for("E0502")
        running.signal(15)
        outcome = running.finish()
    assert outcome.code == 4 and set(outcome.errors) == {"E0502"}, repr(outcome)
    resumed = must(emulated(full.config, "--resume"))
    assert resumed.resumed_at >= outcome.acknowledged
    assert tensor_state(full.run) == tensor_state(finished.run)


def test_peak_is_compared_with_the_plan(finished):
    assert "GPU memory: " in finished.outcome.err


def test_profile_times_every_op_and_changes_nothing(tmp_path, narrow_model, finished):
    profiled = job(tmp_path, narrow_model)
    printed = must(emulated(profiled.config, "--profile-steps", "2:3")).err
    assert "--- profile of step 2," in printed and "--- profile of step 3," in printed and "profile of step 4" not in printed
    assert tensor_state(profiled.run) == tensor_state(finished.run)
    profile = json.loads((profiled.run / "profile.json").read_text())
    assert profile["step"] == 3
    calls = {line["op"]: line["calls"] for line in profile["ops"]}
    micro_batches = metrics(profiled.run, "step")[2]["micro_batches"]
    # Two layers, each run again in the backward pass unless all is kept.
    assert calls["attention_backward"] == 2 * micro_batches and calls["adamw8bit"] == 1
    assert calls["embed"] == micro_batches and calls["gradient_norm"] == 1
    rates = {line["op"]: {key for key in line if "_per_second" in key} for line in profile["ops"]}
    assert all(rates.values()), "every op says what it has to do"
    assert rates["nf4_linear"] == {"tflop_per_second"} and rates["rms_norm"] == {"gb_per_second"}
    assert re.search(r"^  attention_backward .* TFLOP/s$", printed, re.M) and re.search(r"^  swiglu .* GB/s$", printed, re.M)
    for text in ("3", "3:2", "0:1", "a:b", "1:2x"):
        assert must(emulated(profiled.config, "--profile-steps", text), 2).errors == ["E0116"]


def test_stage_starts_from_another_stages_adapter(tmp_path, narrow_model, finished):
    later = job(tmp_path, narrow_model, init_from=str(finished.run), optimizer_state="carry", num_epochs=1)
    must(emulated(later.config))
    first = metrics(later.run, "eval")[0]["loss"]
    assert first == metrics(finished.run, "eval")[-1]["loss"], "it begins with exactly the adapter that was trained"


def chain(folder, model, apart=False):
    """Two stages over one base: short packs, then long ones. `apart`: each with a memory limit of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, length in (("short", 18), ("long", 180)):
        (folder / f"{name}.jsonl").write_text(token_lines(2, 5, (length,)))
    stages = [{"name": name, "sequence_len": length, "datasets": [{"path": f"{name}.jsonl", "type": "tokenized"}],
               **({"gpu_memory_limit": limit} if apart else {})}
              for name, length, limit in (("short", 64, "20GiB"), ("long", 192, "22GiB"))]
    shared = {**SETTINGS, "num_epochs": 1, "lora_r": 4, "device": "emulated"}
    return write_config(folder / "recipe.yaml", base_model=str(model), output_dir="runs", **shared, stages=stages)


def test_stages_of_one_base_are_planned_with_the_longest_attention(tmp_path, narrow_model):
    recipe = chain(tmp_path, narrow_model)
    planned = must(emulated(recipe, "--plan")).err
    lines = re.findall(r"temporaries of the attention \(libtorch\)\s+([\d,]+)", planned)
    alone = re.findall(r"temporaries of the attention \(libtorch\)\s+([\d,]+)",
                       must(emulated(chain(tmp_path / "apart", narrow_model, apart=True), "--plan")).err)
    assert len(lines) == 2 and lines[0] == lines[1]
    assert alone[1] == lines[1] and alone[0] != lines[0], "stages with limits of their own have bases of their own"


def test_stages_of_one_base_share_its_memory(tmp_path, narrow_model):
    """Trained again from the second stage on, they give the same adapter."""
    recipe = chain(tmp_path, narrow_model)
    printed = must(emulated(recipe)).err
    peaks = re.findall(r"GPU memory: (.+?) at peak, (.+?) planned for it", printed)
    assert len(peaks) == 2 and peaks[0] == peaks[1] and printed.count("base loaded") == 1
    before = tensor_state(tmp_path / "runs/long")
    assert "GPU memory: " in must(emulated(recipe, "--from", "long")).err
    assert tensor_state(tmp_path / "runs/long") == before


def leave_no_room_for_decoded_weights(job):
    """The memory for a layer's decoded weights is a kilobyte too small: each product decodes its own."""
    planned = must(emulated(job.config, "--plan")).err
    assert "frozen weights: decoded once in a pass of a layer" in planned and "decoded weights of a layer" in planned
    needed = int(re.search(r"^  sum +([\d,]+) ", planned, re.M)[1].replace(",", ""))
    job.write(gpu_memory_limit=f"{(needed - 1) // 1024}KiB")
    assert "frozen weights: decoded for each product" in must(emulated(job.config, "--plan")).err


def test_weights_decoded_for_each_product_give_the_same_adapter(tmp_path, narrow_model, finished):
    """`finished` decodes them once."""
    limited = job(tmp_path, narrow_model, activation_memory="keep")
    leave_no_room_for_decoded_weights(limited)
    must(emulated(limited.config))
    assert tensor_state(limited.run) == tensor_state(finished.run)
    parts = [{line["part"] for line in json.loads((run / "run.json").read_text())["memory_plan"]} for run in (limited.run, finished.run)]
    assert [("decoded weights of a layer" in names) for names in parts] == [False, True]


def test_weights_are_decoded_as_often_as_planned(tmp_path, narrow_model):
    """The decoding of a matrix takes a millisecond of the emulator's clock, and other work none. A layer has seven matrices."""
    def decoded_in_a_layer(trained):
        must(emulated(trained.config, "--profile-steps", "2:2", env={"SHORI_EMULATED_CLOCK": "nf4_dequantize=1"}))
        ops = {line["op"]: line["milliseconds"] for line in json.loads((trained.run / "profile.json").read_text())["ops"]}
        passes = 2 * metrics(trained.run, "step")[1]["micro_batches"]  # of two layers
        assert set(op for op, milliseconds in ops.items() if milliseconds > 0) == {"nf4_linear", "nf4_linear_backward"}
        return [ops["nf4_linear"] / passes, ops["nf4_linear_backward"] / passes]

    once = job(tmp_path / "once", narrow_model, activation_memory="recompute", matmul="cublaslt")
    # What is recomputed in the backward pass decodes q, k, v, o, gate and up for it; the first gradient decodes down.
    assert decoded_in_a_layer(once) == pytest.approx([7 + 6, 1])
    each = job(tmp_path / "each", narrow_model, activation_memory="recompute", matmul="cublaslt")
    leave_no_room_for_decoded_weights(each)
    assert decoded_in_a_layer(each) == pytest.approx([7 + 6, 7])


def test_memory_limit_is_obeyed(tmp_path, narrow_model):
    small = job(tmp_path, narrow_model, gpu_memory_limit="1MiB")
    refused = must(emulated(small.config), 5)
    assert refused.errors == ["E0401"]
    assert "linear weights, NF4" in refused.err
    assert not small.run.exists()


def test_memory_that_another_program_took_is_named(tmp_path, narrow_model):
    """It did after the run was planned: not even the base finds room."""
    small = job(tmp_path, narrow_model)
    refused = must(emulated(small.config, env={"SHORI_EMULATED_TAKEN": str(24 << 30)}), 5)
    assert refused.errors == ["E0405"]
    assert "in one block, which were free when the run was planned" in refused.err and "stop the other program" in refused.err
    assert not (small.run / "checkpoints").exists()
    must(emulated(small.config))


@pytest.mark.parametrize("calls", [0, 3])
def test_too_little_memory_before_step_1_is_reported_with_the_plan(tmp_path, narrow_model, calls):
    """Attention finds no room for its temporaries: in its comparison with the CPU, or in the trial pass."""
    small = job(tmp_path, narrow_model)
    refused = must(emulated(small.config, env={"SHORI_EMULATED_ATTENTIONS": str(calls)}), 5)
    assert refused.errors == ["E0401"]
    assert "linear weights, NF4" in refused.err and "--plan" in refused.err
    assert not (small.run / "checkpoints").exists()
    must(emulated(small.config))


@pytest.mark.parametrize("fault,window,code,words", [
    ("window", 4096, 5, "the output with a window of 100 is off by "),
    ("window", None, 0, ""),
    ("gradient", None, 5, "the gradient is off by "),
], ids=["window", "model-without-a-window", "gradient"])
def test_attention_that_computes_wrong_numbers_is_found_before_step_1(tmp_path, narrow_model, fault, window, code, words):
    """The packs are shorter than the window, as most are: only the comparison with the CPU runs the kernel that has one."""
    model = copy_folder(narrow_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    replace_file(model / "config.json", json.dumps({**config, "sliding_window": window}))
    wrong = job(tmp_path, model)
    outcome = must(emulated(wrong.config, env={"SHORI_EMULATED_ATTENTION_FAULT": fault}), code)
    assert outcome.errors == (["E0703"] if code else [])
    assert f"attention on this GPU computes wrong numbers: {words}" in outcome.err if code else "wrong numbers" not in outcome.err


def test_auto_plans_with_a_layer_less_where_the_trial_pass_runs_out(tmp_path, narrow_model, finished):
    """The fourth attention finds no memory, once: the trial pass of the first plan ends there, that of the second does not."""
    small = job(tmp_path, narrow_model)
    done = must(emulated(small.config, env={"SHORI_EMULATED_ATTENTIONS": "3,1"}))
    assert "2 layers kept whole" in done.err
    assert "planned again with one layer less: 1 layer with the attention kept, 1 layer kept whole" in done.err
    assert done.err.count("base loaded") == 2
    assert tensor_state(small.run) == tensor_state(finished.run)
    assert "planned again with one layer less" in (small.run / "train.log").read_text()
    kept = job(tmp_path / "kept", narrow_model, activation_memory="keep")
    refused = must(emulated(kept.config, env={"SHORI_EMULATED_ATTENTIONS": "3,1"}), 5)
    assert refused.errors == ["E0401"], "what a person asked for is not changed"


def test_later_stage_of_a_recipe_is_planned_with_less(tmp_path, narrow_model):
    """The second stage finds less than the first left it: the base is loaded again for it, and the recipe goes on."""
    recipe = chain(tmp_path, narrow_model)
    # Of the first stage two in the comparison, four in the trial pass, four in its step; then two of the second comparison.
    printed = must(emulated(recipe, env={"SHORI_EMULATED_ATTENTIONS": "13,1"})).err
    assert printed.count("planned again with one layer less") == 1 and printed.count("base loaded") == 2
    assert tensor_state(tmp_path / "runs/long") != tensor_state(tmp_path / "runs/short")


def test_too_little_memory_in_a_step_leaves_the_last_one(tmp_path, narrow_model, finished):
    small = job(tmp_path, narrow_model, activation_memory="keep")
    # Two in the comparison and four in the trial pass; two evaluations of one or two packs, two a pack; four in each of
    # the two micro-batches of step 1: 18 or 22. Step 2 takes eight more.
    stopped = must(emulated(small.config, env={"SHORI_EMULATED_ATTENTIONS": "23"}), 1)
    assert stopped.errors == ["E0704"]
    resumed = must(emulated(small.config, "--resume"))
    assert resumed.resumed_at == stopped.acknowledged == 1
    assert tensor_state(small.run) == tensor_state(finished.run)


def test_what_a_device_cannot_do_is_reported_before_anything_loads(tmp_path, narrow_model):
    fp32 = job(tmp_path, narrow_model, bf16=False)
    assert must(emulated(fp32.config), 2).errors == ["E0107"]
    rank = job(tmp_path, narrow_model, bf16=True, lora_r=65)
    assert must(emulated(rank.config), 2).errors == ["E0107"]
    odd = job(tmp_path, make_model(tmp_path / "odd", "--vocab", 508), bf16=True, lora_r=4)
    assert must(emulated(odd.config), 5).errors == ["E0406"]
    assert not fp32.run.exists()
