#!/usr/bin/env python3
"""One optimizer step of the quick-start model on the CPU: shori-train against transformers + PEFT.

  build/deps/venv/bin/python tests/bench/step_against_peer.py --threads 2
  build/deps/venv/bin/python tests/bench/step_against_peer.py --rounds 1 --steps 2 --precisions fp32      (a short try)
  build/deps/venv/bin/python tests/bench/step_against_peer.py --shape wide --steps 2 --precisions bf16    (hidden 2048)

Needs scripts/setup.sh --tests and a build of shori-train, shori_bench and parity_tool; --bin names its folder.

Both train the model of scripts/make_tiny_model.py --preset quickstart with the settings of configs/quickstart: LoRA of
rank 20 on all seven linears, dropout 0.1, one pack a step, every id a target, norm clipped to 1, AdamW. Both get the
same packs in the same order, each one sample of 1,024 random ids (the peer has no block-diagonal attention on a CPU),
and the same frozen weights: ours are NF4 in memory and decoded in each product, the peer gets the decoded values as
dense weights and never decodes. The loss of the first step, where B is still zero, shows that it is the same work.
Differences that remain:
- ours recomputes every layer in the backward pass and keeps optimizer states in 8 bits; the peer is measured with and
  without gradient checkpointing and uses torch.optim.AdamW, states in fp32;
- bf16: ours rounds to bf16 but multiplies in fp32; the peer has bf16 weights and runs under autocast, which uses the
  processor's bf16 instructions where there are any.

--shape wide is a model of hidden 2048, 4 layers, 16 query and 4 key/value heads, feed-forward 5632, in packs of 2,048
tokens. There the peer also runs with bitsandbytes' NF4 weights, which it decodes in each product as ours does; its own
quantization of the same model, so its losses differ a little.

Each program runs alone, in turn: ours before each peer, for each round and precision. `loop` is the rate of a loop of
multiply-adds that touches no memory, measured before each run: where it differs, the machine was in another state. The first
steps of each are left out (--warm-up, two unless said otherwise); medians over the steps of all rounds. Our time is
`seconds` of timing.jsonl: batch, forward, backward, update and guards; the checkpoint written after each step is shown
beside it, the peer writes none.
Peak memory is the process's largest resident size; the peer's includes Python, and is also shown before its first step.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import sys
import time

import bench_report

VOCABULARY = 32000
SHAPES = {"quickstart": {"length": 1024, "model": []},
          "wide": {"length": 2048, "model": ["--hidden", 2048, "--layers", 4, "--heads", 16, "--kv-heads", 4,
                                             "--intermediate", 5632]}}
RANK, ALPHA, DROPOUT, RATE, DECAY, SEED = 20, 16, 0.1, 0.002, 0.05, 42
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HOME = bench_report.WORK / "step"
PEERS = {"peer": [], "peer, checkpointing": ["--checkpointing"], "peer, NF4": ["--nf4"]}


def peers_of(options):
    """A small model gains nothing from NF4, so only the wide one is measured with it."""
    if options.peers is not None:
        return options.peers
    return [name for name in PEERS if options.shape == "wide" or name != "peer, NF4"]


def make_inputs(options):
    """Model folder, the same folder with decoded linears, and packs."""
    tokenizer = bench_report.TOKENIZER if bench_report.TOKENIZER.is_file() else "none"
    bench_report.run([sys.executable, bench_report.SOURCE / "scripts/make_tiny_model.py", "--preset", "quickstart",
                      "--out", HOME / "model", "--tokenizer", tokenizer, *SHAPES[options.shape]["model"]])
    bench_report.run([sys.executable, __file__, "--decode", options.bin / "parity_tool"])
    source = random.Random(7)
    lines = [json.dumps({"input_ids": [source.randrange(3, VOCABULARY) for _ in range(SHAPES[options.shape]["length"])]})
             for _ in range(options.warm_up + options.steps)]
    (HOME / "packs.jsonl").write_text("\n".join(lines) + "\n")


def decode_linears(tool):
    """peer_model: the model folder with every linear replaced by what its NF4 form decodes to."""
    import torch
    from safetensors.torch import load_file, save_file
    tensors = {name: value.float() for name, value in load_file(HOME / "model/model.safetensors").items()}
    linears = {name: value for name, value in tensors.items() if name.endswith("_proj.weight")}
    save_file(linears, HOME / "linears.safetensors")
    bench_report.run([tool, "quantize", HOME / "linears.safetensors", HOME / "decoded.safetensors"])
    decoded = load_file(HOME / "decoded.safetensors")
    for name, value in linears.items():
        tensors[name] = decoded[name + ".values"].reshape(value.shape)
        assert not torch.equal(tensors[name], value), f"{name} was not quantized"
    (HOME / "peer_model").mkdir(exist_ok=True)
    shutil.copy(HOME / "model/config.json", HOME / "peer_model")
    save_file(tensors, HOME / "peer_model/model.safetensors", metadata={"format": "pt"})


def run_ours(options, precision):
    """Seconds of each step after the warm-up, of each checkpoint, and the peak resident size."""
    config = {
        "base_model": str(HOME / "model"), "output_dir": str(HOME / "run"), "device": "cpu", "threads": options.threads,
        "datasets": [{"path": str(HOME / "packs.jsonl"), "type": "tokenized"}], "bf16": precision == "bf16",
        "sequence_len": SHAPES[options.shape]["length"], "sample_packing": True, "train_on_inputs": True, "lora_r": RANK, "lora_alpha": ALPHA,
        "lora_dropout": DROPOUT, "learning_rate": RATE, "weight_decay": DECAY, "lr_scheduler": "constant", "seed": SEED,
    }
    (HOME / "ours.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in config.items()))
    shutil.rmtree(HOME / "run", ignore_errors=True)
    bench_report.run([options.bin / "shori-train", HOME / "ours.yaml"])
    steps = [json.loads(line) for line in (HOME / "run/timing.jsonl").read_text().splitlines()]
    losses = [json.loads(line) for line in (HOME / "run/metrics.jsonl").read_text().splitlines()]
    counted = steps[options.warm_up:]
    return {"seconds": [step["seconds"] for step in counted],
            "checkpoint_seconds": [step["checkpoint_seconds"] for step in counted],
            "phases": {phase: statistics.median(step[phase] for step in counted)
                       for phase in ("forward_seconds", "backward_seconds", "optimizer_seconds")},
            "peak_bytes": steps[-1]["memory_peak_bytes"], "first_loss": losses[0]["loss"]}


def fma_rate(options):
    """GFLOP/s of a loop in registers on one core."""
    output = bench_report.run([options.bin / "shori_bench", "--benchmark_filter=^fma_loop", "--benchmark_format=json"])
    return json.loads(output)["benchmarks"][0].get("GFLOP/s", 0)


def run_peer(options, precision, kind):
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads),
                   "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    command = [sys.executable, __file__, "--peer", precision, "--threads", options.threads,
               "--warm-up", options.warm_up]
    output = bench_report.run(command + PEERS[kind], env=environment)
    return json.loads(output.splitlines()[-1])


def peer_model(precision, checkpointing, nf4):
    import peft
    import torch
    import transformers
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if nf4:
        config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                                 bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
        model = transformers.MistralForCausalLM.from_pretrained(HOME / "model", dtype=dtype, device_map="cpu",
                                                                quantization_config=config)
    else:
        model = transformers.MistralForCausalLM.from_pretrained(HOME / "peer_model", dtype=dtype)
    model.config.use_cache = False
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model = peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT,
                                                       target_modules=TARGETS, task_type="CAUSAL_LM"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # as PEFT keeps them for training
    return model.train()


def packs_in_order():
    """The packs in the order of our first epoch, which is that of torch.randperm."""
    import torch
    packs = [json.loads(line)["input_ids"] for line in (HOME / "packs.jsonl").read_text().splitlines()]
    order = torch.randperm(len(packs), generator=torch.Generator().manual_seed(SEED))
    return [packs[number] for number in order.tolist()]


def train_peer(precision, threads, warm_up, checkpointing, nf4):
    """The peer's steps, in a process of their own."""
    import torch
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = peer_model(precision, checkpointing, nf4)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    seconds, losses, before = [], [], bench_report.peak_memory()
    for pack in packs_in_order():
        begun = time.perf_counter()
        ids = torch.tensor([pack])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begun)
    print(json.dumps({"seconds": seconds[warm_up:], "peak_bytes": bench_report.peak_memory(),
                      "bytes_before_first_step": before, "first_loss": losses[0]}))


