"""Malformed training text: every problem of all files in one run, each with code and place, and nothing is trained."""
import json

import pytest

from shori_programs import must, train
from small_jobs import Job, TokenJob, scene

GOOD = "▀message\nA: x▄\n"

# file -> (content, [(code, line, column)])
TEXTS = {
    "open_at_end.blockml": ("▀message\nA: x", [("E0301", 1, 1)]),
    "open_before_next.blockml": ("▀title\nt\n▀message\nA: x▄\n", [("E0301", 1, 1)]),
    "no_role.blockml": ("▀\nx▄\n" + GOOD, [("E0302", 1, 2)]),
    "wrong_role.blockml": ("▀mesage\nA: x▄\n" + GOOD, [("E0302", 1, 2)]),
    "upper_role.blockml": ("▀Title\nx▄\n" + GOOD, [("E0302", 1, 2)]),
    "wrong_length.blockml": ("▀message (length: midium)\nA: x▄\n", [("E0303", 1, 19)]),
    "spaced_length.blockml": ("▀message  (length: tiny)\nA: x▄\n", [("E0303", 1, 11)]),
    "length_of_title.blockml": ("▀title (length: tiny)\nx▄\n" + GOOD, [("E0303", 1, 8)]),
    "latin1.blockml": (b"\xe2\x96\x80message\nA: caf\xe9 x\xe2\x96\x84\n", [("E0304", 2, 7)]),
    "windows.blockml": (b"\xe2\x96\x80message\nA: \x93x\xe2\x96\x84\n", [("E0304", 2, 4)]),
    "nul.blockml": ("▀message\nA: x\0y▄\n", [("E0304", 2, 5)]),
    "escape.blockml": ("▀message\nA: \x1b[31mx▄\n", [("E0304", 2, 4)]),
    "surrogate.blockml": (b"\xe2\x96\x80message\nA: \xed\xa0\x80\xe2\x96\x84\n", [("E0304", 2, 4)]),
    "overlong_form.blockml": (b"\xe2\x96\x80message\nA: \xc0\xaf\xe2\x96\x84\n", [("E0304", 2, 4)]),
    "no_message.blockml": ("▀title\nx▄\n", [("E0306", 1, 1)]),
    "control.blockml": ("▀message\nA: <s>x</s>▄\n", [("E0308", 2, 4)]),
    "gzip.blockml": (b"\x1f\x8b\x08", [("E0304", None, None)]),
    "stray_close.blockml": (GOOD + "▄\n", [("E0310", 3, 1)]),
    "text_between.blockml": (GOOD + "hello\n" + GOOD, [("E0310", 3, 1)]),
    "empty_body.blockml": ("▀lore\n \n▄\n" + GOOD, [("E0311", 1, 1)]),
    "empty_inst.blockml": ("[INST]  [/INST]\n" + GOOD, [("E0311", 1, 1)]),
    "open_inst.blockml": ("[INST] x\n" + GOOD, [("E0316", 1, 1)]),
    "stray_inst_end.blockml": (GOOD + "[/INST]\n", [("E0316", 3, 1)]),
    "long_block.blockml": ("▀message\nA: " + "x" * (1 << 20) + "▄\n", [("E0317", None, None)]),
    "two_problems.blockml": ("▀titel\nx▄\n▀message (length: tinny)\nA: x▄\n", [("E0302", 1, 2), ("E0303", 3, 19)]),
}

