"""Model folders that are damaged, hostile or of another kind: code, place, exit code, and nothing left behind."""
import json
import os
import shutil
import struct

import pytest

from run_folders import checkpoints, snapshot
from shori_programs import in_parallel, must, refused, train
from small_jobs import TokenJob, copy_folder, make_model, replace_file
from weight_files import fill, rewrite

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sharded_model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("sharded") / "model", "--vocab", 512, "--shards", 2)


# ---- safetensors ----------------------------------------------------------------------------------------------------

def container(header, data=b""):
    text = header if isinstance(header, bytes) else header.encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape="[4]", offsets="[0,16]", dtype='"F32"'):
    return '{"dtype":%s,"shape":%s,"data_offsets":%s}' % (dtype, shape, offsets)


DATA = b"\0" * 16
# name -> (file, rule that the message names, or another code)
CONTAINERS = {
    "product wraps": (container('{"a":%s}' % tensor("[4194305,4194305,211106198978564]"), DATA), "S7"),
    "product wraps to zero": (container('{"a":%s}' % tensor("[4294967296,4294967296]", "[0,0]")), "S7"),
    "negative offset": (container('{"a":%s}' % tensor(offsets="[-1,4]"), DATA), "S5"),
    "fractional offset": (container('{"a":%s}' % tensor(offsets="[0,4.0]"), DATA), "S5"),
    "huge offset": (container('{"a":%s}' % tensor(offsets="[0,1e30]"), DATA), "S5"),
    "offset above 64 bits": (container('{"a":%s}' % tensor(offsets="[0,18446744073709551616]"), DATA), "S5"),
    "text for an offset": (container('{"a":%s}' % tensor(offsets='[0,"4"]'), DATA), "S5"),
    "true for an offset": (container('{"a":%s}' % tensor(offsets="[0,true]"), DATA), "S5"),
    "leading zero": (container('{"a":%s}' % tensor(offsets="[04,8]"), DATA), "S2"),
    "ends before it begins": (container('{"a":%s}' % tensor(offsets="[8,4]"), DATA), "S7"),
    "tensor twice": (container('{"a":%s,"a":%s}' % (tensor(), tensor()), DATA), "S3"),
    "dtype twice": (container('{"a":{"dtype":"F32","dtype":"U8","shape":[4],"data_offsets":[0,16]}}', DATA), "S3"),
    "padded with NUL": (container('{"a":%s}\0\0' % tensor(), DATA), "S2"),
    "leading space": (container(' {"a":%s}' % tensor(), DATA), "S2"),
    "byte order mark": (container(b"\xef\xbb\xbf{}"), "S2"),
    "after the brace": (container('{"a":%s}x' % tensor(), DATA), "S2"),
    "empty header": (struct.pack("<Q", 0), "S1"),
    "header of one byte": (struct.pack("<Q", 1) + b"{", "S1"),
    "seven bytes": (b"\0" * 7, "S1"),
    "empty file": (b"", "S1"),
    "header of 2^63": (struct.pack("<Q", 2**63) + DATA, "S1"),
    "header of 2^64-1": (struct.pack("<Q", 2**64 - 1) + DATA, "S1"),
    "header too long for the file": (struct.pack("<Q", 64) + DATA, "E0203"),
    "trailing byte": (container('{"a":%s}' % tensor(), DATA + b"x"), "S7"),
    "hole": (container('{"a":%s}' % tensor(offsets="[1,17]"), DATA + b"x"), "S7"),
    "overlap": (container('{"a":%s,"b":%s}' % (tensor(), tensor(offsets="[15,31]")), DATA * 2), "S7"),
    "short data": (container('{"a":%s}' % tensor(), DATA[:-1]), "E0203"),
    "unknown dtype": (container('{"a":%s}' % tensor(dtype='"F7"'), DATA), "S6"),
    "dtype in lower case": (container('{"a":%s}' % tensor(dtype='"f32"'), DATA), "S6"),
    "number for a dtype": (container('{"a":%s}' % tensor(dtype="5"), DATA), "S6"),
    "rank nine": (container('{"a":%s}' % tensor("[4,1,1,1,1,1,1,1,1]"), DATA), "S5"),
    "nested shape": (container('{"a":%s}' % tensor("[4,[1]]"), DATA), "S5"),
    "one key more": (container('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":0}}', DATA), "S5"),
    "number in metadata": (container('{"__metadata__":{"a":1},"a":%s}' % tensor(), DATA), "S4"),
    "nested metadata": (container('{"__metadata__":{"a":{}},"a":%s}' % tensor(), DATA), "S4"),
    "two empty tensors": (container('{"a":%s,"b":%s}' % (tensor("[0]", "[0,0]"), tensor("[0]", "[0,0]"))), "S8"),
    "deep header": (container('{"a":' + "[" * 2000 + "]" * 2000 + "}"), "S2"),
    "zip under this name": (b"PK\x03\x04" + b"\xff" * 64, "E0202"),
    "pickle under this name": (b"\x80\x02}q\x00" + b"\xff" * 64, "E0202"),
}