def measure(options, precision):
    """name -> what its runs of all rounds gave; ours runs before each peer, and once a round without any."""
    peers = peers_of(options)
    results = {"ours": [], **{name: [] for name in peers}}
    for round_number in range(options.rounds):
        for names in [("ours", name) for name in peers] or [("ours",)]:
            print(f"{precision}, round {round_number + 1} of {options.rounds}: {', '.join(names)}", file=sys.stderr)
            for name in names:
                rate = fma_rate(options)
                run = run_ours(options, precision) if name == "ours" else run_peer(options, precision, name)
                results[name].append({**run, "fma_rate": rate})
    return results


def summarize(runs):
    summary = {"seconds": bench_report.spread([second for run in runs for second in run["seconds"]]),
               "peak_bytes": max(run["peak_bytes"] for run in runs), "first_loss": runs[0]["first_loss"],
               "fma_rate": bench_report.spread([run["fma_rate"] for run in runs])}
    if "checkpoint_seconds" in runs[0]:
        summary["checkpoint_seconds"] = bench_report.spread([s for run in runs for s in run["checkpoint_seconds"]])
        summary["phases"] = {phase: statistics.median(run["phases"][phase] for run in runs)
                             for phase in runs[0]["phases"]}
    else:
        summary["bytes_before_first_step"] = max(run["bytes_before_first_step"] for run in runs)
    return summary


