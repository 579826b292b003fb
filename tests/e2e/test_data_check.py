"""shori-data check, inspect and convert as a user meets them: formats, exit codes, fixes, sources that come back unchanged."""
import json

import pytest

from shori_programs import BIN, TOKENIZER, TRAIN, must, run

DATA = BIN / "shori-data"
DOCUMENT_A = ('▀title\nA strange incident▄\n▀tags\nbarrier, danmaku▄\n▀description\nReimu\n**Name:** Reimu▄\n'
              '▀message (length: tiny)\nReimu: "Hmm..."▄\n[INST] Marisa is bored. [/INST]\n'
              '▀message\nMarisa: _Ugh._ "Boring."▄\n')
# Of the published tokenizer by SentencePiece.
DOCUMENT_A_IDS = """1 28705 30374 3901 13 28741 8708 10824 30213 13  30374 12586 13 1822 5118 28725 11555 28719 17103 30213 13
30374 6518 13 1925 321 28718 13 348 952 4049 1298 321 28718 30213 13
30374 1324 325 2143 28747 8887 28731 13 1925 321 28718 28747 345 28769 3221 7508 30213 13
28792 16289 28793 1471 7682 349 19739 28723 733 28748 16289 28793 13
30374 1324 13 7308 7682 28747 583 28779 591 1573 345 28760 4590 611 30213 13 2""".split()
UNTIDY = '▀lore\n“Old”  stories▄\n▀message\nReimu: “Hmm….” (OOC: brb) She _sighed.▄\n▀message Marisa: ok !▄\n'


def data(*args, **options):
    return run(DATA, *args, **options)


def problems(out):
    return [json.loads(line) for line in out.splitlines()]


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_program_does_not_load_libtorch():
    libraries = must(run("ldd", DATA)).out
    assert "libc.so" in libraries and "libtorch" not in libraries and "libc10" not in libraries  # addresses hold "c10" at times


def test_clean_data(tmp_path):
    write(tmp_path, "d/a.blockml", DOCUMENT_A)
    write(tmp_path, "d/notes.md", "x")
    checked = must(data("check", "d", "--tokenizer", TOKENIZER, cwd=tmp_path))
    assert "file skipped: d/notes.md\n" in checked.out
    assert "1 files, 1 conversations, 2 messages" in checked.out
    assert "first ids of sample 1: 1 28705 30374 3901 13 28741 8708 10824\n" in checked.out
    assert "0 errors, 0 warnings" in checked.out


def test_every_problem_of_every_file_in_one_run(tmp_path):
    write(tmp_path, "d/a.blockml", "▀mesage\nx▄\n▀message (length: midium)\ny▄\n")
    write(tmp_path, "d/b.jsonl", json.dumps({"text": "▀message\nA: _x▄\n"}) + "\n{\n")
    write(tmp_path, "d/c.yaml", "titel: x\nmessages: [{text: y}]\n")
    found = data("check", "d", "--format", "json", cwd=tmp_path)
    assert found.code == 3
    places = [(p["code"], p["file"], p["line"], p["column"]) for p in problems(found.out) if p["severity"] == "error"]
    assert places == [("E0302", "d/a.blockml", 1, 2), ("E0303", "d/a.blockml", 3, 19), ("E0312", "d/b.jsonl", 2, 2),
                      ("E0312", "d/c.yaml", 1, 1)]
    lint = [p for p in problems(found.out) if p.get("rule") == "prose/thoughts"]
    assert len(lint) == 1 and lint[0]["code"] == "W0304" and lint[0]["severity"] == "warning"
    assert lint[0]["file"] == "d/b.jsonl" and lint[0]["line"] == 1 and "text 2:4" in lint[0]["message"]
    assert set(lint[0]) == {"code", "severity", "message", "file", "line", "column", "end_column", "notes", "help",
                            "exit_code", "rule"}


def test_formats_and_strict(tmp_path):
    write(tmp_path, "a.blockml", UNTIDY)
    short = must(data("check", "a.blockml", "--format", "short", cwd=tmp_path))
    assert ("a.blockml:2:1: warning[W0304]: prose/curly-quotes: quotes that are not ASCII (2 in this block), and 1 more block "
            "(line 4)\n") in short.err
    long = must(data("check", "a.blockml", cwd=tmp_path))
    assert "--> a.blockml:4:31\n" in long.err and "help: write" in long.err
    assert "accepted, not canonical: one-line block, 1\n" in long.out
    strict = data("check", "a.blockml", "--strict", "--format", "json", cwd=tmp_path)
    assert strict.code == 3
    errors = [p for p in problems(strict.out) if p["severity"] == "error"]
    assert [(p["code"], p["line"], p["column"]) for p in errors] == [("E0319", 5, 9)]
    assert must(data("check", "a.blockml", "--format", "json", cwd=tmp_path)).out


