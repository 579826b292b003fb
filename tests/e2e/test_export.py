"""What the exports hold, and that PEFT and transformers compute with them what the program computed."""
import json
import math
import shutil

import numpy
import pytest
import torch
from peft import PeftModel

from reference_models import held_out_loss, peft_adapter, reference_model, samples
from run_folders import Checkpoint, checkpoints, file_sha256, metrics, read_safetensors, snapshot
from shori_programs import export, must, train
from small_jobs import TokenJob, copy_folder, make_model, other_tokenizer, replace_file, token_lines

ADAPTER_CONFIG = """\
{
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "%s",
  "bias": "none",
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 16,
  "lora_dropout": 0.1,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": null,
  "peft_type": "LORA",
  "r": 20,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "down_proj",
    "gate_proj",
    "k_proj",
    "o_proj",
    "q_proj",
    "up_proj",
    "v_proj"
  ],
  "task_type": "CAUSAL_LM",
  "use_dora": false,
  "use_rslora": false
}"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two shards, so that the export must keep their layout."""
    return make_model(tmp_path_factory.mktemp("export") / "tiny-mistral", "--vocab", 512, "--shards", 2)


@pytest.fixture(scope="module")
def nf4_run(tmp_path_factory, model):
    job = TokenJob(tmp_path_factory.mktemp("nf4"), model)
    must(train(job.config))
    return job


@pytest.fixture(scope="module")
def exact_run(tmp_path_factory, model):
    """Trained and evaluated in fp32 on the 16-bit weights: nothing between it and the reference but the order of sums."""
    job = TokenJob(tmp_path_factory.mktemp("exact"), model, adapter="lora", load_in_4bit=False, bf16=False, eval_steps=8)
    must(train(job.config))
    return job


def logits_of(network, path):
    with torch.no_grad():
        return torch.cat([network(torch.tensor([ids])).logits[0] for ids in samples(path)])


def test_our_adapter_in_peft_gives_our_loss(exact_run, model, tmp_path):
    evaluations = metrics(exact_run.run, "eval")
    assert [line["step"] for line in evaluations] == [0, 8]
    network = reference_model(model)
    assert held_out_loss(network, exact_run.folder / "test.jsonl") == pytest.approx(evaluations[0]["loss"], rel=2e-5)
    must(export("adapter", exact_run.run, "--out", tmp_path / "adapter"))
    adapted = PeftModel.from_pretrained(network, tmp_path / "adapter").eval()
    assert held_out_loss(adapted, exact_run.folder / "test.jsonl") == pytest.approx(evaluations[1]["loss"], rel=2e-5)
    assert evaluations[1]["loss"] < evaluations[0]["loss"] - 0.3, "the adapter matters"


def test_merged_model_in_transformers_agrees_with_base_and_adapter(exact_run, model, tmp_path):
    must(export("merged", exact_run.run, "--base", model, "--out", tmp_path / "merged"))
    data = exact_run.folder / "test.jsonl"
    merged = logits_of(reference_model(tmp_path / "merged"), data)
    base = reference_model(model)
    plain = logits_of(base, data)
    adapted = logits_of(PeftModel.from_pretrained(base, exact_run.run / "adapter").eval(), data)
    difference = (merged - adapted).norm() / adapted.norm()
    assert difference < 1e-2 and (plain - adapted).norm() / adapted.norm() > 10 * difference
    assert (merged.argmax(-1) == adapted.argmax(-1)).float().mean() > 0.98
    loss = held_out_loss(reference_model(tmp_path / "merged"), data)
    assert loss == pytest.approx(metrics(exact_run.run, "eval")[-1]["loss"], rel=1e-2)


# ---- adapter --------------------------------------------------------------------------------------------------------

