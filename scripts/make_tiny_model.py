#!/usr/bin/env python3
"""Writes a small Mistral-type model with random weights as a real Hugging Face folder.

  make_tiny_model.py --out DIR --preset quickstart --tokenizer tokenizer.model.v1
  make_tiny_model.py --out DIR --preset test --vocab 512 --tokenizer none --shards 2

Needs numpy, no torch. The same options give the same bytes: the numbers come from numpy's RandomState, whose stream
is frozen, with a fixed seed.

Weights: each linear has standard deviation 1/sqrt(inputs), so that activations keep their size; o_proj and down_proj
are smaller by sqrt(2 * layers), as is usual for what is added to the residual stream. lm_head has 1/sqrt(hidden): the
logits of the untrained model have standard deviation 1 and its loss is ln(vocabulary) + 1/2, about 10.9 for 32,000
pieces. With the usual 0.02 and a hidden size of 128 the logits would be so flat that a frozen head could hardly express
a confident guess: training by LoRA, which leaves embeddings and head alone, would not show.
"""
import argparse
import json
import pathlib
import shutil

import numpy

PRESETS = {
    "quickstart": {"hidden": 128, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 448, "vocab": 32000},
    "test": {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 224, "vocab": 32000},
}


def to_bfloat16(values):
    """Bits of float32 `values` rounded to bfloat16, to nearest, ties to even."""
    bits = values.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def encode(values, dtype):
    """Little-endian bytes of `values` in one of the three file types."""
    if dtype == "bfloat16":
        return to_bfloat16(values).astype("<u2").tobytes()
    return values.astype("<f2" if dtype == "float16" else "<f4").tobytes()


def tensor_shapes(options):
    """(name, shape, standard deviation; None: all ones), in the order of the model's modules."""
    hidden, feed_forward, vocab = options.hidden, options.intermediate, options.vocab
    keys_values = hidden // options.heads * options.kv_heads
    residual = 1 / numpy.sqrt(2 * options.layers)
    yield "model.embed_tokens.weight", (vocab, hidden), 0.5
    for layer in range(options.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "self_attn.q_proj.weight", (hidden, hidden), hidden**-0.5
        yield prefix + "self_attn.k_proj.weight", (keys_values, hidden), hidden**-0.5
        yield prefix + "self_attn.v_proj.weight", (keys_values, hidden), hidden**-0.5
        yield prefix + "self_attn.o_proj.weight", (hidden, hidden), hidden**-0.5 * residual
        yield prefix + "mlp.gate_proj.weight", (feed_forward, hidden), hidden**-0.5
        yield prefix + "mlp.up_proj.weight", (feed_forward, hidden), hidden**-0.5
        yield prefix + "mlp.down_proj.weight", (hidden, feed_forward), feed_forward**-0.5 * residual
        yield prefix + "input_layernorm.weight", (hidden,), None
        yield prefix + "post_attention_layernorm.weight", (hidden,), None
    yield "model.norm.weight", (hidden,), None
    yield "lm_head.weight", (vocab, hidden), hidden**-0.5


def make_tensors(options):
    """name -> (shape, little-endian bytes)."""
    random = numpy.random.RandomState(options.seed)
    tensors = {}
    for name, shape, deviation in tensor_shapes(options):
        values = numpy.ones(shape) if deviation is None else random.standard_normal(shape) * deviation
        tensors[name] = (list(shape), encode(values, options.dtype))
    return tensors


def split_into_shards(tensors, count):
    """Lists of names in module order, each of about the same number of bytes; a layer may straddle two shards."""
    total = sum(len(data) for _, data in tensors.values())
    shards, done = [[] for _ in range(count)], 0
    for name, (_, data) in tensors.items():
        middle = done + len(data) / 2
        shards[min(count - 1, int(middle * count / total))].append(name)
        done += len(data)
    return [names for names in shards if names]


def write_safetensors(path, tensors, dtype):
    """The safetensors container: u64 header length, JSON header padded with spaces to a multiple of 8, the bytes."""
    code = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}[dtype]
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, data in tensors.values():
            file.write(data)


