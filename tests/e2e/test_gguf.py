"""GGUF files: llama.cpp and the reader of its project give what transformers and PEFT give for the same run."""
import functools
import json
import math
import resource
import signal
import struct
import subprocess
import sys

import gguf
import numpy
import pytest
import sentencepiece
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from run_folders import snapshot
from shori_programs import EXPORT, TOKENIZER, Running, export, in_parallel, must
from small_jobs import copy_folder, make_model, replace_file

OPEN, CLOSE = 30374, 30213
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TYPES = ["f32", "f16", "bf16", "q8_0"]
PROMPTS = ["▀title\nA strange incident▄\n▀message (length: tiny)\nReimu:", "[INST] Be safe. [/INST]\n▀message\nMarisa: _Ugh._▄\n",
           "The boat goes home", "▀▄▀▄ é 日本\n\n  x"]
HOSTILE = ["▀▄", "  two leading spaces", "▀message\nAya: \"Hm\"▄\n▀message", "\n\n\n", " ", "a  b\tc\r\n", "👩‍🚀🦊", "\u0001\u007f", "日本語 ﷽",
           "[INST] x [/INST]", "▁▁x", "é e\u0301", "…—“”", "x" * 300]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Its head is as sharp as that of a trained model, so that probabilities show differences."""
    folder = make_model(tmp_path_factory.mktemp("gguf") / "tiny-mistral", "--tokenizer", TOKENIZER)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 4
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory, model):
    """An adapter of PEFT that changes much; the network without and with it."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("adapter") / "peft"
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    network = get_peft_model(base, LoraConfig(r=20, lora_alpha=16, target_modules=MODULES, task_type="CAUSAL_LM"))
    for name, value in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value, std=0.1)
    network.save_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    return folder, base, network.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory, model, networks):
    """The adapter in every form."""
    folder = tmp_path_factory.mktemp("files")
    jobs = [("gguf", "--type", name, "--out", folder / f"{name}.gguf", "--merge-base", "original") for name in TYPES]
    jobs += [("gguf-lora", "--type", name, "--out", folder / f"lora-{name}.gguf") for name in ("f32", "f16")]
    jobs.append(("merged", "--dtype", "bf16", "--out", folder / "merged"))
    in_parallel(lambda job: must(export(job[0], networks[0], "--base", model, *job[1:])), jobs)
    # The base alone, for the LoRA files.
    must(export("gguf", model, "--type", "f32", "--out", folder / "base-f32.gguf"))
    return folder


@functools.cache
def reader_of(path):
    """Reading 32,000 pieces takes the library a second."""
    return gguf.GGUFReader(path)


def ids_of(text):
    processor = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
    return [1, *processor.encode(text)]


PROBE = """
import json, sys, urllib.request
import xllamacpp as x
path, lora, work = json.load(sys.stdin)
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.warmup, p.n_gpu_layers = path, 512, 1, False, 0
p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
p.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
p.fit_params, p.verbosity, p.port, p.use_jinja = False, 0, 0, True
p.cpuparams.n_threads = 1
if lora:
    adapter = x.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = lora, 1.0
    p.lora_adapters = [adapter]
server = x.Server(p)
results = []
for kind, value in work:
    if kind == "tokenize":
        body = json.dumps({"content": value, "add_special": True}).encode()
        request = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
        results.append(json.load(urllib.request.urlopen(request))["tokens"])
    elif kind == "props":
        results.append(json.load(urllib.request.urlopen(server.listening_address + "/props")))
    else:
        answer = server.handle_completions(value)
        results.append(json.loads(answer) if isinstance(answer, str) else answer)
print("RESULT" + json.dumps(results))
sys.stdout.flush()
import os
os._exit(0)
"""


def llama(path, work, lora=None, fails=False):
    """What llama.cpp answers to `work`; it runs in a process of its own, which it may abort."""
    done = subprocess.run([sys.executable, "-c", PROBE], input=json.dumps([str(path), str(lora) if lora else None, work]),
                          capture_output=True, text=True, timeout=120, check=False)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if fails:
        assert not found, done.stdout
        return done.stderr
    assert found, done.stdout + done.stderr[-3000:]
    return json.loads(found[0][6:])


def completion(prompt, **settings):
    return ["complete", {"prompt": prompt, "max_tokens": 1, "temperature": 0, "cache_prompt": False, **settings}]