def test_without_a_tokenizer_it_says_what_is_left_out(tmp_path):
    write(tmp_path, "a.blockml", DOCUMENT_A)
    checked = must(data("check", "a.blockml", cwd=tmp_path, env={"SHORI_TOKENIZER": ""}))
    assert "not checked without --tokenizer: lengths, masks" in checked.out
    refused = data("inspect", "a.blockml", cwd=tmp_path, env={"SHORI_TOKENIZER": ""})
    assert refused.code == 3 and "--tokenizer" in refused.err


def test_data_of_nothing_is_not_ready(tmp_path):
    """As training says (test_bad_data.py), with and without a tokenizer, whatever the form."""
    for name, text in {"a.jsonl": "", "b.jsonl": "\n\n", "c.blockml": "", "d.yaml": ""}.items():
        (tmp_path / name).write_text(text)
        for options in ([], ["--tokenizer", TOKENIZER]):
            outcome = must(data("check", tmp_path / name, *options), 3)
            assert outcome.errors == ["E0306"] and "not ready" in outcome.out, (name, repr(outcome))


def test_lengths_against_sequence_len(tmp_path):
    write(tmp_path, "a.blockml", DOCUMENT_A)
    must(data("check", "a.blockml", "--sequence-len", 84, "--tokenizer", TOKENIZER, cwd=tmp_path))
    too_long = data("check", "a.blockml", "--sequence-len", 83, "--tokenizer", TOKENIZER, "--format", "json", cwd=tmp_path)
    assert too_long.code == 3 and [p["code"] for p in problems(too_long.out) if p["severity"] == "error"] == ["E0305"]


def test_fix(tmp_path):
    path = write(tmp_path, "d/a.blockml", UNTIDY)
    write(tmp_path, "d/b.jsonl", '{"id": "k",  "n": 1.50, "text": "▀message\\nB: so….▄\\n", "z": []}\n')
    tidy = ('▀lore\n"Old" stories▄\n▀message\nReimu: "Hmm..." She _sighed.▄\n▀ooc\nbrb▄\n▀message\nMarisa: ok!▄\n')
    shown = must(data("check", "d", "--fix", "--dry-run", cwd=tmp_path))
    assert shown.out.startswith('--- d/a.blockml\n+++ d/a.blockml (fixed)\n@@ -1,5 +1,8 @@\n ▀lore\n-“Old”  stories▄\n+"Old" stories▄\n')
    assert '\n-Reimu: “Hmm….” (OOC: brb) She _sighed.▄\n' in shown.out and '\n+Reimu: "Hmm..." She _sighed.▄\n' in shown.out
    assert path.read_text() == UNTIDY
    must(data("check", "d", "--fix", "--out", "e", cwd=tmp_path))
    assert path.read_text() == UNTIDY
    assert (tmp_path / "e/a.blockml").read_text() == tidy
    fixed = '{"id": "k",  "n": 1.50, "text": "▀message\\nB: so...▄\\n", "z": []}\n'
    assert (tmp_path / "e/b.jsonl").read_text() == fixed
    must(data("check", "d", "--fix", "--in-place", cwd=tmp_path))
    assert path.read_text() == tidy
    again = must(data("check", "d", "--fix", "--in-place", cwd=tmp_path))
    assert again.out.endswith("0 files changed\n")
    assert data("check", "d", "--fix", cwd=tmp_path).code == 2
    assert data("check", "d", "--in-place", cwd=tmp_path).code == 2
    write(tmp_path, "e/a.blockml", "other")
    assert data("check", "d", "--fix", "--out", "e", cwd=tmp_path).code != 0
    assert (tmp_path / "e/a.blockml").read_text() == "other"


def test_fix_leaves_what_would_change_a_block(tmp_path):
    text = "▀message\nWenna: ?!▄\n▀message\nTam: ! I knew.▄\n▀message\nTam: (OOC: brb)▄\n"
    path = write(tmp_path, "a.blockml", text)
    fixed = must(data("check", "a.blockml", "--fix", "--in-place", cwd=tmp_path))
    assert path.read_text() == text
    assert "prose/spacing: 2 left as they are (the fix would change more than the text)\n" in fixed.out
    assert "ooc/inline: 1 left as they are (the fix would change more than the text)\n" in fixed.out
    assert fixed.out.endswith("0 files changed\n")


def test_levels_of_a_config_hold_for_check_and_training(tmp_path, text_model):
    write(tmp_path, "u.txt", "wenna42\n")
    write(tmp_path, "a.blockml", "▀message\nA: _x, says Wenna42▄\n")
    config = (f"base_model: {text_model}\noutput_dir: run\nlearning_rate: 1e-4\ndevice: cpu\ndatasets: [{{path: a.blockml}}]\n"
              "lint: {prose/thoughts: error, structure/unknown-speaker: off, usernames: u.txt}\n")
    write(tmp_path, "c.yaml", config)
    checked = data("check", "c.yaml", "--format", "json", cwd=tmp_path)
    assert checked.code == 3
    assert [(p["code"], p["rule"]) for p in problems(checked.out) if "rule" in p] == [
        ("E0319", "prose/thoughts"), ("E0319", "privacy/username")]


