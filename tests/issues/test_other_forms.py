"""Files in another form than the one their reader is named after: JSON arrays and pretty-printed JSON for JSONL, blank lines, prompts of
Alpaca for logs, lists and East Asian colons in logs."""
import json
import subprocess

import pytest
from test_chats import HEADER, MAIN, imported, lines, turns

from shori_programs import BIN, must, run

DATA = BIN / "shori-data"
CHAT = [HEADER, *MAIN]
CHAT_TEXT = "▀message\nOsk: One.▄\n▀message\nMara: Two.▄\n▀message\nOsk: Three.▄\n"
LINE = {"text": "▀message\nOsk: One.▄\n"}
DATA_LINES = [{"text": f"▀message\nOsk: Number {i}.▄\n"} for i in range(30)]


def pretty(*objects):
    return "\n".join(json.dumps(each, indent=2) for each in objects) + "\n"


FORMS = {"array": json.dumps(CHAT), "pretty array": "\n" + json.dumps(CHAT, indent=2) + "\n", "pretty objects": pretty(*CHAT)}


@pytest.mark.parametrize("source", ["sillytavern", "auto"])
@pytest.mark.parametrize("form", FORMS)
def test_a_chat_in_any_form_of_json_is_read(tmp_path, source, form):
    _, made = imported(tmp_path, source, {"c.jsonl": FORMS[form]})
    assert list(made.values()) == [CHAT_TEXT]


def test_pretty_printed_conversations_are_read(tmp_path):
    objects = [json.loads(turns(("human", "Hi."), ("gpt", answer))) for answer in ("No.", "Yes.")]
    _, made = imported(tmp_path, "sharegpt", {"x.json": pretty(*objects)}, "--names", "user=Bree,char=Osk")
    assert sorted(made.values()) == [f"▀message\nBree: Hi.▄\n▀message\nOsk: {answer}▄\n" for answer in ("No.", "Yes.")]


@pytest.mark.parametrize("form", ["[{}", "{\n}\nx", "{\n  \"mes\": 1,\n"], ids=["array", "text after", "not closed"])
def test_broken_json_over_several_lines_is_one_error(tmp_path, form):
    outcome, made = imported(tmp_path, "sillytavern", {"c.jsonl": form}, code=3)
    assert len(outcome.codes) <= 2 and set(outcome.codes) == {"E0312"} and not made


@pytest.mark.parametrize("text", [json.dumps(DATA_LINES, indent=2), pretty(*DATA_LINES)], ids=["array", "objects"])
def test_data_in_another_form_is_named_once_with_a_command_that_works(tmp_path, text):
    path = tmp_path / "my data.jsonl"
    path.write_text(text)
    outcome = must(run(DATA, "check", path), 3)
    assert outcome.codes == ["E0312"] and "not JSONL" in outcome.err
    command = outcome.err.split("one object a line: `")[1].split("`")[0]
    subprocess.run(["/bin/sh", "-c", command], check=True)
    must(run(DATA, "check", path))
    assert path.read_text().count("\n") == 30


def test_blank_lines_of_jsonl_are_skipped_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + lines(LINE) + " \t\r\n" + lines({"text": "▀message\nOsk: Two.▄\n"}) + "\n\n")
    outcome = must(run(DATA, "check", path))
    assert "blank lines of JSONL skipped: 4 in 1 file" in outcome.out + outcome.err, repr(outcome)
    outcome, made = imported(tmp_path, "sharegpt", {"x.jsonl": "\n" + turns(("human", "Hi.")) + "\n"}, "--names", "user=Bree")
    assert len(made) == 1 and "blank lines of JSONL skipped: 2" in outcome.out


def test_prompts_of_alpaca_are_no_log(tmp_path):
    text = "### Instruction:\nName a lamp.\n\n### Response:\nArgand.\n"
    for source in ("plain", "auto"):
        outcome, made = imported(tmp_path, source, {"p.txt": text}, code=3)
        assert outcome.codes == ["E0312"] and "Alpaca" in outcome.err and not made


@pytest.mark.parametrize("log, speakers", [
    ("- Mira: a\n- Tam: dash\n", ["Mira", "Tam"]), ("* **Mira:** a\n• Tam: b\n", ["Mira", "Tam"]),
    ("### Human: a\n### Assistant: b\n", ["Human", "Assistant"]), ("老王：你好\n小李： 嗯：对\n", ["老王", "小李"]),
    ("**老王：**你好\n[12:30] 小李：嗯\n", ["老王", "小李"]),
    ("老王：你好\n小李：嗯：对\n（他笑了）\n小李：走\n", ["老王", "小李", "小李"]),
    ("Ольга: да\nСтарый Том: нет\nи ушёл\n", ["Ольга", "Старый Том"]),
    ("<tam> hi\n", ["tam"]), ("12:30 <Tam> x\n12:31 <mira_> y\n", ["Tam", "mira_"]),
    ("[12:30] <@Tam> x\n2024-01-02 12:31:05 <+mira> 1: y\n<~^-^> z\n", ["Tam", "mira", "^-^"])],
    ids=["dash", "star", "prompt", "wide", "wide bold", "wide twice", "Cyrillic", "nick", "time", "mode"])