def probabilities(path, lora=None):
    """For each prompt id -> probability of the next token, of the most likely ones."""
    work = [completion(ids_of(text), logprobs=200) for text in PROMPTS]
    return [{entry["id"]: math.exp(entry["logprob"]) for entry in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}
            for answer in llama(path, work, lora)]


def distance(found, network):
    """The largest difference of a probability among the reported tokens. llama.cpp adds 32,000 terms in fp32 for the sum of
    all, which is off by 1e-4: both sides are divided by the sum over these tokens."""
    worst = 0.0
    for text, answer in zip(PROMPTS, found):
        with torch.no_grad():
            logits = network(torch.tensor([ids_of(text)])).logits[0, -1].double()
        tokens = list(answer)
        assert len(tokens) >= 100
        ours = torch.tensor([answer[token] for token in tokens], dtype=torch.float64)
        worst = max(worst, (ours / ours.sum() - logits[tokens].softmax(-1)).abs().max().item())
    return worst


# ---- the same numbers as transformers and PEFT ----------------------------------------------------------------------

# Three times the largest difference of a probability that was measured with a model of this kind, and between two
# implementations of the same arithmetic.
BOUNDS = {"f32": 1.5e-6, "f16": 2.1e-3, "bf16": 1.5e-2, "q8_0": 4.2e-2}


@pytest.mark.parametrize("kind", TYPES)
def test_llama_cpp_computes_what_peft_computes(files, networks, kind):
    found = probabilities(files / f"{kind}.gguf")
    _, base, adapted = networks
    assert distance(found, adapted) < BOUNDS[kind]
    assert distance(found, base) > 10 * BOUNDS["f16"], "the adapter matters"


def test_lora_files_in_llama_cpp(files, networks):
    _, base, adapted = networks
    for kind, bound in (("f32", 1.5e-6), ("f16", 7.2e-4)):
        assert distance(probabilities(files / "base-f32.gguf", files / f"lora-{kind}.gguf"), adapted) < bound
    assert distance(probabilities(files / "base-f32.gguf"), base) < BOUNDS["f32"]


def test_merged_folder_gives_the_same_file(files, tmp_path):
    must(export("gguf", files / "merged", "--type", "bf16", "--out", tmp_path / "model.gguf", "--name", "tiny"))
    again, direct = reader_of(tmp_path / "model.gguf"), reader_of(files / "bf16.gguf")
    for one, other in zip(again.tensors, direct.tensors):
        assert one.name == other.name and one.data.tobytes() == other.data.tobytes(), one.name
    assert field(again, "general.name") == "tiny"


# ---- other forms of bases ---------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def other_bases(tmp_path_factory, model):
    """The base in other number formats, and one whose head is its embedding."""
    folder = tmp_path_factory.mktemp("bases")
    weights = load_file(model / "model.safetensors")
    config = json.loads((model / "config.json").read_text())
    forms = {"float16": (torch.float16, False), "float32": (torch.float32, False), "tied": (torch.bfloat16, True)}
    for name, (dtype, tied) in forms.items():
        base = copy_folder(model, folder / name)
        kept = {key: value.to(dtype).contiguous() for key, value in weights.items() if not (tied and key == "lm_head.weight")}
        if tied:
            kept["model.embed_tokens.weight"] = kept["model.embed_tokens.weight"] / 4
        (base / "model.safetensors").unlink()
        save_file(kept, base / "model.safetensors", {"format": "pt"})
        replace_file(base / "config.json", json.dumps({**config, "torch_dtype": str(dtype).removeprefix("torch."), "tie_word_embeddings": tied}))
    return folder


@pytest.mark.parametrize("name", ["float16", "float32", "tied"])
def test_bases_of_other_forms(other_bases, networks, tmp_path, name):
    """Both exports of such a base, loaded by the programs they are made for, against PEFT on that base."""
    base = AutoModelForCausalLM.from_pretrained(other_bases / name, dtype=torch.float32).eval()
    plain = {key: value.clone() for key, value in base.state_dict().items()}
    adapted = PeftModel.from_pretrained(base, networks[0]).eval()
    arguments = (networks[0], "--base", other_bases / name)
    must(export("gguf", *arguments, "--type", "f32", "--out", tmp_path / "model.gguf"))
    assert ("output.weight" in [tensor.name for tensor in reader_of(tmp_path / "model.gguf").tensors]) == (name != "tied")
    found = probabilities(tmp_path / "model.gguf")
    assert distance(found, adapted) < BOUNDS["f32"]
    dtype, bound = ("f16", BOUNDS["f16"]) if name == "float16" else ("bf16", BOUNDS["bf16"])
    must(export("merged", *arguments, "--dtype", dtype, "--out", tmp_path / "merged"))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    assert distance(found, merged) < bound, "what transformers computes with the merged folder"
    differing = [key for key, value in merged.state_dict().items() if (value - plain[key]).norm() > 0.02 * plain[key].norm()]
    assert len(differing) == 14, "the adapter matters"