@pytest.mark.parametrize("view", [["--ids"], []])
def test_inspect(tmp_path, view):
    write(tmp_path, "a.jsonl", json.dumps({"text": "▀message\nx▄\n"}) + "\n" + json.dumps({"text": DOCUMENT_A}) + "\n")
    shown = must(data("inspect", "a.jsonl:2", "--tokenizer", TOKENIZER, *view, cwd=tmp_path))
    if view:
        assert shown.out.split() == DOCUMENT_A_IDS and shown.out.count("\n") == 1
        return
    rows = [line.split(" ") for line in shown.out.splitlines()]
    assert [row[0] for row in rows] == [str(i) for i in range(84)]
    assert [row[1] for row in rows] == DOCUMENT_A_IDS
    trained = [int(row[0]) for row in rows if row[4] != "-100"]
    assert trained == [*range(44, 53), *range(70, 82), 83]
    assert rows[0][2:4] == ["<s>", "bos"] and rows[44][3] == "speaker" and rows[48][3] == "text" and rows[52][2:4] == ["▄", "end"]
    assert data("inspect", "a.jsonl:3", "--tokenizer", TOKENIZER, cwd=tmp_path).code == 2


def test_inspect_with_the_masks_of_a_config(tmp_path, text_model):
    write(tmp_path, "a.blockml", DOCUMENT_A)
    write(tmp_path, "c.yaml", f"base_model: {text_model}\noutput_dir: run\nlearning_rate: 1e-4\n"
                              "datasets: [{path: other}]\nblockml: {train_on_speaker: false}\n")
    shown = must(data("inspect", "a.blockml", "--config", "c.yaml", "--view", "tokens", cwd=tmp_path))
    trained = [int(line.split(" ")[0]) for line in shown.out.splitlines() if not line.endswith(" -100")]
    assert trained == [*range(48, 53), *range(73, 82), 83]


def test_convert_there_and_back(tmp_path):
    texts = {"a": DOCUMENT_A, "b": "▀message\nA: <<x>> \"q\" \\ tab\t.\n\n  b: # c▄\n▀ooc\n- d▄\n",
             "c": "[INST] x [/INST]\n▀tags\na,b▄\n▀description\nno name▄\n▀message (length: huge)\nB:\ny▄\n▀lore\nz▄\n"}
    for name, text in texts.items():
        write(tmp_path, f"d/{name}.blockml", text)
    source = "d"
    for step, form in enumerate(["yaml", "jsonl", "yaml", "blockml", "jsonl", "blockml"]):
        must(data("convert", source, "--to", form, "--out", f"o{step}", cwd=tmp_path))
        source = f"o{step}"
    for name, text in texts.items():
        assert (tmp_path / source / f"{name}.blockml").read_bytes() == text.encode()
    unchanged = must(data("convert", "d", "--to", "blockml", "--out", "o5", cwd=tmp_path))
    assert "0 files written" in unchanged.out
    write(tmp_path, "o5/a.blockml", "other")
    refused = data("convert", "d", "--to", "blockml", "--out", "o5", cwd=tmp_path)
    assert refused.code == 2 and "E0807" in refused.err and (tmp_path / "o5/a.blockml").read_text() == "other"


def test_convert_keeps_what_the_forms_can_hold(tmp_path):
    line = {"id": "k 1", "category": "high", "rating": "pg13", "text": DOCUMENT_A}
    write(tmp_path, "a.jsonl", json.dumps(line) + "\n")
    must(data("convert", "a.jsonl", "--to", "yaml", "--out", "y", cwd=tmp_path))
    must(data("convert", "y", "--to", "jsonl", "--out", "j", cwd=tmp_path))
    assert json.loads((tmp_path / "j/conversations.jsonl").read_text()) == line
    printed = must(data("convert", "a.jsonl", "--to", "blockml", "--out", "b", cwd=tmp_path))
    assert "category or rating of 1 conversations" in printed.out
    write(tmp_path, "auto.yaml", "messages: [{text: x, length: auto}]\n")
    refused = data("convert", "auto.yaml", "--to", "blockml", "--out", "n", cwd=tmp_path, env={"SHORI_TOKENIZER": ""})
    assert refused.code == 3 and not (tmp_path / "n").exists()


def test_yaml_and_ratings_in_training(tmp_path, text_model):
    write(tmp_path, "d/a.yaml", "rating: pg13\nmessages: [{text: one two three}]\n---\nmessages: [{text: left out}]\n")
    write(tmp_path, "c.yaml", f"base_model: {text_model}\noutput_dir: run\nlearning_rate: 1e-4\ndevice: cpu\nsequence_len: 64\n"
                              "datasets: [{path: d, type: blockml_yaml, rating: [pg13]}]\n")
    checked = data("check", "c.yaml", cwd=tmp_path)
    assert "1 sample to train" in checked.out, checked
    assert "left out (rating): 1 conversations, the first d/a.yaml:3\n" in checked.out
    assert must(run(TRAIN, "c.yaml", "--check", cwd=tmp_path))