def test_adapter_folder(nf4_run, tmp_path):
    out = tmp_path / "adapter"
    outcome = must(export("adapter", nf4_run.run, "--out", out))
    assert "--max-lora-rank 32" in outcome.err
    assert (out / "adapter_config.json").read_text() == ADAPTER_CONFIG % "tiny-mistral"
    assert (out / "adapter_model.safetensors").read_bytes() == \
        (nf4_run.run / "adapter/adapter_model.safetensors").read_bytes()
    assert (nf4_run.run / "adapter/adapter_config.json").read_text() == ADAPTER_CONFIG % "tiny-mistral"
    record = json.loads((out / "shori_export.json").read_text())
    assert list(record) == ["format", "program", "base", "adapter", "merge_base", "files"]
    assert record["format"] == "shori-export/1" and record["merge_base"] is None
    assert record["adapter"]["sha256"] == file_sha256(nf4_run.run / "adapter/adapter_model.safetensors")
    assert record["files"] == {name: file_sha256(out / name)
                               for name in ("adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
                                            "README.md")}
    for path in out.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes() and str(nf4_run.folder).encode() not in path.read_bytes()


def test_adapter_types_name_and_old_peft(nf4_run, tmp_path):
    _, whole = read_safetensors(nf4_run.run / "adapter/adapter_model.safetensors")
    for name, dtype, torch_dtype in (("bf16", "BF16", torch.bfloat16), ("f16", "F16", torch.float16)):
        must(export("adapter", nf4_run.run, "--out", tmp_path / name, "--dtype", name, "--base-name", "org/base",
                    "--peft-compat", "0.6"))
        metadata, tensors = read_safetensors(tmp_path / name / "adapter_model.safetensors")
        assert metadata["shori.step"] == "8" and list(tensors) == list(whole)
        for key, (kind, shape, data) in tensors.items():
            values = torch.frombuffer(bytearray(whole[key][2]), dtype=torch.float32).to(torch_dtype)
            assert kind == dtype and shape == whole[key][1]
            assert data == values.view(torch.int16).numpy().tobytes(), key
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "org/base"
        assert not {"layer_replication", "loftq_config", "megatron_config", "megatron_core", "use_dora",
                    "use_rslora"} & set(config)


def test_checkpoints_can_be_exported(nf4_run, tmp_path):
    last = Checkpoint(checkpoints(nf4_run.run)[7])
    must(export("adapter", nf4_run.run, "--step", 7, "--out", tmp_path / "seven"))
    metadata, tensors = read_safetensors(tmp_path / "seven/adapter_model.safetensors")
    assert metadata["shori.step"] == "7" and {k: v[2] for k, v in tensors.items()} == \
        {name: last.tensors[name] for name in tensors}
    must(export("adapter", last.path, "--out", tmp_path / "file"))
    assert (tmp_path / "file/adapter_model.safetensors").read_bytes() == \
        (tmp_path / "seven/adapter_model.safetensors").read_bytes()
    must(export("adapter", nf4_run.run, "--best", "--out", tmp_path / "best"))
    losses = {line["step"]: line["loss"] for line in metrics(nf4_run.run, "eval") if line["step"]}
    best = read_safetensors(tmp_path / "best/adapter_model.safetensors")[0]
    assert int(best["shori.step"]) == min(losses, key=losses.get)
    # done.json has the last word: a stop inside the last evaluation leaves checkpoints that do not know its outcome.
    for number, step in ((1, 4), (2, None)):
        run = shutil.copytree(nf4_run.run, tmp_path / f"run-{number}")
        record = json.loads((run / "done.json").read_text())
        record.update(best_step=step) if step else record.pop("best_step")  # an older version did not write it
        (run / "done.json").write_text(json.dumps(record))
        must(export("adapter", run, "--best", "--out", tmp_path / f"best-{number}"))
        found = read_safetensors(tmp_path / f"best-{number}/adapter_model.safetensors")[0]
        assert found["shori.step"] == (str(step) if step else best["shori.step"])
    must(export("adapter", nf4_run.run / "adapter", "--out", tmp_path / "bare"))
    wrong = must(export("adapter", nf4_run.run, "--step", 99, "--out", tmp_path / "none"), 2)
    assert wrong.errors == ["E0510"] and not (tmp_path / "none").exists()