def write_weights(out, tensors, dtype, shard_count):
    if shard_count == 1:
        write_safetensors(out / "model.safetensors", tensors, dtype)
        return
    shards = split_into_shards(tensors, shard_count)
    weight_map = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(out / file, {name: tensors[name] for name in names}, dtype)
        weight_map.update((name, file) for name in names)
    total_size = sum(len(data) for _, data in tensors.values())
    write_json(out / "model.safetensors.index.json",
               {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}, indent=4)


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def model_config(options):
    return {
        "architectures": ["MistralForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": options.hidden,
        "initializer_range": 0.02,
        "intermediate_size": options.intermediate,
        "max_position_embeddings": options.max_positions,
        "model_type": "mistral",
        "num_attention_heads": options.heads,
        "num_hidden_layers": options.layers,
        "num_key_value_heads": options.kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_theta": options.rope_theta,
        "sliding_window": options.sliding_window,
        "tie_word_embeddings": False,
        "torch_dtype": options.dtype,
        "transformers_version": "4.36.0",
        "use_cache": True,
        "vocab_size": options.vocab,
    }


def write_tokenizer(out, file):
    shutil.copyfile(file, out / "tokenizer.model")
    pieces = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write_json(out / "special_tokens_map.json", pieces)
    added = {str(number): {"content": piece, "lstrip": False, "normalized": False, "rstrip": False,
                           "single_word": False, "special": True}
             for number, piece in enumerate(["<unk>", "<s>", "</s>"])}
    write_json(out / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "added_tokens_decoder": added, **pieces,
        "clean_up_tokenization_spaces": False, "legacy": True, "model_max_length": 1000000000000000019884624838656,
        "pad_token": None, "sp_model_kwargs": {}, "spaces_between_special_tokens": False,
        "tokenizer_class": "LlamaTokenizer", "use_default_system_prompt": False})


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="test", help="sizes; each can be overridden")
    for size in PRESETS["test"]:
        parser.add_argument("--" + size.replace("_", "-"), type=int, metavar="N")
    parser.add_argument("--tokenizer", default="none", metavar="FILE|none", help="tokenizer.model to copy")
    parser.add_argument("--shards", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=20240229)
    parser.add_argument("--sliding-window", type=int, metavar="TOKENS")
    parser.add_argument("--max-positions", type=int, default=32768)
    parser.add_argument("--rope-theta", type=float, default=1000000.0)
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    options = parser.parse_args(arguments)
    for size, value in PRESETS[options.preset].items():
        if getattr(options, size) is None:
            setattr(options, size, value)
    if options.hidden % options.heads or options.heads % options.kv_heads or options.hidden // options.heads % 2:
        parser.error("hidden must be an even multiple of heads, and heads a multiple of kv-heads")
    if options.tokenizer != "none" and not pathlib.Path(options.tokenizer).is_file():
        parser.error(f"no such file: {options.tokenizer}")
    return options


def main(arguments=None):
    options = parse_options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for old in [*options.out.glob("*.safetensors"), *options.out.glob("*.json"), *options.out.glob("tokenizer.model")]:
        old.unlink()
    tensors = make_tensors(options)
    write_weights(options.out, tensors, options.dtype, options.shards)
    write_json(options.out / "config.json", model_config(options))
    write_json(options.out / "generation_config.json",
               {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "transformers_version": "4.36.0"})
    if options.tokenizer != "none":
        write_tokenizer(options.out, options.tokenizer)
    parameters = sum(numpy.prod(shape, dtype=int) for shape, _ in tensors.values())
    print(f"{options.out}: {parameters:,} parameters in {len(tensors)} tensors, {options.dtype}, "
          f"{options.layers} layers, hidden {options.hidden}, vocabulary {options.vocab}")


if __name__ == "__main__":
    main()
