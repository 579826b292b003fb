"""Chats as programs save them: SillyTavern with hidden messages, groups, swipes, checkpoints; ShareGPT with all its roles;
messages in parts. An unknown role is named, and a broken file does not hide the others."""
import json
import re

import pytest

from shori_programs import BIN, must, run

DATA = BIN / "shori-data"


def lines(*objects):
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


def said(name, mes, **more):
    return {"name": name, "is_user": False, "is_system": False, "mes": mes, **more}


def without_keys(made):
    """Files as an import made them, by names without the keys that follow from the content."""
    return {re.sub(r"(-[0-9a-z]{12})+(?=\.)", "", name): text for name, text in made.items()}


def imported(tmp_path, source, files, *options, code=0):
    """The outcome, and what was written: {name: text}."""
    for name, content in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    outcome = must(run(DATA, "import", tmp_path / "in", "--from", source, "--out", tmp_path / "out", *options), code)
    return outcome, {path.name: path.read_text() for path in sorted((tmp_path / "out").glob("*"))}


HEADER = {"user_name": "unused", "character_name": "unused", "chat_metadata": {}}
HIDDEN = lines(HEADER, said("SillyTavern System", "Select a help topic", is_system=True, extra={"type": "help"}),
               said("Osk", "He lit the lamp.", is_system=True, extra={}),
               {"name": "Mara", "is_user": True, "is_system": True, "mes": '"A reply."', "extra": {}},
               said("System", "Night falls.", is_system=True, extra={"type": "narrator"}),
               said("Osk", "The lamp flickers."), {"name": "Mara", "is_user": True, "is_system": False, "mes": "Yes."})


def test_hidden_messages_are_part_of_the_story(tmp_path):
    """sillytavern-hidden: /hide sets is_system and nothing else."""
    outcome, made = imported(tmp_path, "sillytavern", {"chat.jsonl": HIDDEN})
    assert list(made.values()) == ['▀message\nOsk: He lit the lamp.▄\n▀message\nMara: "A reply."▄\n[INST] Night falls. [/INST]\n'
                                   "▀message\nOsk: The lamp flickers.▄\n▀message\nMara: Yes.▄\n"]
    assert "hidden messages (/hide) kept: 3" in outcome.out
    assert "notices of the program left out: 1 (help)" in outcome.out


TOOL = [{"id": "1", "displayName": "Roll", "name": "RollTheDice", "parameters": "{}", "result": "4"}]


@pytest.mark.parametrize("entry", [
    said("SillyTavern System", "[{}]", is_system=True, extra={"isSmallSys": True, "tool_invocations": TOOL}),
    said("SillyTavern System", "[{}]", is_system=True, extra={"isSmallSys": True, "tool_invocations": []}),
    said("Assistant", "[]", is_system=False, extra={"tool_invocations": TOOL}),
    said("SillyTavern System", "Chat saved.", is_system=True),
])
def test_calls_of_tools_are_notices(tmp_path, entry):
    chat = lines(HEADER, said("Osk", "I roll."), entry, {"name": "Mara", "is_user": True, "mes": "Four."})
    outcome, made = imported(tmp_path, "sillytavern", {"chat.jsonl": chat})
    assert list(made.values()) == ["▀message\nOsk: I roll.▄\n▀message\nMara: Four.▄\n"]
    assert "notices of the program left out: 1" in outcome.out, repr(outcome)


def test_small_messages_of_the_story_stay(tmp_path):
    """/sys and /sendas with compact=true set isSmallSys as well."""
    chat = lines(HEADER, said("SillyTavern System", "Night falls.", is_system=True, extra={"isSmallSys": True, "type": "narrator"}),
                 said("Osk", "I roll.", extra={"isSmallSys": True}), {"name": "Mara", "is_user": True, "mes": "Four."})
    _, made = imported(tmp_path, "sillytavern", {"chat.jsonl": chat})
    assert list(made.values()) == ["[INST] Night falls. [/INST]\n▀message\nOsk: I roll.▄\n▀message\nMara: Four.▄\n"]


