"""A release folder: complete, loadable, described by its card, and without a trace of the machine that made it."""
import getpass
import json
import re
import shutil
import socket
import subprocess

import gguf
import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from run_folders import file_sha256, snapshot
from shori_programs import BIN, SOURCE, export, must, run, train
from small_jobs import copy_folder, replace_file, scenes, write_config


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, text_model):
    """Two stages on BlockML; the second begins from the first one's adapter."""
    folder = tmp_path_factory.mktemp("recipe")
    scenes(folder / "data/low", 4, 1)
    scenes(folder / "data/top", 3, 2)
    write_config(folder / "recipe.yaml", base_model=str(text_model), output_dir="runs", sequence_len=128, lora_r=4, lora_alpha=8,
                 learning_rate="0.004 -> 0.001", max_steps=2, num_epochs=1, device="cpu", threads=1,
                 datasets=[{"path": f"data/{name}/", "type": "blockml", "category": name} for name in ("low", "top")])
    must(train(folder / "recipe.yaml"))
    return folder


@pytest.fixture(scope="module")
def release(recipe, text_model):
    out = recipe / "out" / "Tiny Rp"
    must(export("release", recipe / "runs/top", "--base", text_model, "--out", out, "--date", "2026-11-29", "--not-for-all-audiences"))
    return out


def card_of(folder):
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def names_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_folder_is_complete(recipe, release):
    for name in ("LICENSE", "README.md", "message-lengths.svg", "adapter/adapter_model.safetensors", "adapter/README.md",
                 "merged/model.safetensors", "merged/README.md", "merged/tokenizer.json", "gguf/Tiny Rp-F16.gguf", "gguf/Tiny Rp-Q8_0.gguf",
                 "gguf/Tiny Rp-LoRA-F16.gguf", "sillytavern/BlockML.master.json"):
        assert (release / name).is_file(), name
    assert sorted(path.name for path in release.parent.iterdir()) == ["Tiny Rp"]
    record = json.loads((release / "shori_export.json").read_text())
    assert list(record) == ["format", "program", "base", "adapter", "merge_base", "files"] and record["merge_base"] == "original"
    assert record["adapter"]["parents"] == [file_sha256(recipe / "runs/low/adapter/adapter_model.safetensors")]
    assert record["files"] == {name: file_sha256(release / name) for name in names_in(release) - {"shori_export.json"}}
    card = (release / "README.md").read_text()
    for name in names_in(release) - {"shori_export.json", "README.md"}:
        assert file_sha256(release / name) in card, name


def test_gguf_files_name_licence_and_language(release):
    for name in ("F16", "Q8_0"):
        fields = gguf.GGUFReader(release / f"gguf/Tiny Rp-{name}.gguf").fields
        assert fields["general.license"].contents() == "apache-2.0" and fields["general.languages"].contents() == ["en"]


def test_card(recipe, release, text_model):
    front, body = card_of(release)
    assert list(front) == ["license", "language", "pipeline_tag", "base_model", "library_name", "tags"]
    assert front["license"] == "apache-2.0" and front["language"] == ["en"] and front["pipeline_tag"] == "text-generation"
    assert front["base_model"] == text_model.name and front["library_name"] == "transformers"
    assert "not-for-all-audiences" in front["tags"]
    assert card_of(release / "adapter")[0]["library_name"] == "peft"
    titles = re.findall(r"^## (.*)$", body, re.M)
    assert titles == ["Suggested starting text generation settings", "Prose format", "Prompting format", "Block characters", "Roles",
                      "Message length hints", "Example prompt template", "Mixing with Mistral-Instruct", "Reverse jailbreak", "Dataset",
                      "Stats", "Training details", "Provenance"]
    stats = must(run(BIN / "shori-data", "stats", recipe / "data/low", recipe / "data/top", "--card", "--sequence-len", 128,
                     "--tokenizer", text_model, "--svg", recipe / "svg"))
    assert stats.out.strip() in body
    assert (release / "message-lengths.svg").read_bytes() == (recipe / "svg").read_bytes()
    settings = yaml.safe_load(re.search(r"```yaml\n(.*?)```", body, re.S)[1])
    assert settings["learning_rate"] == "0.004 -> 0.001" and settings["lora_r"] == 4 and settings["base_model"] == text_model.name
    for stage in ("low", "top"):
        assert file_sha256(recipe / "runs" / stage / "adapter/adapter_model.safetensors") in body
    assert "low -> top" in body and "2026-11-29" in body