def test_unfinished_run_exports_its_newest_checkpoint(nf4_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(nf4_run.run, run)
    (run / "done.json").unlink()
    shutil.rmtree(run / "adapter")
    outcome = must(export("adapter", run, "--out", tmp_path / "out"))
    assert "not finished: exporting step 8" in outcome.err
    assert read_safetensors(tmp_path / "out/adapter_model.safetensors")[1] == \
        read_safetensors(nf4_run.run / "adapter/adapter_model.safetensors")[1]
    newest = checkpoints(run)[8]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    replace_file(newest, bytes(data))
    outcome = must(export("adapter", run, "--out", tmp_path / "older"))
    assert "step 8 is damaged" in outcome.err and "exporting step 7" in outcome.err
    assert read_safetensors(tmp_path / "older/adapter_model.safetensors")[0]["shori.step"] == "7"


def test_commit_of_a_base_in_the_hugging_face_cache(nf4_run, model, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    copy_folder(model, tmp_path / "models--org--tiny/snapshots" / commit)
    (tmp_path / "models--org--tiny/refs").mkdir()
    (tmp_path / "models--org--tiny/refs/main").write_text(commit)
    must(export("merged", nf4_run.run, "--base", "org/tiny", "--out", tmp_path / "out", env={"HF_HUB_CACHE": str(tmp_path)}))
    base = json.loads((tmp_path / "out/shori_export.json").read_text())["base"]
    assert base["name"] == "org/tiny" and base["revision"] == commit


# ---- merged ---------------------------------------------------------------------------------------------------------

def bf16_values(data, shape):
    return (numpy.frombuffer(data, "<u2").astype(numpy.uint32) << 16).view(numpy.float32).reshape(shape)


def to_bf16(values):
    bits = values.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def all_tensors(folder):
    return {name: value for path in sorted(folder.glob("*.safetensors"))
            for name, value in read_safetensors(path)[1].items()}


def test_merged_weights_value_by_value(nf4_run, model, tmp_path):
    out = tmp_path / "merged"
    before = snapshot(model)
    must(export("merged", nf4_run.run, "--base", model, "--out", out))
    assert snapshot(model) == before
    _, adapter = read_safetensors(nf4_run.run / "adapter/adapter_model.safetensors")
    base, merged = all_tensors(model), all_tensors(out)
    assert list(merged) == list(base)
    changed = off = count = 0
    for name, (dtype, shape, data) in base.items():
        key = f"base_model.model.{name.removesuffix('.weight')}.lora_%s.weight"
        assert merged[name][:2] == ("BF16", shape)
        if key % "A" not in adapter:
            assert merged[name] == (dtype, shape, data), f"{name} must stay as it is"
            continue
        a, b = (numpy.frombuffer(adapter[key % f][2], "<f4").reshape(adapter[key % f][1]).astype(numpy.float64)
                for f in "AB")
        expected = to_bf16(bf16_values(data, shape).astype(numpy.float64) + 0.8 * (b @ a)).ravel().astype(int)
        found = numpy.frombuffer(merged[name][2], "<u2").astype(int)
        assert numpy.abs(found - expected).max() <= 1, f"{name}: more than one step from the rounded sum"
        off, count, changed = off + (found != expected).sum(), count + found.size, changed + (merged[name][2] != data)
    assert changed == 14 and off < 0.01 * count
    for name in ("config.json", "generation_config.json"):
        assert (out / name).read_bytes() == (model / name).read_bytes()
    index, base_index = (json.loads((f / "model.safetensors.index.json").read_text()) for f in (out, model))
    assert index == base_index
    record = json.loads((out / "shori_export.json").read_text())
    assert record["merge_base"] == "original"
    assert record["files"] == {path.name: file_sha256(path) for path in out.iterdir() if path.name != "shori_export.json"}


def test_merging_onto_nf4_gives_what_training_saw(nf4_run, model, tmp_path):
    must(export("merged", nf4_run.run, "--base", model, "--out", tmp_path / "nf4", "--merge-base", "nf4"))
    must(export("merged", nf4_run.run, "--base", model, "--out", tmp_path / "original"))
    assert json.loads((tmp_path / "nf4/shori_export.json").read_text())["merge_base"] == "nf4"
    job = TokenJob(tmp_path / "job", model, init_from=str(nf4_run.run), num_epochs=1, bf16=False)
    must(train(job.config))
    ours = metrics(job.run, "eval")[0]["loss"]
    losses = {name: held_out_loss(reference_model(tmp_path / name), job.folder / "test.jsonl")
              for name in ("nf4", "original")}
    assert losses["nf4"] == pytest.approx(ours, rel=5e-3)
    assert abs(losses["nf4"] - ours) < abs(losses["original"] - ours)


def test_every_row_of_a_merge_in_several_chunks(tmp_path):
    """A merge works on 2^19 values at a time: each linear here is more, and PEFT says what its rows are."""
    model = make_model(tmp_path / "model", "--vocab", 64, "--layers", 1, "--hidden", 960, "--heads", 15, "--kv-heads", 15,
                       "--intermediate", 1088)
    expected = peft_adapter(model, tmp_path / "peft", torch.float32).merge_and_unload().state_dict()
    # Rounding to bf16 is off by 2^-9 of a value at most, NF4 by a tenth of a row; a wrong row is off by its whole length.
    for merge_base, bound in (("original", 2**-8), ("nf4", 0.15)):
        out = tmp_path / merge_base
        must(export("merged", tmp_path / "peft", "--base", model, "--out", out, "--merge-base", merge_base))
        for name, (_, shape, data) in all_tensors(out).items():
            right = expected[name].numpy()
            off = numpy.linalg.norm(bf16_values(data, shape) - right, axis=-1) / numpy.linalg.norm(right, axis=-1)
            assert off.max() < bound, (merge_base, name, off.argmax())
            assert "proj" not in name or right.size > 1 << 19, f"{name} is one chunk"


def test_merged_f16_and_tokenizer_files(text_model, tmp_path):
    (tmp_path / "train.jsonl").write_text(token_lines(14, 1))
    model = copy_folder(text_model, tmp_path / "model")
    (model / "tokenizer.json").write_text('{"made": "by hand"}')
    (model / "pytorch_model.bin").write_bytes(b"never copied")
    job = TokenJob(tmp_path / "job", model, held_out=0, max_steps=2)
    must(train(job.config))
    out = tmp_path / "merged"
    must(export("merged", job.run, "--base", model, "--out", out, "--dtype", "f16"))
    for name in ("tokenizer.model", "tokenizer.json", "special_tokens_map.json"):
        assert (out / name).read_bytes() == (model / name).read_bytes(), name
    assert not (out / "pytorch_model.bin").exists()
    config, base_config = (json.loads((folder / "config.json").read_text()) for folder in (out, model))
    assert config.pop("torch_dtype") == "float16" and base_config.pop("torch_dtype") == "bfloat16"
    assert config == base_config
    tensors, base = all_tensors(out), all_tensors(model)
    assert {dtype for dtype, _, _ in tensors.values()} == {"F16"}
    name = "model.embed_tokens.weight"
    values = bf16_values(base[name][2], base[name][1]).astype(numpy.float16)
    assert tensors[name][2] == values.tobytes()
    assert reference_model(out).config.vocab_size == 32000


# ---- refusals -------------------------------------------------------------------------------------------------------

def test_wrong_base(nf4_run, tmp_path):
    other = make_model(tmp_path / "other", "--vocab", 512, "--seed", 9)
    outcome = must(export("merged", nf4_run.run, "--base", other, "--out", tmp_path / "out"), 3)
    assert outcome.errors == ["E0805"]
    smaller = make_model(tmp_path / "smaller", "--vocab", 512, "--layers", 1)
    assert must(export("merged", nf4_run.run, "--base", smaller, "--out", tmp_path / "out"), 3).errors == ["E0805"]
    wider = make_model(tmp_path / "wider", "--vocab", 512, "--hidden", 128)
    assert must(export("merged", nf4_run.run, "--base", wider, "--out", tmp_path / "out"), 3).errors == ["E0805"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "smaller", "wider"]


@pytest.mark.parametrize("command", ["merged", "gguf", "release"])
def test_base_with_another_tokenizer(text_model, tmp_path, command):
    """The weights are the same. What the export would write beside them belongs to other ids."""
    job = TokenJob(tmp_path / "job", text_model, held_out=0, max_steps=1)
    must(train(job.config))
    other = copy_folder(text_model, tmp_path / "other")
    replace_file(other / "tokenizer.model", other_tokenizer((other / "tokenizer.model").read_bytes()))
    outcome = must(export(command, job.run, "--base", other, "--out", tmp_path / "out"), 3)
    assert outcome.errors == ["E0805"] and "tokenizer" in outcome.err, repr(outcome)
    assert not (tmp_path / "out").exists()


def test_adapter_that_knows_no_base_on_one_of_other_shapes(model, tmp_path):
    peft_adapter(model, tmp_path / "peft", torch.float32)
    wider = make_model(tmp_path / "wider", "--vocab", 512, "--hidden", 128)
    outcome = must(export("merged", tmp_path / "peft", "--base", wider, "--out", tmp_path / "out"), 2)
    assert outcome.errors == ["E0511"] and not (tmp_path / "out").exists()


def test_adapter_without_training_is_not_merged(nf4_run, model, tmp_path):
    """An adapter whose B is zero changes nothing: a merge of it would be the base under another name."""
    job = TokenJob(tmp_path / "job", model, max_steps=1)
    must(train(job.config))
    start = checkpoints(job.run)[0]
    outcome = must(export("merged", start, "--base", model, "--out", tmp_path / "out"), 4)
    assert outcome.errors == ["E0801"] and not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_targets(nf4_run, model, tmp_path):
    base = copy_folder(model, tmp_path / "base")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "file").write_text("x")
    cases = [(base / "out", "E0802"), (base, "E0802"), (tmp_path / "empty/../base/sub", "E0802"),
             (tmp_path / "link", "E0802"), (tmp_path / "full", "E0806"), (tmp_path / "file", "E0806")]
    before = snapshot(tmp_path)
    for target, code in cases:
        outcome = must(export("merged", nf4_run.run, "--base", base, "--out", target), 2)
        assert outcome.errors == [code], (target, repr(outcome))
    for target, code in cases[3:]:
        assert must(export("adapter", nf4_run.run, "--out", target), 2).errors == [code], target
    assert must(export("adapter", nf4_run.run, "--out", ""), 2).errors == ["E0116"]
    assert must(export("adapter", nf4_run.run, "--out", tmp_path / ("a" * 250)), 4).errors == ["E0513"]
    assert must(export("gguf", nf4_run.run, "--base", base, "--out", f"{tmp_path}/new/"), 2).errors == ["E0806"]
    # What may not be moved aside.
    run = copy_folder(nf4_run.run, tmp_path / "full/run")
    shutil.copytree(run / "checkpoints/pinned", run / "checkpoints/requested")
    before = snapshot(tmp_path)
    parts = ("", "adapter", "checkpoints", "checkpoints/pinned", "checkpoints/requested")
    held = [(path, None) for path in (*(run / part for part in parts), run.parent, base.parent)]
    for target, cwd in held + [(".", tmp_path / "full"), ("..", tmp_path / "full"), ("/dev/null", None)]:
        for command in (["adapter", run], ["merged", run, "--base", base], ["sillytavern"]):
            if command[0] == "sillytavern" and cwd is None and target != "/dev/null":
                continue  # it reads nothing
            outcome = must(export(*command, "--out", target, "--force", cwd=cwd), 2)
            assert outcome.errors == ["E0802"], (target, repr(outcome))
    shutil.rmtree(run)
    before = {name: value for name, value in before.items() if not name.startswith("full/run")}
    assert snapshot(tmp_path) == before
    must(export("adapter", nf4_run.run, "--out", tmp_path / "empty"))
    must(export("adapter", nf4_run.run, "--out", tmp_path / "full", "--force"))
    assert (tmp_path / "full.old-1/file").read_text() == "mine" and (tmp_path / "full/adapter_config.json").exists()
    must(export("merged", nf4_run.run, "--base", base, "--out", tmp_path / "full", "--force"))
    assert (tmp_path / "full.old-2/adapter_config.json").exists() and (tmp_path / "full/config.json").exists()


def test_sources_that_are_no_adapter(nf4_run, model, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "missing", model):
        assert must(export("adapter", source, "--out", tmp_path / "out"), 2).errors == ["E0510"], source
    broken = tmp_path / "broken"
    shutil.copytree(nf4_run.run / "adapter", broken)
    path = broken / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    outcome = export("adapter", broken, "--out", tmp_path / "out")
    assert outcome.code == 3 and outcome.errors == ["E0203"], repr(outcome)
    damaged = tmp_path / "damaged"
    shutil.copytree(nf4_run.run, damaged)
    path = checkpoints(damaged)[7]
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    outcome = export("adapter", damaged, "--step", 7, "--out", tmp_path / "out")
    assert outcome.code == 4 and outcome.errors == ["E0503"], repr(outcome)
    assert not (tmp_path / "out").exists()


def test_values_that_float16_cannot_hold(nf4_run, tmp_path):
    source = tmp_path / "adapter"
    shutil.copytree(nf4_run.run / "adapter", source)
    path = source / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + numpy.float32(1e6).tobytes())
    outcome = must(export("adapter", source, "--out", tmp_path / "out", "--dtype", "f16"), 4)
    assert outcome.errors == ["E0804"] and sorted(p.name for p in tmp_path.iterdir()) == ["adapter"]