def test_hidden_messages_are_left_out_on_request(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", {"chat.jsonl": HIDDEN}, "--hidden", "drop")
    assert list(made.values()) == ["▀message\nOsk: The lamp flickers.▄\n▀message\nMara: Yes.▄\n"]
    assert "hidden messages (/hide) left out: 3" in outcome.out


@pytest.mark.parametrize("kind", ["help", "welcome", "empty", "generic", "comment", "slash_commands", "formatting", "hotkeys",
                                  "macros", "welcome_prompt", "assistant_note", "group", "bookmark_created"])
def test_notices_of_the_program_are_left_out(tmp_path, kind):
    outcome, made = imported(tmp_path, "sillytavern", {"c.jsonl": lines(
        said("Osk", "One."), said("Note", "Not story", is_system=True, extra={"type": kind}), said("Osk", "Two."))})
    assert list(made.values()) == ["▀message\nOsk: One.▄\n▀message\nOsk: Two.▄\n"]
    assert f"({kind})" in outcome.out


@pytest.mark.parametrize("value", ["yes", 1, [], {}])
def test_a_message_that_may_be_hidden_or_not_is_refused(tmp_path, value):
    chat = lines(HEADER, said("Osk", "One.", is_system=value), said("Mara", "Two.", is_system=None))
    outcome, made = imported(tmp_path, "sillytavern", {"chat.jsonl": chat}, code=3)
    assert outcome.codes == ["E0312"] and "`is_system` is neither true nor false" in outcome.err and not made


def test_an_unknown_type_is_kept_and_named(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", {"c.jsonl": lines(said("Osk", "One.", extra={"type": "dream"}))})
    assert list(made.values()) == ["▀message\nOsk: One.▄\n"]
    assert "unknown `extra.type` kept: 1 (dream)" in outcome.out


def test_groups_swipes_and_names(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", {"g.jsonl": lines(
        said("[Fate] Saber", "Hm.", is_group=True, swipes=["No.", "Hm."], swipe_id=1, gen_started="x"),
        said("Yuki (Maid)", "Edited.", swipes=["Before the edit."], swipe_id=0, original_avatar="y.png"),
        said("Professor: Hale", "Both."), {"name": "Anon", "is_user": True, "mes": "All of you."})})
    assert list(made.values()) == ["▀message\nFate Saber: Hm.▄\n▀message\nYuki (Maid): Edited.▄\n▀message\nProfessor Hale: Both.▄\n"
                                   "▀message\nAnon: All of you.▄\n"]
    assert "`Professor: Hale` -> `Professor Hale`" in outcome.out
    assert "other swipes left out: 1" in outcome.out
    assert "gen_started" not in outcome.out, "ordinary members are not worth a word"


MAIN = [said("Osk", "One."), said("Mara", "Two."), said("Osk", "Three.")]


def test_checkpoints_that_a_chat_contains(tmp_path):
    checkpoint = {"chat_metadata": {"main_chat": "main"}, "user_name": "unused", "character_name": "unused"}
    files = {"main.jsonl": lines(HEADER, MAIN[0], {**MAIN[1], "extra": {"bookmark_link": "main - Checkpoint #1"}}, MAIN[2]),
             "main - Checkpoint #1.jsonl": lines(checkpoint, *MAIN[:2]),
             "main - Branch #1.jsonl": lines(checkpoint, *MAIN[:2], said("Osk", "Another end."))}
    outcome, made = imported(tmp_path, "sillytavern", files)
    assert sorted(without_keys(made)) == ["main.blockml", "main_-_Branch__1.blockml"]
    assert "checkpoints that another chat contains left out: 1" in outcome.out
    _, made = imported(tmp_path, "sillytavern", {}, "--checkpoints", "keep")
    assert len(made) == 3


def test_a_checkpoint_without_its_chat_is_kept(tmp_path):
    checkpoint = {"chat_metadata": {"main_chat": "gone"}}
    _, made = imported(tmp_path, "sillytavern", {"a.jsonl": lines(checkpoint, *MAIN), "b.jsonl": lines(checkpoint, *MAIN)})
    assert len(made) == 2


def turns(*pairs):
    return lines({"conversations": [{"from": who, "value": text} for who, text in pairs]})


@pytest.mark.parametrize("human, model", [("human", "gpt"), ("user", "assistant"), ("user", "chatgpt"), ("human", "bing"),
                                          ("human", "bard"), ("Human", "GPT")])
