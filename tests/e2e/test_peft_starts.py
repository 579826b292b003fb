"""Training that begins from an adapter made by PEFT."""
import pytest
import torch

from reference_models import MODULES, held_out_loss, peft_adapter
from run_folders import Checkpoint, checkpoints, metrics, read_safetensors
from shori_programs import export, in_parallel, must, train
from small_jobs import TokenJob, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model") / "tiny-mistral", "--vocab", 512, "--shards", 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peft_adapter_is_taken_over_exactly(model, tmp_path, dtype):
    network = peft_adapter(model, tmp_path / "peft", dtype)
    stored = read_safetensors(tmp_path / "peft/adapter_model.safetensors")[1]
    assert {kind for kind, _, _ in stored.values()} == {"F32" if dtype == torch.float32 else "BF16"}
    job = TokenJob(tmp_path / "job", model, init_from=str(tmp_path / "peft"), adapter="lora", load_in_4bit=False,
                   bf16=False, max_steps=1, eval_steps=1)
    outcome = must(train(job.config))
    assert outcome.codes == ["W0503"], "its base is not known"
    start = Checkpoint(checkpoints(job.run)[0])
    for name, (_, shape, data) in stored.items():
        values = torch.frombuffer(bytearray(data), dtype=dtype).float().numpy().tobytes()
        assert start.tensors[name] == values and start.shapes[name] == shape, name
    ours = metrics(job.run, "eval")[0]["loss"]
    assert held_out_loss(network, job.folder / "test.jsonl") == pytest.approx(ours, rel=2e-5)
    must(export("merged", tmp_path / "peft", "--base", model, "--out", tmp_path / "merged"))


PEFT_KINDS = {"rank": {"r": 8}, "alpha": {"lora_alpha": 8}, "modules": {"target_modules": MODULES[:3]},
              "rslora": {"use_rslora": True}, "dora": {"use_dora": True}, "bias": {"bias": "all"},
              "ranks by pattern": {"rank_pattern": {"q_proj": 4}}, "whole modules": {"modules_to_save": ["lm_head"]}}


def test_peft_adapters_that_are_not_plain_lora_are_refused(model, tmp_path):
    for name, settings in PEFT_KINDS.items():
        folder = tmp_path / name.replace(" ", "-")
        peft_adapter(model, folder / "peft", torch.float32, **settings)

    def work(name):
        folder = tmp_path / name.replace(" ", "-")
        job = TokenJob(folder / "job", model, init_from=str(folder / "peft"), max_steps=1)
        outcome = must(train(job.config), 2)
        assert set(outcome.errors) == {"E0511"}, (name, repr(outcome))
        assert not checkpoints(job.run)

    in_parallel(work, PEFT_KINDS)