# ---- the files, by the reader of llama.cpp's project ----------------------------------------------------------------

def field(reader, key):
    return reader.fields[key].contents() if key in reader.fields else None


def torch_weights(network):
    """Merged fp32 weights by GGUF name, rows of Q and K in llama's order; written from the layout of the architecture."""
    names = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    state = network.state_dict()
    heads = {"attn_q": network.config.num_attention_heads, "attn_k": network.config.num_key_value_heads}
    weights = {"token_embd.weight": state["model.embed_tokens.weight"]}
    for layer in range(network.config.num_hidden_layers):
        for source, target in names.items():
            value = state[f"model.layers.{layer}.{source}.weight"]
            if target in heads:
                n, (rows, cols) = heads[target], value.shape
                value = value.view(n, 2, rows // n // 2, cols).transpose(1, 2).reshape(rows, cols)
            weights[f"blk.{layer}.{target}.weight"] = value
    weights["output_norm.weight"], weights["output.weight"] = state["model.norm.weight"], state["lm_head.weight"]
    return {name: value.numpy() for name, value in weights.items()}


def test_tensors_names_and_values(files, model, networks):
    merged = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    expected = torch_weights(PeftModel.from_pretrained(merged, networks[0]).merge_and_unload())
    for kind, limit in (("f32", 1e-6), ("bf16", 4e-3), ("q8_0", 2e-2)):
        reader = reader_of(files / f"{kind}.gguf")
        assert [tensor.name for tensor in reader.tensors] == list(expected), kind
        for tensor in reader.tensors:
            wanted = expected[tensor.name]
            assert tensor.tensor_type.name == ("F32" if wanted.ndim == 1 else kind.upper()), tensor.name
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(wanted.shape)
            assert numpy.linalg.norm(values - wanted) <= limit * numpy.linalg.norm(wanted), (kind, tensor.name)
    reader = reader_of(files / "q8_0.gguf")
    exact = {tensor.name: tensor for tensor in reader_of(files / "f32.gguf").tensors}
    for tensor in reader.tensors:
        values = gguf.quants.quantize(exact[tensor.name].data, tensor.tensor_type)
        assert tensor.data.tobytes() == values.tobytes(), f"{tensor.name}: not the bytes of ggml's quantization"


def test_entries(files, model, tmp_path):
    reader = reader_of(files / "q8_0.gguf")
    shape = {"block_count": 2, "context_length": 32768, "embedding_length": 64, "feed_forward_length": 224,
             "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 16,
             "attention.value_length": 16, "rope.freq_base": 1e6, "rope.dimension_count": 16, "vocab_size": 32000}
    assert {key: field(reader, f"llama.{key}") for key in shape} == shape
    assert field(reader, "llama.attention.layer_norm_rms_epsilon") == pytest.approx(1e-5)
    text = {"general.architecture": "llama", "general.type": "model", "general.name": "peft", "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default", "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.eot_token_id": CLOSE, "general.file_type": 7,
            "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
            "tokenizer.ggml.add_space_prefix": True, "general.quantization_version": 2, "general.sampling.top_k": 0,
            "general.sampling.temp": 1.0, "general.sampling.top_p": 1.0}
    assert {key: field(reader, key) for key in text} == text
    assert field(reader, "general.sampling.min_p") == pytest.approx(0.07)
    assert field(reader, "tokenizer.chat_template").startswith("{{ bos_token }}")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
    assert field(reader, "tokenizer.ggml.tokens") == [processor.id_to_piece(i) for i in range(32000)]
    assert field(reader, "tokenizer.ggml.scores") == [processor.get_score(i) for i in range(32000)]
    kinds = field(reader, "tokenizer.ggml.token_type")
    assert [kinds.count(kind) for kind in (1, 2, 3, 6)] == [31741, 1, 2, 256] and kinds[OPEN] == kinds[CLOSE] == 1
    must(export("gguf", model, "--type", "f16", "--out", tmp_path / "x.gguf", "--sampling", "mirostat", "--gguf-eot", "none"))
    other = reader_of(tmp_path / "x.gguf")
    assert field(other, "general.sampling.mirostat") == 2 and field(other, "tokenizer.ggml.eot_token_id") is None
    assert field(other, "general.sampling.mirostat_tau") == pytest.approx(2.9)
    assert field(other, "general.sampling.min_p") is None and field(other, "general.file_type") == 1
    for path in (tmp_path / "x.gguf", *files.glob("*.gguf")):
        assert str(tmp_path.parent).encode() not in path.read_bytes(), "no path of this machine"
    lora = reader_of(files / "lora-f16.gguf")
    assert [field(lora, key) for key in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")] == \
        ["llama", "adapter", "lora", 16.0]
    assert len(lora.tensors) == 2 * 14 and {tensor.tensor_type.name for tensor in lora.tensors} == {"F16"}
    assert list(lora.tensors[1].shape) == [20, 64] and lora.tensors[1].name == "blk.0.attn_q.weight.lora_b"


# ---- negative controls: what these tests would not forgive ----------------------------------------------------------

def edited(source, target, change):
    """A copy of a GGUF file; change(bytearray, reader)."""
    data = bytearray(source.read_bytes())
    change(data, reader_of(source))
    target.write_bytes(data)
    return target


def without_key(key):
    """Renames the key to another of the same length, which nobody reads."""
    def change(data, _):
        at = data.index(key.encode())
        data[at:at + len(key)] = b"x" * len(key)
    return change


def without_permutation(data, reader):
    for tensor in reader.tensors:
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight", "attn_q.weight.lora_b", "attn_k.weight.lora_b")):
            heads = 4 if "attn_q" in tensor.name else 2
            rows = tensor.data.reshape(heads, tensor.data.shape[0] // heads // 2, 2, -1)
            content = rows.transpose(0, 2, 1, 3).tobytes()
            data[tensor.data_offset:tensor.data_offset + len(content)] = content


def test_negative_controls(files, networks, tmp_path):
    bad = edited(files / "f32.gguf", tmp_path / "order.gguf", without_permutation)
    assert distance(probabilities(bad), networks[2]) > 100 * BOUNDS["f32"]
    bad = edited(files / "f32.gguf", tmp_path / "rope.gguf", without_key("llama.rope.freq_base"))
    assert distance(probabilities(bad), networks[2]) > 100 * BOUNDS["f32"]
    bad = edited(files / "lora-f32.gguf", tmp_path / "lora.gguf", without_permutation)
    assert distance(probabilities(files / "base-f32.gguf", bad), networks[2]) > 100 * BOUNDS["f32"]


# ---- tokens and the end of a reply ----------------------------------------------------------------------------------

def test_ids_of_hostile_texts_and_the_template(files):
    *found, props = llama(files / "f16.gguf", [["tokenize", text] for text in HOSTILE] + [["props", None]])
    for text, ids in zip(HOSTILE, found):
        assert ids == ids_of(text), repr(text)
    assert found[0] == [1, 28705, OPEN, CLOSE]
    assert "▀message" in props["chat_template"]


def test_generation_ends_at_the_end_of_a_block(files, model, tmp_path):
    """A head that always prefers `▄` ends the reply after one token, but not without the key."""
    def change(data, reader):
        for tensor in reader.tensors:
            if tensor.name in ("output.weight", "output_norm.weight"):
                shape, size = tensor.data.shape, tensor.n_bytes
                values = numpy.zeros(shape, "<f4")
                if tensor.name == "output.weight":
                    values[CLOSE] = numpy.sign(direction)
                else:
                    values[:] = 1
                data[tensor.data_offset:tensor.data_offset + size] = values.tobytes()

    prompt = ids_of("▀message\nAya:")
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        direction = network.model(torch.tensor([prompt])).last_hidden_state[0, -1].numpy()
    ends = edited(files / "base-f32.gguf", tmp_path / "ends.gguf", change)
    goes_on = tmp_path / "goes-on.gguf"
    goes_on.write_bytes(ends.read_bytes().replace(b"tokenizer.ggml.eot_token_id", b"x" * 27))
    lengths = []
    for path in (ends, goes_on):
        [answer] = llama(path, [completion(prompt, max_tokens=6)])
        lengths.append((answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]))
    assert lengths[0] == ("stop", 1) and lengths[1][1] > 1


# ---- refusals, faults ----------------------------------------------------------------------------------------------

def test_bases_that_llama_cpp_would_compute_wrongly(model, networks, tmp_path):
    window = make_model(tmp_path / "window", "--tokenizer", TOKENIZER, "--sliding-window", 4096)
    assert must(export("gguf", window, "--out", tmp_path / "x.gguf"), 3).errors == ["E0204"]
    other = make_model(tmp_path / "other", "--tokenizer", TOKENIZER, "--hidden", 32)
    out = export("gguf-lora", networks[0], "--base", other, "--out", tmp_path / "x.gguf")
    assert out.code == 3 and out.errors == ["E0805"], repr(out)
    assert export("gguf", networks[0], "--base", other, "--out", tmp_path / "x.gguf").errors == ["E0511"]
    bare = copy_folder(model, tmp_path / "bare")
    (bare / "tokenizer.model").unlink()
    assert export("gguf", bare, "--out", tmp_path / "x.gguf").errors == ["E0203"]
    assert must(export("gguf", networks[0], "--out", tmp_path / "x.gguf"), 2).errors == ["E0108"], "PEFT's folder says a path"
    assert not list(tmp_path.glob("*x.gguf*"))


def test_vocabulary_larger_than_the_pieces(model, tmp_path):
    wide = make_model(tmp_path / "wide", "--tokenizer", TOKENIZER, "--vocab", 32010)
    must(export("gguf", wide, "--type", "q8_0", "--out", tmp_path / "wide.gguf"))
    reader = reader_of(tmp_path / "wide.gguf")
    assert field(reader, "tokenizer.ggml.tokens")[32000:] == [f"[PAD{i}]" for i in range(32000, 32010)]
    assert field(reader, "tokenizer.ggml.token_type")[32000:] == [5] * 10
    assert field(reader, "tokenizer.ggml.scores")[32000:] == [-10000.0] * 10
    [ids] = llama(tmp_path / "wide.gguf", [["tokenize", "▀▄"]])
    assert ids == [1, 28705, OPEN, CLOSE]


def test_targets(model, tmp_path):
    out = tmp_path / "model.gguf"
    out.write_text("mine")
    (tmp_path / "folder").mkdir()
    before = snapshot(tmp_path)
    assert must(export("gguf", model, "--out", out), 2).errors == ["E0806"]
    assert must(export("gguf", model, "--out", tmp_path / "folder"), 2).errors == ["E0806"]
    assert must(export("gguf", model, "--out", model / "x.gguf"), 2).errors == ["E0802"]
    assert snapshot(tmp_path) == before
    done = must(export("gguf", model, "--out", out, "--force"))
    assert (tmp_path / "model.gguf.old-1").read_text() == "mine" and out.stat().st_size > 1 << 20
    assert "MB/s" in done.err and "llama-quantize" in done.err and "Q6_K" in done.err


def test_full_disk_and_kill_leave_the_old_file(model, tmp_path):
    out = tmp_path / "model.gguf"
    out.write_text("mine")
    for limit in (4096, 1 << 20, 7 << 20):
        outcome = export("gguf", model, "--out", out, "--force",
                         setup=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        assert outcome.code == 4 and outcome.errors == ["E0512"], repr(outcome)
        assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"] and out.read_text() == "mine"
    with Running(EXPORT, "gguf", model, "--out", out, "--force", "--type", "f32") as program:
        program.wait_for("checking|writing|.")
        program.signal(signal.SIGKILL)
        program.finish()
    assert out.read_text() == "mine" or (tmp_path / "model.gguf.old-1").read_text() == "mine"
    must(export("gguf", model, "--out", tmp_path / "new.gguf"))
    must(export("gguf", model, "--out", out, "--force"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert out.read_bytes()[:4] == b"GGUF"


def test_a_damaged_base_is_found(model, networks, tmp_path):
    damaged = copy_folder(model, tmp_path / "damaged")
    data = (damaged / "model.safetensors").read_bytes()
    (header,) = struct.unpack_from("<Q", data)
    replace_file(damaged / "model.safetensors", data[:8 + header] + b"\xff\x7f" * 64 + data[8 + header + 128:])
    outcome = must(export("gguf", damaged, "--out", tmp_path / "x.gguf"), 3)
    assert outcome.errors == ["E0210"], repr(outcome)
    replace_file(damaged / "model.safetensors", data[:-64])
    assert export("gguf", damaged, "--out", tmp_path / "x.gguf").errors == ["E0203"]
    assert not list(tmp_path.glob("*x.gguf*"))
