"""The whole model against transformers and PEFT on the same decoded weights: losses, every gradient, logits.

Tolerance: twice the error that the reference itself, in the same precision, has against float64.
"""
import json

import pytest
import torch
from parity_support import (
    TARGETS,
    load_tensors,
    make_adapter,
    random_samples,
    reference_model,
    reference_pass,
    relative_error,
    run_tool,
)

from small_jobs import make_model

CASES = {
    "plain": {"options": [], "targets": TARGETS, "rank": 20},
    "window": {"options": ["--sliding-window", 24, "--rope-theta", 10000], "targets": TARGETS, "rank": 20},
    "subset": {"options": ["--shards", 2], "targets": ["q_proj", "v_proj", "down_proj"], "rank": 6},
    "three_layers": {"options": ["--layers", 3, "--hidden", 128, "--heads", 8, "--dtype", "float16"],
                     "targets": TARGETS, "rank": 32},
}
ALPHA = 16
SAMPLES = random_samples([70, 33, 2, 90], 512)


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """Folder, adapter and settings of one case, and the float64 result for it."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = CASES[request.param]
    make_model(folder / "model", "--vocab", 512, *settings["options"])
    adapter = make_adapter(folder / "adapter.safetensors", folder / "model", settings["rank"], settings["targets"])
    return {"folder": folder, "adapter": adapter, "rank": settings["rank"], "targets": settings["targets"]}


def our_pass(case, bf16):
    job = {"model": str(case["folder"] / "model"), "adapter": str(case["folder"] / "adapter.safetensors"), "bf16": bf16,
           "quantize": True, "rank": case["rank"], "alpha": ALPHA, "targets": case["targets"], "samples": SAMPLES}
    job_file, out = case["folder"] / "job.json", case["folder"] / "out.safetensors"
    job_file.write_text(json.dumps(job))
    run_tool("pass", job_file, out)
    tensors = load_tensors(out)
    linears = {name: value for name, value in tensors.items() if name.startswith("model.layers.")}
    return tensors, linears


def reference(case, linears, dtype):
    model = reference_model(case["folder"] / "model", linears, case["adapter"], case["rank"], ALPHA, case["targets"],
                            dtype)
    losses, loss, gradients = reference_pass(model, SAMPLES, dtype)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(input_ids=torch.tensor([SAMPLES[0]])).logits[0].double()
    return {"losses": losses, "loss": loss, "gradients": gradients, "logits": logits}


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_losses_gradients_and_logits(case, bf16):
    ours, linears = our_pass(case, bf16)
    oracle = reference(case, linears, torch.float64)
    framework = reference(case, linears, torch.bfloat16 if bf16 else torch.float32)

    assert relative_error(ours["losses"], oracle["losses"]) <= 2 * relative_error(framework["losses"], oracle["losses"])
    assert relative_error(ours["logits"], oracle["logits"]) <= 2 * relative_error(framework["logits"], oracle["logits"])
    # The error of one number may happen to be near 0; that of a typical token loss says how large it can be.
    targets = sum(len(sample) - 1 for sample in SAMPLES)
    typical = (framework["losses"] - oracle["losses"]).norm().item() / targets**0.5
    loss = ours["losses"].double().sum().item() / targets
    assert abs(loss - oracle["loss"]) <= 2 * max(abs(framework["loss"] - oracle["loss"]), typical)

    assert set(oracle["gradients"]) == set(case["adapter"])
    ratios = {}
    for name, gradient in oracle["gradients"].items():
        assert gradient.norm() > 0, name
        error = relative_error(framework["gradients"][name], gradient)
        ratios[name] = relative_error(ours[name], gradient) / error
    too_far = {name: ratio for name, ratio in ratios.items() if ratio > 2}
    assert not too_far


def test_a_wrong_reference_is_noticed(case):
    """The comparison has teeth: the same model with another scaling is far outside the tolerance."""
    ours, linears = our_pass(case, False)
    oracle = reference(case, linears, torch.float64)
    framework = reference(case, linears, torch.float32)
    model = reference_model(case["folder"] / "model", linears, case["adapter"], case["rank"], ALPHA + 1,
                            case["targets"], torch.float64)
    losses, _, gradients = reference_pass(model, SAMPLES, torch.float64)
    assert relative_error(ours["losses"], losses) > 100 * relative_error(framework["losses"], oracle["losses"])
    for name, gradient in gradients.items():
        assert relative_error(ours[name], gradient) > 100 * relative_error(framework["gradients"][name],
                                                                           oracle["gradients"][name])