def test_texts_of_the_author_and_the_licence_of_the_base(recipe, text_model, tmp_path):
    base = copy_folder(text_model, tmp_path / "base")
    replace_file(base / "README.md", "---\nlicense: other\nlicense_name: tiny-1\nlicense_link: https://example.org/tiny\n---\n# Base\n")
    replace_file(base / "LICENSE.md", "Be kind.\n")
    config = tmp_path / "card.yaml"
    config.write_text((recipe / "recipe.yaml").read_text() + 'card:\n  title: "Tiny | RP"\n  summary: |\n    Two people\n    talk: *always*.\n')
    must(train(shutil.copy(config, recipe / "with_card.yaml"), "--check"))

    def released(name, *arguments):
        out = tmp_path / name
        outcome = must(export("release", recipe / "runs/top", "--base", base, "--out", out, "--no-gguf", *arguments))
        return outcome, out, *card_of(out)

    _, out, front, body = released("own", "--card", config, "--model-pattern", "/tiny/i")
    assert [front[key] for key in ("license", "license_name", "license_link")] == ["other", "tiny-1", "https://example.org/tiny"]
    assert (out / "LICENSE").read_text() == "Be kind.\n" and body.startswith("\n# Tiny \\| RP\n")
    assert body.index("made with shori-train.\n\nTwo people\ntalk: *always*.\n\n## Suggested") > 0
    assert json.loads((out / "sillytavern/instruct/BlockML.json").read_text())["activation_regex"] == "/tiny/i"

    outcome, out, front, body = released("other", "--license", "mit", "--card", config, "--name", "Given")
    assert front["license"] == "mit" and "license_name" not in front and body.startswith("\n# Given\n")
    assert not (out / "LICENSE").exists() and "no LICENSE is written" in outcome.err

    replace_file(base / "README.md", "No front matter.\n")
    (base / "LICENSE.md").unlink()
    outcome, out, front, body = released("none")
    assert front["license"] == "apache-2.0" and "the base names no licence" in outcome.err
    assert "Apache License" in (out / "LICENSE").read_text() and "shori-train.\n\n## Suggested" in body

    for text, code in (("card: 3\n", "E0104"), ("card: {titel: x}\n", "E0101"), ("card: {title: [x]}\n", "E0104"), ("a: b\n", "E0116")):
        config.write_text(text)
        arguments = ["--base", base, "--out", tmp_path / "never", "--card", config, "--no-gguf"]
        assert must(export("release", recipe / "runs/top", *arguments), 2).errors == [code], text
    assert not (tmp_path / "never").exists() and not list(tmp_path.glob(".*"))


def test_no_trace_of_the_machine(recipe, release):
    words = {str(recipe), "/tmp/", "/home/", "/root", str(SOURCE), str(recipe.parent), socket.gethostname()}
    if getpass.getuser() != "root":
        words.add(getpass.getuser())
    for name in names_in(release):
        content = (release / name).read_bytes()
        if not name.endswith((".safetensors", ".gguf", "tokenizer.model", "tokenizer.json")):
            for word in words:
                assert word.encode() not in content, (name, word)
        assert str(recipe).encode() not in content, name


def test_programs_load_it(release, text_model):
    base = AutoModelForCausalLM.from_pretrained(text_model, dtype=torch.float32).eval()
    merged = AutoModelForCausalLM.from_pretrained(release / "merged", dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(release / "merged")("▀message\nAya: hello▄\n", return_tensors="pt").input_ids
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, release / "adapter").eval()(ids).logits
        found = merged(ids).logits
    assert (found - adapted).norm() < 0.5 * (plain - adapted).norm()


def test_a_flipped_byte_of_any_small_file_is_found(release, tmp_path):
    """By `sha256sum -c` with the digests of the record."""
    copy = copy_folder(release, tmp_path / "copy")
    record = json.loads((copy / "shori_export.json").read_text())["files"]
    small = sorted(name for name in record if (copy / name).stat().st_size < 1 << 20)
    assert {"LICENSE", "README.md", "merged/config.json", "adapter/adapter_config.json", "sillytavern/BlockML.master.json"} <= set(small)
    (tmp_path / "sums").write_text("".join(f"{record[name]}  {name}\n" for name in small))

    def failed():
        done = subprocess.run(["sha256sum", "--check", "--quiet", tmp_path / "sums"], cwd=copy, capture_output=True, text=True, check=False)
        return [line.removesuffix(": FAILED") for line in done.stdout.splitlines()]

    assert failed() == []
    for number, name in enumerate(small):
        good = (copy / name).read_bytes()
        bad = bytearray(good)
        bad[number * 7919 % len(bad)] ^= 1 << number % 8
        replace_file(copy / name, bytes(bad))
        assert failed() == [name]
        replace_file(copy / name, good)


def test_changed_data_leaves_the_statistics_out(recipe, text_model, tmp_path):
    path = next((recipe / "data/top").iterdir())
    old = path.read_text()
    replace_file(path, old.replace("the", "a"))
    try:
        outcome = must(export("release", recipe / "runs/top", "--base", text_model, "--out", tmp_path / "out", "--no-gguf"))
    finally:
        replace_file(path, old)
    assert "no statistics" in outcome.err
    assert "## Stats" not in (tmp_path / "out/README.md").read_text() and not (tmp_path / "out/message-lengths.svg").exists()


def test_whole_or_not_at_all(recipe, release, text_model, tmp_path):
    before = snapshot(release.parent)
    assert must(export("release", recipe / "runs/top", "--base", text_model, "--out", release), 2).errors == ["E0806"]
    assert must(export("release", recipe / "runs/top", "--base", text_model, "--out", tmp_path / "a", "--name", "a/b"), 2).errors == ["E0116"]
    for date in ("today", "2026-02-30"):
        assert must(export("release", recipe / "runs/top", "--base", text_model, "--out", tmp_path / "a", "--date", date), 2).errors == ["E0116"]
    base = copy_folder(text_model, tmp_path / "base")
    replace_file(base / "tokenizer_config.json", "[]")  # found when half of the folder is written
    assert "E0804" in must(export("release", recipe / "runs/top", "--base", base, "--out", release, "--force"), 4).errors
    assert snapshot(release.parent) == before and [path.name for path in tmp_path.iterdir()] == ["base"]