LINES = {
    "lines.jsonl": [
        (json.dumps({"text": GOOD}), []),
        ("", []),  # blank lines are skipped
        ("{\"text\": ", [("E0312", 3, None)]),
        ("[1]", [("E0312", 4, 1)]),
        ('{"txt": "x"}', [("E0312", 5, 1)]),
        ('{"text": 5}', [("E0312", 6, 10)]),
        (r'{"text": "a", "text": "b"}', [("E0312", 7, None)]),
        (json.dumps({"text": "▀titel\nx▄\n" + GOOD}), [("E0302", 8, None)]),
        (r'{"text": "\ud80"}', [("E0312", 9, None)]),
        (json.dumps({"text": GOOD, "id": "one"}), []),
        (json.dumps({"text": GOOD, "id": "one"}), [("E0318", 11, None)]),
    ],
    "ids.jsonl": [
        ('{"input_ids": [1, 5, 6]}', []),
        ('{"input_ids": [1, 1, 6]}', [("E0313", 2, None)]),
        ('{"input_ids": [1, 32000]}', [("E0314", 3, None)]),
        ('{"input_ids": [1, -5]}', [("E0314", 4, None)]),
        ('{"input_ids": [1, 5], "labels": [1]}', [("E0314", 5, None)]),
        ('{"input_ids": [1, 5], "labels": [1, 6]}', [("E0314", 6, None)]),
        ('{"input_ids": [1, 18446744073709551617]}', [("E0314", 7, None)]),
        ('{"input_ids": [1, 2.5]}', [("E0314", 8, None)]),
        ('{"input_ids": "1 2"}', [("E0312", 9, None)]),
    ],
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory, text_model):
    """All malformed files in one start; (file, diagnostics) and the job."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "texts").mkdir()
    for name, (content, _) in TEXTS.items():
        (folder / "texts" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for name, lines in LINES.items():
        (folder / name).write_text("\n".join(line for line, _ in lines) + "\n")
    job = Job(folder, text_model, sequence_len=512, datasets=[
        {"path": "texts/", "type": "blockml"}, {"path": "lines.jsonl", "type": "blockml_jsonl"},
        {"path": "ids.jsonl", "type": "tokenized"}])
    return job, must(train(job.config.name, "--json-errors", cwd=folder), 3)


def expected_places():
    for name, (_, problems) in TEXTS.items():
        yield from ((f"texts/{name}", *problem) for problem in problems)
    for name, lines in LINES.items():
        for _, problems in lines:
            yield from ((name, *problem) for problem in problems)


def test_every_problem_is_reported_at_its_location(printed):
    _, outcome = printed
    found = {(d["file"], d["code"], d["line"], d["column"]) for d in outcome.diagnostics}
    missing = [place for place in expected_places()
               if not any(all(want is None or want == have for want, have in zip(place, have_place))
                          for have_place in found)]
    assert not missing, f"{missing}\n{outcome!r}"


def test_no_other_problem_is_reported(printed):
    _, outcome = printed
    expected = [(file, code, line) for file, code, line, _ in expected_places()]
    for d in outcome.diagnostics:
        assert any(d["file"] == file and d["code"] == code and line in (None, d["line"])
                   for file, code, line in expected), d


def test_problems_carry_fixes_and_are_printed_safely(printed):
    job, outcome = printed
    for diagnostic in outcome.diagnostics:
        assert diagnostic["exit_code"] == 3
        assert diagnostic["help"] or diagnostic["notes"], diagnostic
    shown = must(train(job.config), 3).err
    assert "\x1b" not in shown and "\0" not in shown
    assert "midium" in shown and "`medium`" in shown, "the similar word"
    assert "looks like Windows-1252" in shown
    assert not job.run.exists()


def test_check_says_the_same(printed):
    job, outcome = printed
    checked = must(train(job.config.name, "--json-errors", "--check", cwd=job.folder), 3)
    assert checked.diagnostics == outcome.diagnostics


def test_more_than_fifty_are_counted(tmp_path, text_model):
    (tmp_path / "many.jsonl").write_text("{}\n" * 70)
    job = Job(tmp_path, text_model, datasets=[{"path": "many.jsonl", "type": "blockml_jsonl"}])
    outcome = must(train(job.config), 3)
    assert len(outcome.errors) == 50 and "and 20 more" in outcome.err


def test_conversations_that_are_too_long(tmp_path, text_model):
    (tmp_path / "a.blockml").write_text(scene("A", ["one two three four five six"] * 20))
    (tmp_path / "b.blockml").write_text(scene("B", ["short"]))
    job = Job(tmp_path, text_model, datasets=[{"path": "*.blockml", "type": "blockml"}], sequence_len=64)
    outcome = must(train(job.config, "--json-errors"), 3)
    assert outcome.errors == ["E0305"]
    (problem,) = outcome.diagnostics
    assert problem["file"] == str(tmp_path / "a.blockml") and len(problem["notes"]) == 1 and "(+" in problem["notes"][0]
    assert any("split" in text for text in problem["help"]) and any("drop" in text for text in problem["help"])
    assert not job.run.exists()


def test_nothing_that_is_trained(tmp_path, token_model, text_model):
    job = TokenJob(tmp_path, token_model)
    (tmp_path / "train.jsonl").write_text('{"input_ids": [1, 5], "labels": [-100, -100]}\n')
    assert must(train(job.config), 3).errors == ["E0306"]
    (tmp_path / "train.jsonl").write_text("")
    assert must(train(job.config), 3).errors == ["E0306"]
    (tmp_path / "train.jsonl").write_text('{"input_ids": [1, 5, 9]}\n{"input_ids": [1, 6, 9]}\n')
    job.write(test_datasets=..., eval_steps=..., val_set_size=2)
    assert must(train(job.config), 3).errors == ["E0306"]
    job.write(val_set_size=0, skip_samples=["train.jsonl:7"])
    assert must(train(job.config), 2).errors == ["E0117"]
    assert not job.run.exists()


def test_kinds_that_are_not_offered_and_files_that_are_not_regular(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, held_out=0)
    for kind in ("blockml_toml", "alpaca"):
        job.write(datasets=[{"path": "train.jsonl", "type": kind}])
        outcome = train(job.config)
        assert outcome.code in (2, 3) and len(outcome.errors) == 1 and kind in outcome.err, repr(outcome)
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "device.jsonl").symlink_to("/dev/zero")
    for name, code in {"folder.jsonl": "E0315", "device.jsonl": "E0212"}.items():
        job.write(datasets=[{"path": name, "type": "tokenized"}])
        outcome = must(train(job.config), 3)
        assert outcome.errors == [code], repr(outcome)
    job.write(datasets=[{"path": "train.jsonl", "type": "blockml_jsonl"}])
    assert "E0203" in must(train(job.config), 3).errors, "text needs the tokenizer"
    assert not job.run.exists()


def test_a_completion_is_trained_whole(tmp_path, text_model):
    (tmp_path / "a.txt").write_text("Just a text with ▀ and <b> in it.\n")
    job = Job(tmp_path, text_model, datasets=[{"path": "a.txt", "type": "completion"}], train_on_inputs=False)
    assert "15 targets + 0 masked + 1 first" in must(train(job.config, "--set", "max_steps=1")).err, "as in Axolotl"
