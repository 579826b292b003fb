"""Model folders as they lie on disks: Git LFS pointers, lost shards and indexes, tokenizers of other programs, more rows than pieces,
keys that config.json leaves out, chat templates, ids in place of folders."""
import json
import os
import re
import shutil
import struct
import subprocess

import pytest
from transformers import MistralConfig

from shori_programs import BIN, TOKENIZER, export, must, run, train
from small_jobs import Job, TokenJob, copy_folder, make_model, replace_file

INDEX = "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "07" * 32 + "\nsize 493443\n"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("sharded") / "m", "--vocab", 512, "--shards", 3)


def check(model, folder, **settings):
    """`--check` of a small run over token ids."""
    return train(TokenJob(folder, model, held_out=0, **settings).config, "--check")


def text_check(model, folder, text='▀message\nBree: "Do you sell wicks?"▄\n'):
    folder.mkdir()
    (folder / "a.blockml").write_text(text)
    return train(Job(folder, model, datasets=[{"path": "a.blockml", "type": "blockml"}]).config, "--check")


def model_codes(outcome):
    """What is said of the model; these small runs may also have settings that are never reached."""
    return [code for code in outcome.codes if code[1:3] == "02"]


# ---- Git LFS: huggingface/transformers #27923, turboderp/exllama #242, codefuse-ai/MFTCoder #20 ---------------------------------

@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("pointer", [POINTER, POINTER.replace("\n", "\r\n"),
                                     POINTER.replace("git-lfs.github.com", "hawser.github.com").replace("oid", "ext-0-x y\noid")])