def test_all_words_for_the_two_sides(tmp_path, human, model):
    """sharegpt-user-assistant: both pairs mean the same."""
    _, made = imported(tmp_path, "sharegpt", {"x.jsonl": turns((human, "Do you sell wicks?"), (model, "Only three."))},
                       "--names", "human=Bree,gpt=Osk")
    assert list(made.values()) == ["▀message\nBree: Do you sell wicks?▄\n▀message\nOsk: Only three.▄\n"]


def test_system_and_tool_are_no_speakers(tmp_path):
    outcome, made = imported(tmp_path, "sharegpt", {"x.jsonl": turns(("system", "Be kind."), ("user", "Hi."), ("tool", "42"))},
                             "--names", "user=Bree,char=Osk")
    assert list(made.values()) == ["[INST] Be kind. [/INST]\n▀message\nBree: Hi.▄\n[INST] 42 [/INST]\n"]
    assert "turns of tools made instructions: 1 (tool)" in outcome.out


def test_an_unknown_role_is_named_and_can_be_a_speaker(tmp_path):
    files = {"x.jsonl": turns(("user", "Hi."), ("alien", "Zzt.")) * 3}
    outcome, made = imported(tmp_path, "sharegpt", files, "--names", "user=Bree,char=Osk", code=3)
    assert outcome.codes == ["E0312"] and "`alien`" in outcome.err and not made
    _, made = imported(tmp_path, "sharegpt", files, "--names", "user=Bree,char=Osk", "--names", "alien=Zark")
    assert len(made) == 1 and all("Zark: Zzt." in text for text in made.values()), "a copy is written once"


@pytest.mark.parametrize("content, text", [
    ([{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}], "One.\n\nTwo."),
    ([{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "x"}}], "Look."),
    (["One."], "One."),
])
def test_messages_in_parts(tmp_path, content, text):
    _, made = imported(tmp_path, "messages", {"m.jsonl": lines({"messages": [{"role": "user", "content": content},
                                                                             {"role": "assistant", "content": None}]})},
                       "--names", "user=Bree,char=Osk")
    assert list(made.values()) == [f"▀message\nBree: {text}▄\n"]


BROKEN = {"a.jsonl": '{"name": "A", "mes": "x"}\n{"name": "A",\n', "b.jsonl": lines(MAIN[0]), "c.jsonl": '{"mes": 5}\n'}


def test_all_problems_of_all_files_in_one_run(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", BROKEN, code=3)
    assert "a.jsonl:2" in outcome.err and "c.jsonl:1" in outcome.err
    assert not made


def test_skip_bad_writes_the_good_files_and_lists_the_others(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", BROKEN, "--skip-bad")
    assert list(without_keys(made)) == ["b.blockml"]
    assert "left out because of problems (--skip-bad): 2" in outcome.out
    assert "a.jsonl:2: " in outcome.out and "c.jsonl:1: " in outcome.out


def test_skip_bad_leaves_out_single_lines_of_many_conversations(tmp_path):
    files = {"x.jsonl": turns(("user", "One.")) + "{broken\n" + turns(("user", "Two."))}
    outcome, made = imported(tmp_path, "sharegpt", files, "--names", "user=Bree", "--skip-bad")
    assert len(made) == 2 and "x.jsonl:2: " in outcome.out


def test_skip_bad_skips_no_error_of_usage(tmp_path):
    """All files lack the names alike: nothing would be imported, without a word that an option is missing."""
    files = {"x.jsonl": turns(("user", "One.")), "y.jsonl": "{broken\n"}
    outcome, made = imported(tmp_path, "sharegpt", files, "--skip-bad", code=2)
    assert outcome.codes == ["E0116"] and "--names user=NAME" in outcome.err and not made, repr(outcome)


def test_a_file_with_many_problems_does_not_hide_another(tmp_path):
    outcome, _ = imported(tmp_path, "sillytavern", {"a.jsonl": '{"mes": 5}\n' * 500, "b.jsonl": '{"mes": 5}\n'}, code=3)
    assert "more problems in this file" in outcome.err
    assert "b.jsonl:1" in outcome.err
