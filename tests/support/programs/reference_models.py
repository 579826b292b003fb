"""Models and adapters by transformers and PEFT, which ours are compared with."""
import json

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def samples(path):
    return [json.loads(line)["input_ids"] for line in path.read_text().splitlines()]


def reference_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def held_out_loss(network, path):
    """Mean cross-entropy over all tokens but the first of each sample, in float64 sums."""
    total, count = 0.0, 0
    with torch.no_grad():
        for ids in samples(path):
            logits = network(torch.tensor([ids])).logits[0, :-1].double()
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
            total, count = total + losses.item(), count + len(ids) - 1
    return total / count


def peft_adapter(model, folder, dtype, **settings):
    """An adapter of the peft package with random B, saved as that package saves it; and its network."""
    torch.manual_seed(5)
    network = get_peft_model(reference_model(model), LoraConfig(**{
        "r": 20, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": MODULES, "task_type": "CAUSAL_LM",
        **settings}))
    for name, value in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value, std=0.05)
            value.data = value.data.to(dtype).float()
    stored = {name: value.to(dtype) for name, value in network.state_dict().items()}
    network.save_pretrained(folder, state_dict=stored)
    return network.eval()
