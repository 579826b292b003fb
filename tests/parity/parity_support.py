"""What the parity tests share: the tool that calls our code, adapters, and the reference model."""
import json
import os
import pathlib

import numpy
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

import start_server

TOOL = pathlib.Path(os.environ["SHORI_BIN_DIR"]) / "parity_tool"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

torch.set_num_threads(2)


def run_tool(*arguments, text=None):
    """Output of parity_tool; an error of the tool is an error of the test."""
    code, out, err = start_server.run(TOOL, [str(argument) for argument in arguments], None, dict(os.environ), 240,
                                      (text or "").encode())
    assert code == 0, err.decode()
    return out.decode()


def make_adapter(path, model_folder, rank, targets, seed=11):
    """An adapter file whose factors are all different from zero, named as PEFT names them."""
    config = json.loads((model_folder / "config.json").read_text())
    hidden, feed_forward = config["hidden_size"], config["intermediate_size"]
    keys_values = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"q_proj": (hidden, hidden), "k_proj": (keys_values, hidden), "v_proj": (keys_values, hidden),
              "o_proj": (hidden, hidden), "gate_proj": (feed_forward, hidden), "up_proj": (feed_forward, hidden),
              "down_proj": (hidden, feed_forward)}
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for target in targets:
            out, inputs = shapes[target]
            block = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            prefix = f"base_model.model.model.layers.{layer}.{block}.{target}"
            tensors[prefix + ".lora_A.weight"] = torch.randn(rank, inputs, generator=generator) / inputs**0.5
            tensors[prefix + ".lora_B.weight"] = torch.randn(out, rank, generator=generator) * 0.05
    save_file(tensors, path, metadata={"format": "pt"})
    return tensors


def reference_model(folder, linears, adapter, rank, alpha, targets, dtype):
    """transformers + PEFT in `dtype`, with `linears` (what our NF4 weights decode to) in place of the folder's; LoRA
    factors are fp32 (float64 under float64), as PEFT keeps them for training."""
    model = transformers.MistralForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    missing = model.load_state_dict(linears, strict=False)
    assert not missing.unexpected_keys
    model = model.to(dtype)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in adapter.items():
            parameter = parameters[name.replace(".weight", ".default.weight")]
            parameter.data = value.to(wide)
    return model.train()


def reference_pass(model, samples, dtype):
    """Token losses of one sample after the other (0 at its last id), mean loss, and gradients by PEFT name. Each
    sample goes through alone: a pack must not differ."""
    losses, targets = [], sum(len(sample) - 1 for sample in samples)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    context = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
    for sample in samples:
        ids = torch.tensor([sample])
        with context:
            logits = model(input_ids=ids).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1].to(wide), ids[0, 1:], reduction="none")
        (loss.sum() / targets).backward()
        losses.append(torch.cat([loss.detach().double(), torch.zeros(1, dtype=torch.float64)]))
    losses = torch.cat(losses)
    gradients = {name.replace(".default.weight", ".weight"): parameter.grad.double()
                 for name, parameter in model.named_parameters() if parameter.requires_grad}
    return losses, losses.sum().item() / targets, gradients


def relative_error(value, oracle):
    """L2 norm of the difference, relative to that of the oracle."""
    return ((value.double() - oracle).norm() / oracle.norm()).item()


def load_tensors(path):
    return load_file(path)


def random_samples(lengths, vocabulary, seed=5):
    random = numpy.random.RandomState(seed)
    return [random.randint(3, vocabulary, length).tolist() for length in lengths]