def test_broken_containers(tmp_path, token_model):
    def work(name):
        content, rule = CONTAINERS[name]
        folder = tmp_path / name.replace(" ", "-")
        model = copy_folder(token_model, folder / "model")
        replace_file(model / "model.safetensors", content)
        job = TokenJob(folder / "job", model)
        (problem,) = refused(job, rule if rule.startswith("E") else "E0207")
        assert problem["file"] == str(model / "model.safetensors"), problem
        assert rule.startswith("E") or f"rule {rule}" in problem["notes"], (name, problem)

    in_parallel(work, CONTAINERS)


# ---- tensors, shards, index -----------------------------------------------------------------------------------------

def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    replace_file(path, json.dumps(value, indent=2))


Q = "model.layers.0.self_attn.q_proj.weight"


def move_to_other_name(tensors):
    tensors["model.layers.0.self_attn.qproj.weight"] = tensors.pop(Q)


def turn(tensors):
    dtype, (rows, cols), data = tensors["model.layers.0.mlp.up_proj.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = (dtype, [cols, rows], data)


TENSORS = {
    "missing": (lambda t: t.pop(Q), "E0208", ["is missing"]),
    "renamed": (move_to_other_name, "E0208", ["unexpected tensor", "is missing"]),
    "one more": (lambda t: t.update(extra=("BF16", [1], b"\0\0")), "E0208", ["unexpected tensor `extra`"]),
    "turned": (turn, "E0209", ["[64,224], expected BF16, F16 or F32 [224,64]"]),
    "integers": (lambda t: t.update({Q: ("I16", [64, 64], t[Q][2])}), "E0209", ["I16"]),
    "quantized weights": (lambda t: t.update({Q + ".quant_state.bitsandbytes__nf4": ("U8", [8], b"\0" * 8)}), "E0216",
                          []),
}


def test_tensors_that_are_not_those_of_the_architecture(tmp_path, token_model):
    def work(name):
        change, code, texts = TENSORS[name]
        folder = tmp_path / name.replace(" ", "-")
        model = copy_folder(token_model, folder / "model")
        rewrite(model / "model.safetensors", change)
        problems = refused(TokenJob(folder / "job", model), code)
        printed = " ".join(problem["message"] for problem in problems)
        for text in texts:
            assert text in printed, (name, printed)

    in_parallel(work, TENSORS)


def test_unused_buffers_of_old_converters_are_named(tmp_path, token_model):
    model = copy_folder(token_model, tmp_path / "model")
    rewrite(model / "model.safetensors",
            lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": ("F32", [8], b"\0" * 32)}))
    outcome = must(train(TokenJob(tmp_path / "job", model).config))
    assert "rotary_emb.inv_freq` is not used" in outcome.err


SHARD_NAMES = ["../model.safetensors", "/etc/passwd", "a/../../b.safetensors", "..", ".", "", "a\\b.safetensors",
               "sub/model.safetensors", ".hidden.safetensors", "/proc/self/fd/0", "a\u001b.safetensors",
               "model.bin", "a..b.safetensors", "x" * 300 + ".safetensors", "～.safetensors", "-rf.safetensors"]


def test_shard_names_that_leave_the_folder(tmp_path, sharded_model):
    shards = sorted(path.name for path in sharded_model.glob("*.safetensors"))

    def work(number):
        folder = tmp_path / str(number)
        model = copy_folder(sharded_model, folder / "model")

        def change(index):
            for tensor_name, shard in index["weight_map"].items():
                if shard == shards[1]:
                    index["weight_map"][tensor_name] = SHARD_NAMES[number]

        edit_json(model / INDEX, change)
        (problem,) = refused(TokenJob(folder / "job", model), "E0201")
        assert problem["file"] == str(model / INDEX) and problem["line"] > 1 and problem["column"] > 1

    in_parallel(work, range(len(SHARD_NAMES)))


def cut(path):
    replace_file(path, path.read_bytes()[:-1])


def link_out(path):
    shutil.copyfile(path, path.parent.parent / "outside.safetensors")
    path.unlink()
    path.symlink_to("../outside.safetensors")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder_instead(path):
    path.unlink()
    path.mkdir()


def link_to(target):
    def change(path):
        path.unlink()
        path.symlink_to(target)
    return change


# name -> (what happens to the second shard, code)
SHARDS = {
    "missing": (lambda path: path.unlink(), "E0203"),
    "truncated": (cut, "E0203"),
    "a link out of the folder": (link_out, "E0215"),
    "a link to itself": (link_to("model-00002-of-00002.safetensors"), "E0203"),
    "a device": (link_to("/dev/zero"), "E0215"),
    "a FIFO": (pipe, "E0212"),
    "a folder": (folder_instead, "E0212"),
    "the other shard": (lambda path: replace_file(path, (path.parent / "model-00001-of-00002.safetensors").read_bytes()),
                        "E0208"),
}


def test_shards_that_are_missing_or_wrong(tmp_path, sharded_model):
    def work(name):
        change, code = SHARDS[name]
        folder = tmp_path / name.replace(" ", "-")
        model = copy_folder(sharded_model, folder / "model")
        change(model / "model-00002-of-00002.safetensors")
        refused(TokenJob(folder / "job", model), code)

    in_parallel(work, SHARDS)


def point_elsewhere(index):
    name = next(iter(index["weight_map"]))
    shards = sorted(set(index["weight_map"].values()))
    index["weight_map"][name] = shards[1] if index["weight_map"][name] == shards[0] else shards[0]


def test_index_that_is_wrong(tmp_path, sharded_model):
    whole = (sharded_model / INDEX).read_text()
    cases = {
        "points elsewhere": (point_elsewhere, "E0208"), "tensor left out": (lambda i: i["weight_map"].popitem(), "E0208"),
        "no map": (lambda i: i.pop("weight_map"), "E0204"), "empty map": (lambda i: i["weight_map"].clear(), "E0204"),
        "number for a name": (lambda i: i["weight_map"].update({Q: 5}), "E0201"),
    }
    texts = {"key twice": (whole.replace('"weight_map": {', '"weight_map": {"%s": "x.safetensors",' % Q), "E0214"),
             "cut off": (whole[:len(whole) // 2], "E0214"), "not UTF-8": (b"\xff" + whole.encode(), "E0214"),
             "deep": ("[" * 5000 + "]" * 5000, "E0214")}

    def work(name):
        folder = tmp_path / name.replace(" ", "-")
        model = copy_folder(sharded_model, folder / "model")
        if name in cases:
            edit_json(model / INDEX, cases[name][0])
        else:
            replace_file(model / INDEX, texts[name][0])
        (problem, *_) = refused(TokenJob(folder / "job", model), {**cases, **texts}[name][1])
        assert name in ("points elsewhere", "tensor left out") or problem["file"] == str(model / INDEX), problem

    in_parallel(work, [*cases, *texts])


def test_total_size_that_differs_is_a_warning(tmp_path, sharded_model):
    model = copy_folder(sharded_model, tmp_path / "model")
    edit_json(model / INDEX, lambda index: index["metadata"].update(total_size=5))
    job = TokenJob(tmp_path / "job", model)
    assert must(train(job.config)).codes == ["W0201"]
    strict = TokenJob(tmp_path / "strict", model, warnings_as_errors=True)
    outcome = train(strict.config)
    assert outcome.code == 3 and outcome.codes == ["W0201"], repr(outcome)


def test_sharded_and_single_file_train_the_same(tmp_path, sharded_model, token_model):
    runs = []
    for name, model in (("one", token_model), ("two", sharded_model)):
        job = TokenJob(tmp_path / name, model)
        must(train(job.config))
        runs.append((job.run / "adapter/adapter_model.safetensors").read_bytes())
    assert runs[0] == runs[1], "the fingerprint does not depend on the layout of the shards either"


def test_only_pickles(tmp_path, token_model):
    model = copy_folder(token_model, tmp_path / "model")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    (problem,) = refused(TokenJob(tmp_path / "job", model), "E0202")
    assert "pytorch_model.bin" in problem["message"] and "safetensors" in " ".join(problem["help"])
    (model / "pytorch_model.bin").unlink()
    refused(TokenJob(tmp_path / "job2", model), "E0203")


# ---- config.json ----------------------------------------------------------------------------------------------------

def set_to(**values):
    return lambda config: config.update(values)


CONFIGS = {
    "another architecture": (set_to(architectures=["LlamaForCausalLM"], model_type="llama"), "E0204"),
    "no hidden size": (lambda config: config.pop("hidden_size"), "E0204"),
    "negative": (set_to(hidden_size=-64), "E0204"),
    "fraction": (set_to(num_hidden_layers=2.5), "E0204"),
    "text": (set_to(vocab_size="512"), "E0204"),
    "huge": (set_to(intermediate_size=10**18), "E0204"),
    "zero layers": (set_to(num_hidden_layers=0), "E0204"),
    "zero heads": (set_to(num_attention_heads=0), "E0204"),
    "heads do not divide": (set_to(num_attention_heads=5), "E0204"),
    "key heads do not divide": (set_to(num_key_value_heads=3), "E0204"),
    "no eps": (lambda config: config.pop("rms_norm_eps"), "E0204"),
    "zero eps": (set_to(rms_norm_eps=0), "E0204"),
    "no theta": (lambda config: config.pop("rope_theta"), "E0204"),
    "scaled rope": (set_to(rope_scaling={"type": "yarn", "factor": 2}), "E0204"),
    "window of zero": (set_to(sliding_window=0), "E0204"),
    "no tie": (lambda config: config.pop("tie_word_embeddings"), "E0204"),
    "another activation": (set_to(hidden_act="gelu"), "E0204"),
    "quantized": (set_to(quantization_config={"quant_method": "bitsandbytes"}), "E0216"),
    "one layer more": (set_to(num_hidden_layers=3), "E0208"),
    "larger vocabulary": (set_to(vocab_size=513), "E0209"),
}
CONFIG_TEXTS = {"key twice": ('{"hidden_size": 64, "hidden_size": 32}', "E0214"), "cut off": ('{"hidden_size": 6', "E0214"),
                "a list": ("[]", "E0214"), "empty": ("", "E0214"), "deep": ("[" * 9000 + "]" * 9000, "E0214"),
                "not a number": ('{"hidden_size": NaN}', "E0214"), "a lone surrogate": (r'{"a": "\ud800"}', "E0214")}


def test_config_json(tmp_path, token_model):
    def work(name):
        folder = tmp_path / name.replace(" ", "-")
        model = copy_folder(token_model, folder / "model")
        path = model / "config.json"
        if name in CONFIGS:
            edit_json(path, CONFIGS[name][0])
        elif name == "missing":
            path.unlink()
        else:
            replace_file(path, CONFIG_TEXTS[name][0])
        code = {**CONFIGS, **CONFIG_TEXTS, "missing": (None, "E0203")}[name][1]
        (problem, *_) = refused(TokenJob(folder / "job", model), code)
        if code in ("E0204", "E0214", "E0216") and name != "missing":
            assert problem["file"] == str(path), problem

    in_parallel(work, [*CONFIGS, *CONFIG_TEXTS, "missing"])


def test_all_mistakes_of_config_json_are_reported_at_once(tmp_path, token_model):
    model = copy_folder(token_model, tmp_path / "model")
    edit_json(model / "config.json", set_to(hidden_size=0, rms_norm_eps=-1, hidden_act="gelu"))
    problems = refused(TokenJob(tmp_path / "job", model), "E0204")
    printed = " ".join(problem["message"] for problem in problems)
    assert all(key in printed for key in ("hidden_size", "rms_norm_eps", "hidden_act"))


def test_code_in_a_model_folder_is_never_loaded(tmp_path, token_model):
    model = copy_folder(token_model, tmp_path / "model")
    edit_json(model / "config.json", set_to(auto_map={"AutoModel": "evil.Model"}, trust_remote_code=True))
    (model / "evil.py").write_text("import os; os.system('touch OWNED')")
    must(train(TokenJob(tmp_path / "job", model).config))
    assert not list(tmp_path.rglob("OWNED"))


# ---- weights --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bits, name", [(0x7FC0, Q), (0x7F80, "lm_head.weight"), (0xFF80, "model.norm.weight")])
def test_weights_that_are_not_finite(tmp_path, token_model, bits, name):
    model = copy_folder(token_model, tmp_path / "model")

    def change(tensors):
        dtype, shape, data = tensors[name]
        tensors[name] = (dtype, shape, data[:10] + struct.pack("<H", bits) + data[12:])

    rewrite(model / "model.safetensors", change)
    job = TokenJob(tmp_path / "job", model)
    must(train(job.config, "--check"))
    outcome = must(train(job.config), 3)
    assert outcome.errors == ["E0210"], repr(outcome)
    assert f"`{name}`" in outcome.err and "element 5" in outcome.err
    assert not (job.run / "run.json").exists() and not checkpoints(job.run)
    job.write(base_model=str(token_model))
    must(train(job.config))


def test_weights_that_overflow_stop_the_first_step(tmp_path, token_model):
    """Finite weights, but no finite loss: nothing is updated, and step 0 stays durable."""
    model = copy_folder(token_model, tmp_path / "model")
    fill(model / "model.safetensors", 0x7F00, "model.norm.weight", "lm_head.weight")
    job = TokenJob(tmp_path / "job", model, held_out=0)
    outcome = must(train(job.config), 6)
    assert outcome.errors == ["E0601"] and outcome.acknowledged == 0, repr(outcome)
    assert "step 0 is safe" in outcome.err and "train.jsonl:" in outcome.err and "skip_samples" in outcome.err
    assert sorted(checkpoints(job.run)) == [0]
    evaluated = must(train(TokenJob(tmp_path / "evaluated", model).config), 6)
    assert evaluated.errors == ["E0601"] and "held-out data" in evaluated.err and "skip_samples" in evaluated.err, repr(evaluated)


# ---- Hugging Face cache ---------------------------------------------------------------------------------------------

def test_model_of_the_cache(tmp_path, token_model):
    """`org/name` leads to the snapshot of refs/main, whose files are links to blobs."""
    root = tmp_path / "hub/models--some-org--tiny"
    revision = "0123456789abcdef0123456789abcdef01234567"
    (root / "blobs").mkdir(parents=True)
    (root / "snapshots" / revision).mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs/main").write_text(revision)
    for number, path in enumerate(sorted(token_model.iterdir())):
        blob = f"{number:064x}"
        shutil.copyfile(path, root / "blobs" / blob)
        (root / "snapshots" / revision / path.name).symlink_to(f"../../blobs/{blob}")
    job = TokenJob(tmp_path / "job", "some-org/tiny")
    env = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    before = snapshot(tmp_path / "hub")
    must(train(job.config, env=env))
    assert snapshot(tmp_path / "hub") == before
    adapter = json.loads((job.run / "adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "some-org/tiny"
    shard = root / "snapshots" / revision / "model.safetensors"
    shard.unlink()
    shard.symlink_to("../../../../elsewhere.safetensors")
    shutil.copyfile(token_model / "model.safetensors", tmp_path / "elsewhere.safetensors")
    outcome = must(train(TokenJob(tmp_path / "again", "some-org/tiny").config, env=env), 3)
    assert outcome.errors == ["E0215"]
