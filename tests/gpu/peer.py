#!/usr/bin/env python3
"""The peer of the GPU suite: QLoRA by transformers + PEFT + bitsandbytes on the packs that shori-train gets.

bf16, NF4 with double quantization, SDPA, gradient checkpointing, 8-bit AdamW, LoRA of the same rank on all seven linears.
To be fair to it: one 16,384-token sample is one causal row without a mask, eight samples of 2,048 are a batch of eight
rows without a mask, so it never works on padding nor pays for a block-diagonal mask. One optimizer step a pack.

  peer.py --make-adapter DIR --model DIR --rank 20          a PEFT adapter that both sides can start from
  peer.py --model DIR --packs P2=FILE P1=FILE --out FILE    speed and memory of each, losses from the adapter

Exit 77: a package is missing. Without a GPU it trains nothing, because bitsandbytes needs one; --dense trains bf16 weights on the CPU
instead, for a try of the suite.
"""
import argparse
import importlib.util
import json
import pathlib
import statistics
import sys
import time

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SEED, RATE, DECAY, ALPHA, DROPOUT = 42, 1e-4, 0.05, 16, 0.1


def make_adapter(options):
    """Random A and small B, so that the adapter takes part from the first step."""
    import torch
    from safetensors.torch import save_file
    config = json.loads((options.model / "config.json").read_text())
    hidden, feed_forward = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, keys), "self_attn.v_proj": (hidden, keys),
              "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (hidden, feed_forward), "mlp.up_proj": (hidden, feed_forward),
              "mlp.down_proj": (feed_forward, hidden)}
    generator, tensors = torch.Generator().manual_seed(SEED), {}
    for layer in range(config["num_hidden_layers"]):
        for module, (inputs, outputs) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(options.rank, inputs, generator=generator) * inputs**-0.5
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(outputs, options.rank, generator=generator) * 0.02
    options.make_adapter.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.make_adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    (options.make_adapter / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": options.rank, "lora_alpha": ALPHA, "lora_dropout": 0.0, "bias": "none",
         "target_modules": TARGETS, "base_model_name_or_path": None, "fan_in_fan_out": False, "inference_mode": True}))


def load_base(options):
    import torch
    import transformers
    settings = {"attn_implementation": "sdpa"}
    if not options.dense:
        settings["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)
        settings["device_map"] = {"": 0}
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16, **settings)
    model.config.use_cache = False
    return model


def with_adapter(base, options, dropout, adapter=None):
    """Everything frozen stays in bf16, which is faster and smaller than PEFT's preparation for k-bit training."""
    import peft
    base.gradient_checkpointing_enable({"use_reentrant": False})
    base.enable_input_require_grads()
    settings = peft.LoraConfig(r=options.rank, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=TARGETS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, settings)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if adapter:
        from safetensors.torch import load_file
        result = peft.set_peft_model_state_dict(model, load_file(adapter / "adapter_model.safetensors"))
        assert not result.unexpected_keys, result.unexpected_keys
    return model.train()


def make_optimizer(model):
    import torch
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if parameters[0].is_cuda:
        import bitsandbytes
        return parameters, bitsandbytes.optim.AdamW8bit(parameters, lr=RATE, weight_decay=DECAY)
    return parameters, torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)


def rows_in_order(file, tokens):
    """The samples of each pack in the order of our first epoch, which is torch.randperm's, as [rows, length]."""
    import torch
    samples = [json.loads(line)["input_ids"] for line in pathlib.Path(file).read_text().splitlines()]
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(SEED)).tolist()
    per_pack = max(1, tokens // len(samples[0]))
    return [torch.tensor([samples[number] for number in order[first:first + per_pack]])
            for first in range(0, len(order) - per_pack + 1, per_pack)]


def train(model, batches, steps=None):
    """(seconds of each step, loss of each step); one optimizer step a batch, as the Trainer does it."""
    import torch
    device = next(model.parameters()).device
    parameters, optimizer = make_optimizer(model)
    seconds, losses = [], []
    for batch in batches[:steps]:
        ids = batch.to(device)
        if device.type == "cuda":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return seconds, losses


def measure(model, options, name, file):
    import torch
    batches = rows_in_order(file, options.tokens)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    seconds, _ = train(model, batches)
    counted = seconds[options.warm_up:]
    per_step = sorted(batches[0].numel() / second for second in counted)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    print(f"{name}: {statistics.median(per_step):.0f} tokens/s", flush=True)
    return {"steps": len(counted), "tokens_per_second": round(statistics.median(per_step), 1),
            "median_seconds": round(statistics.median(counted), 4), "peak_bytes_of_allocator": peak}


def versions():
    from importlib import metadata
    return {name: metadata.version(name) for name in ["torch", "transformers", "peft", "bitsandbytes", "accelerate"]
            if importlib.util.find_spec(name)}


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--make-adapter", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--adapter", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--packs", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--tokens", type=int, default=16384, help="of a pack")
    parser.add_argument("--rank", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--loss-steps", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--dense", action="store_true", help="on the CPU, without bitsandbytes")
    return parser.parse_args()


def main():
    options = parse_options()
    missing = [name for name in ["torch", "transformers", "peft", "bitsandbytes", "safetensors"] if not importlib.util.find_spec(name)]
    if missing:
        print(f"not installed: {', '.join(missing)}")
        return 77
    if options.make_adapter:
        make_adapter(options)
        return 0
    import torch
    if not options.dense and not torch.cuda.is_available():
        print("torch finds no GPU")
        return 1
    torch.manual_seed(SEED)
    packs = dict(word.split("=", 1) for word in options.packs)
    report = {"versions": versions(), "runs": {}}

    def flush():
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    base = load_base(options)
    model = with_adapter(base, options, DROPOUT)
    for name, file in packs.items():
        report["runs"][name] = measure(model, options, name, file)
        flush()
    if options.adapter:
        model = with_adapter(model.unload(), options, 0.0, options.adapter)
        name, file = next(iter(packs.items()))
        report["losses"] = train(model, rows_in_order(file, options.tokens), options.loss_steps)[1]
        flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
