"""The files beside the weights of an export: chat template, generation settings, tokenizer. transformers is the judge."""
import json

import pytest
import sentencepiece
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

from run_folders import file_sha256
from shori_programs import TOKENIZER, export, must, train
from small_jobs import TokenJob, copy_folder, make_model, replace_file, token_lines

OPEN, CLOSE = 30374, 30213
REIMU = {"role": "assistant", "name": "Reimu", "hint": "tiny", "content": '"Hmm..."'}
MARISA = {"role": "user", "name": "Marisa", "content": "_Ugh._"}
GOLDEN = [
    ([{"role": "title", "content": "A strange incident"}, {"role": "system", "content": "Be safe."},
      {"role": "description", "content": "Reimu\n**Name:** Reimu"}, REIMU, MARISA], {},
     '<s>▀title\nA strange incident▄\n[INST] Be safe. [/INST]\n▀description\nReimu\n**Name:** Reimu▄\n'
     '▀message (length: tiny)\nReimu: "Hmm..."▄\n▀message\nMarisa: _Ugh._▄\n▀message (length: medium)\n'),
    ([{"role": "user", "content": "Hi"}], {}, "<s>▀message\nHi▄\n▀message (length: medium)\n"),
    ([REIMU, MARISA], {"hint": "long", "char": "Reimu"},
     '<s>▀message (length: tiny)\nReimu: "Hmm..."▄\n▀message\nMarisa: _Ugh._▄\n▀message (length: long)\nReimu:'),
]
HOSTILE = ["▀▄", "▀", "▄", " ▀", "▀message\nAya: hi▄\n▀message", "  two  leading spaces", "\n\n\n", "\t tab", "🦊🏽 emoji", "\u200b",
           "[INST] a [/INST]\nb", "naïve Ünïcödé", "日本語のテキスト", "\u2581 mark", "a" * 300, "\U0010FFFF", "e\u0301", "x ▄ y", "▄\n▀",
           "1234567890", "...---...", "\u00a0no-break", "ﬁ ligature", "the   end ", " "]


@pytest.fixture(scope="module")
def base(text_model, tmp_path_factory):
    """A base whose template must not survive, in every form that transformers reads."""
    model = copy_folder(text_model, tmp_path_factory.mktemp("base") / "tiny-mistral")
    config = json.loads((model / "tokenizer_config.json").read_text())
    assert config["model_max_length"] > 2**64, "a number that a float would change"
    replace_file(model / "tokenizer_config.json", json.dumps({**config, "chat_template": "{{ 'old' }}", "last": [1, "}"]}, indent=2))
    (model / "chat_template.jinja").write_text('{% for m in messages %}{{ m["content"] }}{% endfor %}')
    (model / "chat_templates").mkdir()
    (model / "chat_templates/tool_use.jinja").write_text("kept")
    (model / "chat_templates/default.jinja").write_text("old")
    return model


@pytest.fixture(scope="module")
def run_folder(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "train.jsonl").write_text(token_lines(14, 1))
    job = TokenJob(folder / "job", base, held_out=0, max_steps=2)
    must(train(job.config))
    return job.run


@pytest.fixture(scope="module")
def merged(base, run_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("merged") / "model"
    must(export("merged", run_folder, "--base", base, "--out", out))
    return out


def test_rendered_by_transformers(merged):
    tokenizer = AutoTokenizer.from_pretrained(merged)
    for messages, variables, wanted in GOLDEN:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **variables)
        assert text == wanted
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False, **variables)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
        assert ids == [1, *pieces.encode(wanted.removeprefix("<s>"))]


def test_template_files(base, merged):
    template = (merged / "chat_template.jinja").read_text()
    assert "\n" not in template and template.startswith("{{ bos_token }}")
    assert (merged / "chat_templates/default.jinja").read_text() == template
    assert (merged / "chat_templates/tool_use.jinja").read_text() == "kept"
    old, new = ((folder / "tokenizer_config.json").read_text() for folder in (base, merged))
    assert new == old.replace(json.dumps("{{ 'old' }}"), json.dumps(template, ensure_ascii=False))
    record = json.loads((merged / "shori_export.json").read_text())
    names = {str(path.relative_to(merged)) for path in merged.rglob("*") if path.is_file()} - {"shori_export.json"}
    assert record["files"] == {name: file_sha256(merged / name) for name in names}


def test_generation_settings(base, run_folder, merged, tmp_path):
    wanted = {"bos_token_id": 1, "eos_token_id": [2, CLOSE], "transformers_version": "4.36.0"}
    assert (merged / "generation_config.json").read_text() == json.dumps(wanted, indent=2) + "\n"
    other = copy_folder(base, tmp_path / "other")
    replace_file(other / "generation_config.json", '{"top_p": 0.90, "eos_token_id": [2, 7]}')
    must(export("merged", run_folder, "--base", other, "--out", tmp_path / "out", "--sampling", "main"))
    assert (tmp_path / "out/generation_config.json").read_text() == """{
  "bos_token_id": 1,
  "do_sample": true,
  "eos_token_id": [
    2,
    7,
    30213
  ],
  "min_p": 0.07,
  "temperature": 1.0,
  "top_p": 0.90,
  "transformers_version": "4.36.0"
}
"""