def test_speakers_as_logs_write_them(tmp_path, log, speakers):
    _, made = imported(tmp_path, "plain", {"p.txt": log})
    text = next(iter(made.values()))
    assert [line.split(":")[0] for line in text.split("\n") if ": " in line] == speakers, text
    if "老王" in speakers:
        assert "老王: 你好▄" in text


def test_tags_are_no_speakers(tmp_path):
    text = "<think>\nHe waits.\n</think>\n<a href=x> y\n</p> z\n12 <b\n"
    outcome, made = imported(tmp_path, "plain", {"p.txt": text}, code=3)
    assert "no line begins with a speaker" in outcome.err and not made, repr(outcome)


def test_you_in_a_log_is_the_user(tmp_path):
    log = "Mira: Hi {{user}}.\nYou: Hello.\nMira: Ha.\n"
    _, made = imported(tmp_path, "plain", {"p.txt": log.replace("{{user}}", "you")}, "--names", "user=Bree")
    assert list(made.values()) == ["▀message\nMira: Hi you.▄\n▀message\nBree: Hello.▄\n▀message\nMira: Ha.▄\n"]
    outcome, _ = imported(tmp_path / "2", "plain", {"p.txt": "Mira: Hi.\nTam: Ho.\n"}, "--names", "user=Bree", code=2)
    assert outcome.codes == ["E0116"]


def test_what_is_left_out_is_said_once(tmp_path):
    outcome, _ = imported(tmp_path, "sillytavern", {"c.jsonl": lines(*CHAT[:2], {**MAIN[1], "swipes": ["a", "Two."]})})
    assert "not imported:\n  other swipes left out: 1" in outcome.out


@pytest.mark.parametrize("log, prose", [
    ("老王：你好\n他想了想才说：不。\n老王：走\n", "他想了想才说：不。"), ("Tam: hi\nон сказал: нет\nон сказал: да\nTam: ok\n", "он сказал: да"),
    ("Tam: hi\nОна ответила: нет\nTam: ok\n", "Она ответила: нет"),
    ("王：好\n第二天，她问：去吗？\n第二天，她问：来吗？\n王：好\n", "第二天，她问：去吗？"),
    ("サム：うん\n彼は言った：いや\n静かだった。\nサム：そう\n", "彼は言った：いや"),
    ("王：好\n天气：晴\n风很大。\n路很远。\n没有人。\n他走了。\n王：走\n", "天气：晴")],
    ids=["verb", "small letters", "small word", "clause", "Japanese", "once"])
def test_what_was_said_in_prose_is_no_speaker(tmp_path, log, prose):
    outcome, made = imported(tmp_path, "plain", {"p.txt": log})
    text = next(iter(made.values()))
    assert prose in text.split("▄")[0] and text.count("▀message") == 2, text
    assert ("lines with a colon taken as text" in outcome.out) == ("，" not in prose and "он" not in prose), outcome.out


@pytest.mark.parametrize("prose", ["他走了进来。\n他说：不。\n她又问：为什么？\n", "Он вошёл.\nОн сказал: нет.\nОна спросила: почему?\n",
                                   "He came.\nHe said: no.\nShe asked: why?\n"], ids=["Chinese", "Russian", "English"])
def test_prose_with_colons_is_no_log(tmp_path, prose):
    (tmp_path / "p.txt").write_text(prose)
    outcome = run(DATA, "check", tmp_path / "p.txt")
    assert outcome.code == 3 and "a log of lines" not in outcome.err + outcome.out, repr(outcome)
    (tmp_path / "p.txt").write_text("老王：你好\n小李：嗯\n" * 2)
    assert "a log of lines" in run(DATA, "check", tmp_path / "p.txt").err


def test_a_speaker_with_a_wide_colon_inside_a_message_is_found(tmp_path):
    text = "▀message\n老王: 你好\n小李：嗯▄\n▀message\n小李: 小李：好\n他说：不▄\n"
    (tmp_path / "p.blockml").write_text(text)
    outcome = run(DATA, "check", tmp_path / "p.blockml")
    shown = outcome.err + outcome.out
    assert "`小李:` begins a line inside a message" in shown and "structure/doubled-speaker" in shown, repr(outcome)
    assert "他说" not in shown.split("begins a line")[0], repr(outcome)
