"""Adapters as PEFT saves them: names of tensors of every version, every form of target_modules, `.bin`. init_from, export and merge read
them in the same way. https://github.com/huggingface/peft/blob/main/src/peft/tuners/tuners_utils.py"""
import json
import re
import shlex
import subprocess

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from shori_programs import PYTHON, export, must, train
from small_jobs import TokenJob

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PATHS = [f"self_attn.{name}" for name in LINEARS[:4]] + [f"mlp.{name}" for name in LINEARS[4:]]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, token_model):
    """Made by PEFT, with values of its own in both factors."""
    folder = tmp_path_factory.mktemp("peft") / "adapter"
    torch.manual_seed(3)
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(token_model, dtype=torch.float32),
                             LoraConfig(r=20, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    network.save_pretrained(folder)
    return folder


def changed(adapter, folder, rename=None, drop=None, **config):
    folder.mkdir(parents=True)
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors = {(rename(name) if rename else name): value for name, value in tensors.items() if not (drop and drop in name)}
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {**json.loads((adapter / "adapter_config.json").read_text()), **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def all_commands(adapter, model, tmp_path, tag):
    """How a check, init_from, `adapter` and `merged` end."""
    job = TokenJob(tmp_path / f"job-{tag}", model, held_out=0, max_steps=1, init_from=str(adapter))
    return [train(job.config, "--check"), train(job.config), export("adapter", adapter, "--out", tmp_path / f"adapter-{tag}"),
            export("merged", adapter, "--base", model, "--out", tmp_path / f"merged-{tag}")]


def test_adapter_of_peft(tmp_path, token_model, adapter):
    for outcome in all_commands(adapter, token_model, tmp_path, "x"):
        must(outcome)
    written = load_file(tmp_path / "adapter-x/adapter_model.safetensors")
    for name, value in load_file(adapter / "adapter_model.safetensors").items():
        assert torch.equal(written[name], value)
    config = json.loads((tmp_path / "adapter-x/adapter_config.json").read_text())
    assert config["target_modules"] == sorted(LINEARS)
    assert "/" not in config["base_model_name_or_path"], "a path of this machine is no name for others"


RENAMES = {
    "adapter name": lambda name: name.replace(".weight", ".default.weight"),
    "another adapter name": lambda name: name.replace(".weight", ".my_adapter.weight"),
    "compiled": lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."),
    "compiled outside": lambda name: "_orig_mod." + name,
    "data parallel": lambda name: "module." + name,
    "sharded": lambda name: name.replace(".layers.", "._fsdp_wrapped_module.layers.").replace(".mlp", "._checkpoint_wrapped_module.mlp"),
    "no prefix": lambda name: name.removeprefix("base_model.model."),
    "without head": lambda name: name.replace("base_model.model.model.", "base_model.model."),
}


def test_names_of_other_versions(tmp_path, token_model, adapter):
    must(export("adapter", adapter, "--out", tmp_path / "plain"))
    for number, (case, rename) in enumerate(RENAMES.items()):
        source = changed(adapter, tmp_path / f"in-{number}", rename)
        must(export("adapter", source, "--out", tmp_path / f"out-{number}"))
        assert files_of(tmp_path / f"out-{number}") == files_of(tmp_path / "plain"), case
    for outcome in all_commands(tmp_path / "in-0", token_model, tmp_path, "named"):
        must(outcome)


UNSLOTH = (r"(?:.*?(?:language|text).*?(?:self_attn|mlp).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)|"
           r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))")
TARGETS = {
    "short": LINEARS, "paths": PATHS, "full": [f"model.layers.{layer}.{path}" for layer in range(2) for path in PATHS],
    "some full": LINEARS[:6] + [f"{layer}.mlp.down_proj" for layer in range(2)], "all-linear": "all-linear", "upper": "All-Linear",
    "expression": r".*\.(q|k|v|o|gate|up|down)_proj", "layers": r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj",
    "look ahead": r"^(?!.*lm_head).*_proj$", "unsloth": UNSLOTH, "others too": LINEARS + ["w1", "c_attn"],
}


def test_every_form_of_target_modules(tmp_path, token_model, adapter):
    for number, (case, targets) in enumerate(TARGETS.items()):
        source = changed(adapter, tmp_path / f"in-{number}", target_modules=targets)
        outcome = export("adapter", source, "--out", tmp_path / f"out-{number}")
        assert outcome.code == 0, (case, outcome)
    source = changed(adapter, tmp_path / "in", target_modules=UNSLOTH)
    for outcome in all_commands(source, token_model, tmp_path, "expression"):
        must(outcome)
    excluded = changed(adapter, tmp_path / "excluded", drop="down_proj", exclude_modules=["down_proj"], target_modules="all-linear")
    must(export("adapter", excluded, "--out", tmp_path / "out-excluded"))


REFUSED = {
    "names less": {"target_modules": LINEARS[:6]}, "names nothing": {"target_modules": []}, "null": {"target_modules": None},
    "part of a name": {"target_modules": ["proj"]}, "one layer": {"target_modules": r"model\.layers\.0\..*_proj"},
    "part matches": {"target_modules": r"(q|k|v|o|gate|up|down)_proj"}, "python only": {"target_modules": r"(?P<x>.*)_proj"},
    "exponential": {"target_modules": "(a*)*" * 30 + "b"}, "deep": {"target_modules": "(" * 3000}, "excluded": {"exclude_modules": ["q_proj"]},
    "dora": {"use_dora": True}, "rslora": {"use_rslora": True}, "bias": {"lora_bias": True}, "pissa": {"init_lora_weights": "pissa_niter_16"},
    "tokens": {"trainable_token_indices": [1, 2]}, "some layers": {"layers_to_transform": [1]}, "ranks": {"rank_pattern": {"q_proj": 4}},
    "half alpha": {"lora_alpha": 16.5}, "other type": {"peft_type": "IA3"},
}


def test_what_is_refused(tmp_path, adapter):
    for number, (case, settings) in enumerate(REFUSED.items()):
        source = changed(adapter, tmp_path / f"in-{number}", **settings)
        outcome = must(export("adapter", source, "--out", tmp_path / f"out-{number}"), 2)
        assert set(outcome.errors) == {"E0511"}, (case, outcome)
    accepted = changed(adapter, tmp_path / "same", rank_pattern={"q_proj": 20}, alpha_pattern={"q_proj": 16}, layers_to_transform=[0, 1],
                       init_lora_weights="gaussian")
    must(export("adapter", accepted, "--out", tmp_path / "out"))


@pytest.mark.parametrize("case", ["dora", "rslora", "pissa", "ranks", "other type", "config only", "nothing", "other r"])
def test_a_check_finds_what_the_start_refuses(tmp_path, token_model, adapter, case):
    source = tmp_path / "nosuch" if case == "nothing" else changed(adapter, tmp_path / "in", **REFUSED.get(case, {}))
    if case == "config only":
        (source / "adapter_model.safetensors").unlink()
    job = TokenJob(tmp_path / "job", token_model, held_out=0, max_steps=1, lora_r=8 if case == "other r" else 20, init_from=str(source))
    check, start = must(train(job.config, "--check"), 2), must(train(job.config), 2)
    assert check.errors == start.errors == ["E0510" if case in ("nothing", "config only") else "E0511"], repr(check)
    assert "no problems" not in check.err and "= help: " in check.err and not job.run.exists()
    job.write(learning_rate=-1)
    if case in ("nothing", "config only"):
        assert "E0510" in must(train(job.config, "--check"), 2).errors, "beside mistakes of the config"


def test_tensors_that_are_refused(tmp_path, token_model, adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(tensors))
    extra = {
        "twice": name.replace(".weight", ".default.weight"), "head": "base_model.model.lm_head.weight",
        "embedding": "base_model.model.model.embed_tokens.weight", "dora": name.replace("lora_A.weight", "lora_magnitude_vector"),
        "other module": name.replace("q_proj", "w1").replace("down_proj", "w1").replace("self_attn", "x").replace("mlp", "x"),
    }
    for case, other in extra.items():
        folder = changed(adapter, tmp_path / case.replace(" ", "-"))
        save_file({**tensors, other: tensors[name].clone()}, folder / "adapter_model.safetensors")
        for outcome in all_commands(folder, token_model, tmp_path, case.replace(" ", "-")):
            assert set(must(outcome, 2).errors) == {"E0511"}, (case, outcome)
    lost = changed(adapter, tmp_path / "lost", drop="layers.1.mlp.up_proj.lora_B")
    for outcome in all_commands(lost, token_model, tmp_path, "lost"):
        assert outcome.code != 0


def test_bin_is_refused_with_a_command_that_converts_it(tmp_path, token_model, adapter):
    folder = tmp_path / "it's old"
    folder.mkdir()
    (folder / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    torch.save(load_file(adapter / "adapter_model.safetensors"), folder / "adapter_model.bin")
    for outcome in all_commands(folder, token_model, tmp_path, "bin"):
        assert must(outcome, 3).errors == ["E0202"]
        command = re.search(r"`(python3 -c .*)`", outcome.err)[1]
    assert must(export("adapter", folder / "adapter_model.bin", "--out", tmp_path / "o"), 3).errors == ["E0202"]
    subprocess.run([PYTHON, *shlex.split(command)[1:]], check=True, cwd=tmp_path)
    must(export("adapter", folder, "--out", tmp_path / "converted"))
    must(export("adapter", adapter, "--out", tmp_path / "plain"))
    assert files_of(tmp_path / "converted") == files_of(tmp_path / "plain")