def test_usage(nf4_run, tmp_path):
    assert must(export("--version")).out.startswith("shori-export ")
    for arguments in ([], ["adapter"], ["adapter", nf4_run.run], ["merged", nf4_run.run, "--out", tmp_path / "x"],
                      ["adapter", nf4_run.run, "--out", tmp_path / "x", "--dtype", "f64"],
                      ["adapter", nf4_run.run, "--out", tmp_path / "x", "--best", "--step", "7"], ["gguf"]):
        assert must(export(*arguments), 2).err, arguments
    assert not (tmp_path / "x").exists()


def test_adapter_with_tensors_missing_or_too_many(nf4_run, model, tmp_path):
    def rewrite(folder, change):
        shutil.copytree(nf4_run.run / "adapter", folder)
        from safetensors.numpy import load_file, save_file
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        return folder

    first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    cases = {"missing": (lambda t: t.pop(first), "missing: " + first, "E0511"),
             "more": (lambda t: t.update(extra=numpy.zeros(3, "f4")), "unexpected: extra", "E0511"),
             "shape": (lambda t: t.update({first: t[first][:8].copy()}), "other rank than its lora_A: " + first.replace("lora_A", "lora_B"),
                       "E0511"),
             "type": (lambda t: t.update({first: t[first].astype("f8")}), "other type: " + first, "E0511"),
             "not finite": (lambda t: t.update({first: t[first] * math.nan}), first, "E0210")}
    for name, (change, text, code) in cases.items():
        source = rewrite(tmp_path / name.replace(" ", "-"), change)
        job = TokenJob(tmp_path / f"job {name}", model, init_from=str(source), max_steps=1)
        outcome = train(job.config)
        assert outcome.code == (2 if code == "E0511" else 3) and code in outcome.errors, repr(outcome)
        assert text in outcome.err and not checkpoints(job.run)
