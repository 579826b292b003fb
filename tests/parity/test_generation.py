"""Greedy continuations with the cache of keys and values against transformers and PEFT, token for token."""
import json

import pytest
import torch
from parity_support import (
    TARGETS,
    load_tensors,
    make_adapter,
    random_samples,
    reference_model,
    relative_error,
    run_tool,
)
from safetensors.torch import load_file, save_file

from small_jobs import make_model

ALPHA, RANK, TOKENS, CONTEXT = 16, 20, 200, 512
VOCABULARY = 512
# One token; less than a chunk of a prompt; more than two chunks, of which the prompt before it has begun the first.
LONG = random_samples([300], VOCABULARY, seed=8)[0]
PROMPTS = [LONG[:1], LONG[:37], LONG]

CASES = {
    "nf4": {"options": [], "quantize": True},
    "window": {"options": ["--sliding-window", 24, "--rope-theta", 10000], "quantize": True},
    "window_16_bits": {"options": ["--sliding-window", 150, "--dtype", "float16"], "quantize": False},
    "dense_32_bits": {"options": ["--layers", 3, "--hidden", 96, "--heads", 6, "--dtype", "float32"], "quantize": False},
    # Rows of 72 and 200 columns begin inside quantization blocks.
    "odd_rows": {"options": ["--hidden", 72, "--heads", 6, "--intermediate", 200], "quantize": True},
    "tied": {"options": [], "quantize": True},
    "base_alone": {"options": ["--kv-heads", 1], "quantize": True, "targets": []},
}


def tie_head(folder):
    """The head becomes the embedding table, times a factor that gives logits a deviation of 1."""
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"] / 4
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """Our continuations, and the same model in transformers."""
    folder, settings = tmp_path_factory.mktemp(request.param), CASES[request.param]
    make_model(folder / "model", "--vocab", VOCABULARY, *settings["options"])
    if request.param == "tied":
        tie_head(folder / "model")
    targets = settings.get("targets", TARGETS)
    job = {"model": str(folder / "model"), "bf16": False, "quantize": settings["quantize"], "prompts": PROMPTS,
           "tokens": TOKENS, "context": CONTEXT}
    adapter = {}
    if targets:
        adapter = make_adapter(folder / "adapter.safetensors", folder / "model", RANK, targets)
        job |= {"adapter": str(folder / "adapter.safetensors"), "rank": RANK, "alpha": ALPHA, "targets": targets}
    (folder / "job.json").write_text(json.dumps(job))
    run_tool("generate", folder / "job.json", folder / "out.safetensors")
    ours = load_tensors(folder / "out.safetensors")
    linears = {name: value for name, value in ours.items() if name.startswith("model.layers.")}
    references = {dtype: reference_model(folder / "model", linears, adapter, RANK, ALPHA, targets or TARGETS, dtype).eval()
                  for dtype in (torch.float32, torch.float64)}
    return {"ours": ours, "references": references, "job": job, "folder": folder}


def test_tokens_and_logits(case):
    """One pass over prompt and continuation gives what each step must choose: by induction, the greedy continuation."""
    for number, prompt in enumerate(PROMPTS):
        ids = case["ours"][f"ids.{number}"].long()
        whole = torch.tensor([prompt + ids.tolist()])
        with torch.no_grad():
            logits = {dtype: model(input_ids=whole).logits[0, len(prompt) - 1:-1]
                      for dtype, model in case["references"].items()}
        assert logits[torch.float32].argmax(dim=-1).tolist() == ids.tolist(), number
        oracle = logits[torch.float64]
        error = relative_error(case["ours"][f"logits.{number}"], oracle)
        assert error <= 2 * relative_error(logits[torch.float32], oracle) + 1e-7, number


@pytest.mark.parametrize("case", ["nf4", "window"], indirect=True)
def test_generate_of_transformers(case):
    """The same by its own loop, with its own cache."""
    prompt = PROMPTS[1]
    with torch.no_grad():
        out = case["references"][torch.float32].generate(
            input_ids=torch.tensor([prompt]), max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False,
            eos_token_id=-1, pad_token_id=0)
    assert out[0, len(prompt):].tolist() == case["ours"]["ids.1"].long().tolist()


def test_earlier_prompts_change_no_bit(case):
    """The last prompt alone: nothing was in the cache."""
    job = case["job"] | {"prompts": PROMPTS[-1:]}
    (case["folder"] / "alone.json").write_text(json.dumps(job))
    run_tool("generate", case["folder"] / "alone.json", case["folder"] / "alone.safetensors")
    alone = load_tensors(case["folder"] / "alone.safetensors")
    assert torch.equal(alone["logits.0"], case["ours"][f"logits.{len(PROMPTS) - 1}"])