def show(report):
    rows = []
    for precision, results in report["results"].items():
        ours = results["ours"]["seconds"]["median"]
        for name, result in results.items():
            seconds = result["seconds"]
            rows.append([f"{precision} {name}", f"{seconds['median'] * 1000:.1f}", f"{seconds['lowest'] * 1000:.1f}",
                         f"{seconds['highest'] * 1000:.1f}", f"{report['settings']['tokens_of_a_pack'] / seconds['median']:.0f}",
                         f"{seconds['median'] / ours:.2f}", f"{result['peak_bytes'] / 2**20:.0f}",
                         f"{result['first_loss']:.4f}", f"{result['fma_rate']['median']:.0f}"])
    bench_report.print_table(["", "ms a step", "lowest", "highest", "tokens/s", "ours is x faster", "peak MiB",
                              "first loss", "loop GFLOP/s"], rows)
    for precision, results in report["results"].items():
        ours = results["ours"]
        phases = ", ".join(f"{name.split('_')[0]} {seconds * 1000:.1f}" for name, seconds in ours["phases"].items())
        print(f"{precision} ours: {phases} ms; then the checkpoint: "
              f"{ours['checkpoint_seconds']['median'] * 1000:.1f} ms")
        before = [results[name]["bytes_before_first_step"] for name in results if name != "ours"]
        if before:
            print(f"{precision} peer before its first step: {max(before) / 2**20:.0f} MiB")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bench_report.add_common_options(parser)
    parser.add_argument("--shape", choices=SHAPES, default="quickstart")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=10, help="counted steps of each run")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="none, or some; default: all that suit the shape")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--peer", choices=["fp32", "bf16"], help=argparse.SUPPRESS)
    parser.add_argument("--checkpointing", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--nf4", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--decode", metavar="TOOL", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse_options()
    if options.peer:
        return train_peer(options.peer, options.threads, options.warm_up, options.checkpointing, options.nf4)
    if options.decode:
        return decode_linears(options.decode)
    report = bench_report.describe(options.bin, ["torch", "transformers", "peft", "bitsandbytes"])
    report["settings"] = {"threads": options.threads, "shape": options.shape,
                          "tokens_of_a_pack": SHAPES[options.shape]["length"], "steps": options.steps,
                          "warm_up": options.warm_up, "rounds": options.rounds}
    make_inputs(options)
    runs = {precision: measure(options, precision) for precision in options.precisions}
    report["results"] = {precision: {name: summarize(of_name) for name, of_name in results.items()}
                         for precision, results in runs.items()}
    report["runs"] = runs
    show(report)
    bench_report.finish(report, options.out, "step_against_peer.json")
    return None


if __name__ == "__main__":
    main()