def test_generation_stops_at_the_end_of_a_block(merged):
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    assert model.generation_config.eos_token_id == [2, CLOSE]
    with torch.no_grad():  # whatever the text before: `▄`
        model.lm_head.weight.zero_()
        model.model.norm.weight.zero_()
    model.lm_head.register_forward_hook(lambda _m, _i, out: out + torch.nn.functional.one_hot(
        torch.tensor(CLOSE), out.shape[-1]).to(out.dtype) * 9)
    assert model.generate(torch.tensor([[1, OPEN]]), max_new_tokens=5, do_sample=False).tolist() == [[1, OPEN, CLOSE]]


def test_tokenizer_json_that_is_made(merged):
    tokenizer = AutoTokenizer.from_pretrained(merged)
    plain = PreTrainedTokenizerFast(tokenizer_file=str(merged / "tokenizer.json"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
    for text in HOSTILE:
        wanted = [1, *pieces.encode(text)]
        assert plain(text).input_ids == wanted, repr(text)
        assert tokenizer(text).input_ids == wanted, repr(text)
        assert tokenizer(f"<s>{text}", add_special_tokens=False).input_ids == wanted, repr(text)
        if text == text.strip():
            assert plain.decode(wanted, skip_special_tokens=True) == pieces.decode(wanted[1:]), repr(text)
    made = json.loads((merged / "tokenizer.json").read_text())["model"]
    vocabulary = [pieces.id_to_piece(i) for i in range(pieces.vocab_size())]
    assert made["vocab"] == {piece: i for i, piece in enumerate(vocabulary)}
    scores = {piece: pieces.get_score(i) for i, piece in enumerate(vocabulary)}
    theirs = generate_merges(made["vocab"], scores)
    assert len(made["merges"]) == 58980
    assert sorted(made["merges"]) == sorted(f"{left} {right}" for left, right in theirs)


def test_other_normalizer_is_reported(base, run_folder, tmp_path):
    other = copy_folder(base, tmp_path / "other")
    (other / "tokenizer.json").write_text('{"normalizer": null}')
    outcome = must(export("merged", run_folder, "--base", other, "--out", tmp_path / "out"))
    assert outcome.codes == ["W0801"] and (tmp_path / "out/tokenizer.json").read_text() == '{"normalizer": null}'
    replace_file(other / "tokenizer_config.json", "[]")
    outcome = must(export("merged", run_folder, "--base", other, "--out", tmp_path / "no"), 4)
    assert "E0804" in outcome.codes and sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


def test_adapter_with_the_tokenizer_of_its_base(base, run_folder, merged, tmp_path):
    must(export("adapter", run_folder, "--out", tmp_path / "plain"))
    assert (tmp_path / "plain/chat_template.jinja").read_bytes() == (merged / "chat_template.jinja").read_bytes()
    assert not (tmp_path / "plain/tokenizer.json").exists()
    must(export("adapter", run_folder, "--base", base, "--out", tmp_path / "whole"))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "tokenizer.model"):
        assert (tmp_path / "whole" / name).read_bytes() == (merged / name).read_bytes(), name


def test_base_by_its_id(base, run_folder, merged, tmp_path):
    snapshot = tmp_path / "hub/models--org--tiny/snapshots/0123abcd"
    snapshot.parent.mkdir(parents=True)
    copy_folder(base, snapshot)
    (tmp_path / "hub/models--org--tiny/refs").mkdir()
    (tmp_path / "hub/models--org--tiny/refs/main").write_text("0123abcd")
    must(export("merged", run_folder, "--base", "org/tiny", "--out", tmp_path / "out", env={"HF_HUB_CACHE": str(tmp_path / "hub")}))
    assert (tmp_path / "out/model.safetensors").read_bytes() == (merged / "model.safetensors").read_bytes()
    assert json.loads((tmp_path / "out/shori_export.json").read_text())["base"]["name"] == "org/tiny"


def test_base_without_tokenizer_keeps_its_files(tmp_path):
    model = make_model(tmp_path / "tokens", "--vocab", 512)
    (model / "chat_template.jinja").write_text("old")
    job = TokenJob(tmp_path / "job", model, held_out=0, max_steps=2)
    must(train(job.config))
    must(export("merged", job.run, "--base", model, "--out", tmp_path / "out"))
    assert (tmp_path / "out/generation_config.json").read_bytes() == (model / "generation_config.json").read_bytes()
    assert (tmp_path / "out/chat_template.jinja").read_text() == "old"
    assert not list((tmp_path / "out").glob("tokenizer*"))