def test_lfs_pointer(tmp_path, text_model, name, pointer):
    model = copy_folder(text_model, tmp_path / "my model")
    replace_file(model / name, pointer)
    outcome = must(text_check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and "is a Git LFS pointer" in outcome.err, repr(outcome)
    assert "493443 bytes" in outcome.err and f"git -C '{model}' lfs pull" in outcome.err and "hf download" in outcome.err


def test_all_lfs_pointers_in_one_start(tmp_path, sharded):
    model = copy_folder(sharded, tmp_path / "m")
    shutil.copyfile(TOKENIZER, model / "tokenizer.model")
    for path in [*model.glob("*.safetensors"), model / "tokenizer.model"]:
        replace_file(path, POINTER)
    outcome = must(text_check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] * 4, repr(outcome)


def test_lfs_pointer_as_data(tmp_path, text_model):
    outcome = must(text_check(text_model, tmp_path / "job", POINTER), 3)
    assert "is a Git LFS pointer" in outcome.err
    talk = "▀message\nBree: version https://git-lfs.github.com/spec/v1▄\n"
    must(text_check(text_model, tmp_path / "talk", talk))


# ---- shards and index: Blaizzy/mlx-vlm PR #1827, sgl-project/sglang PR #32279, Neph0s/CoSER #3 ---------------------------------------

def test_all_missing_shards_are_named(tmp_path, sharded):
    model = copy_folder(sharded, tmp_path / "m")
    for number in (1, 3):
        (model / f"model-0000{number}-of-00003.safetensors").unlink()
    outcome = must(check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and f"2 of the 3 files that {INDEX} names are missing" in outcome.err
    assert "model-00001-of-00003.safetensors model-00003-of-00003.safetensors --local-dir" in outcome.err


def test_dangling_link_in_a_cache_is_a_missing_shard(tmp_path, sharded):
    model = copy_folder(sharded, tmp_path / "hub/models--org--tiny/snapshots/abc")
    shard = model / "model-00002-of-00003.safetensors"
    shard.unlink()
    shard.symlink_to("../../blobs/" + "0" * 64)
    outcome = must(check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and "hf download org/tiny model-00002-of-00003.safetensors`" in outcome.err, repr(outcome)


def test_a_snapshot_without_weights(tmp_path, text_model):
    snapshot = tmp_path / "hub/models--org--tiny/snapshots/abc"
    snapshot.mkdir(parents=True)
    shutil.copyfile(text_model / "config.json", snapshot / "config.json")
    outcome = must(text_check(snapshot, tmp_path / "job"), 3)
    assert "no model.safetensors" in outcome.err and "`hf download org/tiny`" in outcome.err, repr(outcome)
    assert "hf download org/tiny tokenizer.model`" in outcome.err and "--local-dir" not in outcome.err, repr(outcome)


# ---- web pages in place of files -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "config.json"])
@pytest.mark.parametrize("page", ["<!doctype html>\n<html class=''>\n<head>" + "x" * 600, "\n<HTML>"])
def test_a_web_page_is_no_model(tmp_path, text_model, name, page):
    model = copy_folder(text_model, tmp_path / "my model")
    replace_file(model / name, page)
    outcome = must(text_check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and "is a web page (HTML)" in outcome.err, repr(outcome)
    assert f"hf download ORG/NAME {name} --local-dir '{model}'" in outcome.err and "`resolve`" in outcome.err


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "config.json"])
def test_a_web_page_in_a_cache_is_downloaded_again_into_the_cache(tmp_path, text_model, name):
    snapshot = copy_folder(text_model, tmp_path / "hub/models--org--tiny/snapshots/abc")
    replace_file(snapshot / name, "<!DOCTYPE html><title>502 Bad Gateway</title>")
    outcome = must(text_check(snapshot, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and f"`hf download org/tiny {name} --force-download`" in outcome.err, repr(outcome)
    assert "--local-dir" not in outcome.err and "`resolve`" not in outcome.err, "nothing else may write to a cache"


def test_an_empty_tokenizer_is_downloaded_again(tmp_path, text_model):
    for folder in ("my model", "hub/models--org--tiny/snapshots/abc"):
        model = copy_folder(text_model, tmp_path / folder)
        replace_file(model / "tokenizer.model", b"")
        outcome = must(text_check(model, tmp_path / f"job of {model.name}"), 3)
        assert outcome.errors == ["E0203"] and "tokenizer.model` is empty" in outcome.err, repr(outcome)
        cached = "`hf download org/tiny tokenizer.model --force-download`"
        assert (cached if model.name == "abc" else f"hf download ORG/NAME tokenizer.model --local-dir '{model}'") in outcome.err


def test_an_adapter_as_the_base_is_one_error(tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    outcome = must(text_check(adapter, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and "name the adapter with `init_from`" in outcome.err, repr(outcome)
    assert "tokenizer.model" not in outcome.err, "it is not the model's folder that lacks a tokenizer"


def test_shards_without_index(tmp_path, sharded):
    model = copy_folder(sharded, tmp_path / "m")
    (model / INDEX).unlink()
    (model / "model-00003-of-00003.safetensors").unlink()
    outcome = must(check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and f"shards without {INDEX}" in outcome.err
    assert f"hf download ORG/NAME {INDEX} model-00003-of-00003.safetensors" in outcome.err


def single_and(model, folder, index):
    copy_folder(model, folder)
    (folder / INDEX).write_text(index)
    return folder


def test_index_left_over(tmp_path, token_model, sharded):
    index = (sharded / INDEX).read_text()
    stale = single_and(token_model, tmp_path / "stale", index)
    outcome = must(check(stale, tmp_path / "a"))
    assert "the shards of model.safetensors.index.json" in outcome.err and not model_codes(outcome)
    broken = single_and(token_model, tmp_path / "broken", index[:40])
    assert model_codes(must(check(broken, tmp_path / "b"))) == ["W0202"]
    both = single_and(token_model, tmp_path / "both", index)
    for shard in sharded.glob("model-*.safetensors"):
        os.link(shard, both / shard.name)
    assert model_codes(must(check(both, tmp_path / "c"))) == ["W0202"]
    own = single_and(token_model, tmp_path / "own", json.dumps({"weight_map": {
        name: "model.safetensors" for name in json.loads(index)["weight_map"]}}))
    assert not model_codes(must(check(own, tmp_path / "d"))), "an index that names model.safetensors alone"


@pytest.mark.parametrize("files,words", [
    ({"adapter_config.json": "{}", "adapter_model.safetensors": "x"}, "`init_from`"),
    ({"params.json": "{}", "consolidated.safetensors": "x"}, "Hugging Face's form"),
    ({"model.safetensors": "x"}, "hf download ORG/NAME config.json"),
])
def test_folders_without_config(tmp_path, files, words):
    (tmp_path / "m").mkdir()
    for name, text in files.items():
        (tmp_path / "m" / name).write_text(text)
    outcome = must(check(tmp_path / "m", tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and words in outcome.err, repr(outcome)


# ---- tokenizers: ggml-org/llama.cpp #4120, #6419, arcee-ai/mergekit #185; OpenNMT/CTranslate2 #1542, ggml-org/llama.cpp PR #3633 -------

def test_tokenizer_json_only(tmp_path, text_model):
    model = copy_folder(text_model, tmp_path / "m")
    (model / "tokenizer.model").unlink()
    (model / "tokenizer.json").write_text("{}")
    outcome = must(text_check(model, tmp_path / "job"), 3)
    assert outcome.errors == ["E0203"] and "tokenizer.json is there, but is not read" in outcome.err
    assert f"hf download mistralai/Mistral-7B-v0.1 tokenizer.model --local-dir {model}" in outcome.err
    counted = must(run(BIN / "shori-data", "stats", tmp_path / "job/a.blockml", "--tokenizer", model, env={"SHORI_TOKENIZER": ""}), 3)
    assert "tokenizer.json is there" in counted.err
    shutil.copyfile(TOKENIZER, model / "tokenizer.model.v3")
    copied = must(text_check(model, tmp_path / "job2"), 3)
    command = f"cp {model}/tokenizer.model.v3 {model}/tokenizer.model"
    assert command in copied.err
    must(run("/bin/sh", "-c", command))
    must(text_check(model, tmp_path / "job3"))


def with_rows(source, folder, rows):
    """The model with more rows in embedding and head, as added tokens and padding make them."""
    copy_folder(source, folder)
    config = json.loads((source / "config.json").read_text())
    old, config["vocab_size"] = config["vocab_size"], rows
    replace_file(folder / "config.json", json.dumps(config))
    data = (source / "model.safetensors").read_bytes()
    size, = struct.unpack("<Q", data[:8])
    header, out, new = json.loads(data[8:8 + size]), b"", {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        begin, end = tensor["data_offsets"]
        values = data[8 + size + begin:8 + size + end]
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            width = tensor["shape"][1] * 2
            values = (values + values[:max(0, rows - old) * width])[:rows * width]
            tensor = {**tensor, "shape": [rows, tensor["shape"][1]]}
        new[name] = {**tensor, "data_offsets": [len(out), len(out) + len(values)]}
        out += values
    text = json.dumps(new).encode()
    text += b" " * (-len(text) % 8)
    replace_file(folder / "model.safetensors", struct.pack("<Q", len(text)) + text + out)
    return folder


@pytest.mark.parametrize("rows", [32001, 32002, 32064, 32256])
def test_rows_that_no_text_reaches(tmp_path, text_model, rows):
    model = with_rows(text_model, tmp_path / "m", rows)
    (model / "added_tokens.json").write_text('{"<|im_start|>": 32001}')
    outcome = must(text_check(model, tmp_path / "job"))
    assert outcome.err.count(f"rows 32000 - {rows - 1} of the embedding have no piece in tokenizer.model") == 1, repr(outcome)
    assert not model_codes(outcome)


def test_hundreds_of_rows_and_too_few(tmp_path, text_model):
    assert model_codes(must(text_check(with_rows(text_model, tmp_path / "v3", 32768), tmp_path / "a"))) == ["W0203"]
    assert must(text_check(with_rows(text_model, tmp_path / "few", 31999), tmp_path / "b"), 3).errors == ["E0205"]


def test_added_rows_are_kept_by_merge(tmp_path, text_model):
    model = with_rows(text_model, tmp_path / "m", 32002)
    job = TokenJob(tmp_path / "job", model, held_out=0, max_steps=2)
    must(train(job.config))
    must(export("merged", job.run, "--base", model, "--out", tmp_path / "merged"))

    def rows(folder):
        data = (folder / "model.safetensors").read_bytes()
        size, = struct.unpack("<Q", data[:8])
        tensor = json.loads(data[8:8 + size])["model.embed_tokens.weight"]
        assert tensor["shape"][0] == 32002
        return data[8 + size + tensor["data_offsets"][0]:8 + size + tensor["data_offsets"][1]]

    assert rows(tmp_path / "merged") == rows(model)


# ---- [INST] as control pieces: axolotl #834, mistral-common #3, unslothai/notebooks PR #72 ---------------------------------------------

def control_piece(text):
    body = b"\x0a" + bytes([len(text.encode())]) + text.encode() + b"\x15\0\0\0\0\x18\x03"
    return b"\x0a" + bytes([len(body)]) + body


def test_other_control_pieces_are_refused_as_text(tmp_path, text_model):
    model = with_rows(text_model, tmp_path / "m", 32003)
    pieces = control_piece("[INST]") + control_piece("[/INST]") + control_piece("[TOOL_CALLS]")
    replace_file(model / "tokenizer.model", TOKENIZER.read_bytes() + pieces)
    must(text_check(model, tmp_path / "a", "[INST] Keep it short. [/INST]\n▀message\nBree: \"[INST] is a word.\"▄\n"))
    outcome = must(text_check(model, tmp_path / "b", "▀message\nBree: \"a [TOOL_CALLS] b\"▄\n"), 3)
    assert outcome.errors == ["E0308"] and "a.blockml:2:10" in outcome.err, repr(outcome)
    must(text_check(text_model, tmp_path / "c", "▀message\nBree: \"a [TOOL_CALLS] b\"▄\n"))


def test_instruction_marks_become_their_ids(tmp_path):
    (tmp_path / "a.blockml").write_text("[INST] Keep it short. [/INST]\n▀message\nBree: \"Do you sell wicks?\"▄\n")
    (tmp_path / "v3.model").write_bytes(TOKENIZER.read_bytes() + control_piece("[INST]") + control_piece("[/INST]"))

    def ids(tokenizer):
        out = must(run(BIN / "shori-data", "inspect", tmp_path / "a.blockml", "--tokenizer", tokenizer, "--ids")).out
        return [int(number) for number in re.findall(r"\d+", out)]

    plain, marked = ids(TOKENIZER), ids(tmp_path / "v3.model")
    assert plain[:5] == [1, 733, 16289, 28793, 10339], "`▁[`, `INST`, `]`, `▁Keep`"
    assert marked[:3] == [1, 32000, 10339] and marked[7:9] == [32001, 13], marked
    assert marked[8:] == plain[plain.index(13):], "all after [/INST] is the same"


def test_control_piece_of_one_character(tmp_path, text_model):
    model = with_rows(text_model, tmp_path / "m", 32001)
    replace_file(model / "tokenizer.model", TOKENIZER.read_bytes() + control_piece("\U0001f9ff"))
    outcome = must(text_check(model, tmp_path / "a"), 3)
    assert outcome.errors == ["E0206"] and "single character" in outcome.err


# ---- config.json against transformers -------------------------------------------------------------------------------------------------

# Every key of MistralConfig with a default: what happens when config.json leaves it out. `required`: E0204. `same`: as transformers reads
# it. `unused`: nothing that is trained depends on it.
ABSENT = {
    "vocab_size": "required", "hidden_size": "required", "intermediate_size": "required", "num_hidden_layers": "required",
    "num_attention_heads": "required", "num_key_value_heads": "required", "hidden_act": "required", "rms_norm_eps": "required",
    "tie_word_embeddings": "required", "rope_parameters": "required", "rope_theta": "required",
    "head_dim": "same", "sliding_window": "same", "attention_dropout": "same", "bos_token_id": "same", "eos_token_id": "same",
    "max_position_embeddings": "unused", "initializer_range": "unused", "use_cache": "unused", "pad_token_id": "unused",
}


def own_defaults():
    """Keys that MistralConfig adds to the base class, by their defaults."""
    import inspect
    names = {name for name, value in inspect.signature(MistralConfig).parameters.items()
             if value.kind in (value.POSITIONAL_OR_KEYWORD, value.KEYWORD_ONLY)}
    mixed = {"self", "transformers_version", "architectures", "output_hidden_states", "return_dict", "dtype", "chunk_size_feed_forward",
             "is_encoder_decoder", "id2label", "label2id", "problem_type", "output_attentions", "name_or_path", "kwargs", "tokenizer_class"}
    return {name for name in names - mixed if not name.startswith("_")}


def test_the_table_has_every_key():
    assert own_defaults() <= set(ABSENT), own_defaults() - set(ABSENT)


@pytest.mark.parametrize("key", sorted(ABSENT))
def test_absent_key(tmp_path, token_model, key):
    model = copy_folder(token_model, tmp_path / "m")
    config = json.loads((model / "config.json").read_text())
    config.pop(key, None)
    if key in ("rope_parameters", "rope_theta"):
        config.pop("rope_theta", None), config.pop("rope_parameters", None)
    replace_file(model / "config.json", json.dumps(config))
    outcome = check(model, tmp_path / "job")
    if ABSENT[key] == "required":
        assert must(outcome, 3).errors == ["E0204"] and f"`{key.replace('rope_parameters', 'rope_theta')}`" in outcome.err
    else:
        assert not model_codes(must(outcome))
        assert ("without `sliding_window`" in outcome.err) == (key == "sliding_window"), repr(outcome)


def test_absent_window_is_that_of_transformers(tmp_path, token_model):
    """The default, null and a number: the loss of a sample that is longer than the window."""
    losses = {}
    for name, window in (("absent", ...), ("4096", MistralConfig().sliding_window), ("none", None)):
        model = copy_folder(token_model, tmp_path / name)
        config = json.loads((model / "config.json").read_text())
        config.pop("sliding_window", None)
        if window is not ...:
            config["sliding_window"] = window
        replace_file(model / "config.json", json.dumps(config))
        job = TokenJob(tmp_path / f"job-{name}", model, samples=2, lengths=(4600,), held_out=0, sequence_len=4608, max_steps=1)
        must(train(job.config))
        losses[name] = json.loads((job.run / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert losses["absent"] == losses["4096"] != losses["none"], losses


# ---- merged: ml-explore/mlx-lm PR #205, hiyouga/LlamaFactory #8399, gradients-ai/G.O.D PR #1295; hiyouga/LlamaFactory #3213 --------------

@pytest.fixture(scope="module")
def trained(tmp_path_factory, token_model):
    job = TokenJob(tmp_path_factory.mktemp("trained"), token_model, held_out=0, max_steps=2)
    must(train(job.config))
    return job


def test_merged_keeps_chat_templates(tmp_path, token_model, trained):
    model = copy_folder(token_model, tmp_path / "m")
    texts = {"chat_template.jinja": "{{ 1 }}\r\n", "additional_chat_templates/tool_use.jinja": "{{ 2 }}", "chat_templates/rag.jinja": "3"}
    for name, text in {**texts, "chat_templates/notes.txt": "no template"}.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(text.encode())
    out = tmp_path / "merged"
    must(export("merged", trained.run, "--base", model, "--out", out))
    for name, text in texts.items():
        assert (out / name).read_bytes() == text.encode()
        assert name in json.loads((out / "shori_export.json").read_text())["files"]
    assert not (out / "chat_templates/notes.txt").exists()


def cached(token_model, hub):
    """The model as huggingface_hub keeps it: links to blobs, a template in a folder below."""
    root = hub / "models--mistralai--Tiny-7B"
    snapshot = root / "snapshots/0123456789abcdef0123456789abcdef01234567"
    (snapshot / "chat_templates").mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "refs").mkdir()
    (root / "refs/main").write_text(snapshot.name)
    for number, path in enumerate(sorted(token_model.iterdir())):
        blob = f"{number:064x}"
        shutil.copyfile(path, root / "blobs" / blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob}")
    (root / "blobs" / ("f" * 40)).write_text("{{ 4 }}")
    (snapshot / "chat_templates/x.jinja").symlink_to("../../../blobs/" + "f" * 40)
    return snapshot


@pytest.mark.parametrize("variable,below", [("HF_HUB_CACHE", "."), ("HF_HOME", "hub")])
def test_merged_takes_an_id(tmp_path, token_model, trained, variable, below):
    cached(token_model, tmp_path / "cache" / below)
    env = {"HF_HUB_CACHE": "", "HF_HOME": "", variable: str(tmp_path / "cache")}
    must(export("merged", trained.run, "--base", "mistralai/Tiny-7B", "--out", tmp_path / "merged", env=env))
    assert (tmp_path / "merged/chat_templates/x.jinja").read_text() == "{{ 4 }}"
    record = json.loads((tmp_path / "merged/shori_export.json").read_text())
    assert record["base"]["name"] == "mistralai/Tiny-7B"


def test_merged_id_that_is_not_there(tmp_path, trained):
    env = {"HF_HUB_CACHE": str(tmp_path)}
    outcome = must(export("merged", trained.run, "--base", "mistralai/Tiny-7B", "--out", tmp_path / "merged", env=env), 2)
    assert outcome.errors == ["E0108"] and "`--base`" in outcome.err and "hf download mistralai/Tiny-7B" in outcome.err


@pytest.mark.parametrize("change, word", [
    ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "found LlamaForCausalLM"),
    ({"architectures": ["MixtralForCausalLM"]}, "this program trains Mistral-type models"),
    ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "this program trains Mistral-type models"),
    ({"attention_dropout": 0.1}, 'write `"attention_dropout": 0.0`'), ({"sliding_window": 0}, 'write `"sliding_window": null`'),
])
def test_help_for_config_json_is_true_of_the_model(tmp_path, token_model, change, word):
    model = copy_folder(token_model, tmp_path / "model")
    values = {**json.loads((model / "config.json").read_text()), **change}
    replace_file(model / "config.json", json.dumps(values))
    outcome = must(train(TokenJob(tmp_path / "job", model).config, "--check"), 3)
    assert outcome.codes == ["E0204"] and word in outcome.err and "again" not in outcome.err, repr(outcome)


@pytest.mark.parametrize("damage, word", [(lambda text: "\ufeff" + text, "byte order mark: sed"),
                                          (lambda text: text.replace("{", "{ // mine", 1), "delete the comment")])
def test_help_for_a_config_json_that_an_editor_changed(tmp_path, token_model, damage, word):
    model = copy_folder(token_model, tmp_path / "model")
    replace_file(model / "config.json", damage((model / "config.json").read_text()))
    outcome = must(train(TokenJob(tmp_path / "job", model).config, "--check"), 3)
    assert outcome.codes == ["E0214"] and word in outcome.err and "again" not in outcome.err, repr(outcome)
    if "sed" in word:
        subprocess.run(["bash", "-c", re.search(r"byte order mark: (sed .*)", outcome.err)[1]], check=True)
        must(train(TokenJob(tmp_path / "job", model).config, "--check"))
