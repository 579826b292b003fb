"""Imports that leave no handwork: macros, names, what is no story, logs, detection of formats, character cards, lorebooks."""
import base64
import json
import struct
import zipfile
import zlib

import pytest
import yaml
from test_chats import HEADER, imported, lines, said, turns, without_keys

from shori_programs import BIN, must, run
from terminals import Terminal

DATA = BIN / "shori-data"


def user(mes, name="Anon", **more):
    return {"name": name, "is_user": True, "is_system": False, "mes": mes, **more}


def chat(*messages):
    return {"c.jsonl": lines(HEADER, *messages)}


def only(made):
    assert len(made) == 1, made
    return next(iter(made.values()))


def test_macros_become_names(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", chat(
        said("Mira", "{{char}} waves at {{user}}. <USER>{{// a note}}!"), user("I am {{User}}, you are {{Char}}.{{newline}}Yes.")))
    assert only(made) == "▀message\nMira: Mira waves at Anon. Anon!▄\n▀message\nAnon: I am Anon, you are Mira.\nYes.▄\n"
    assert "macros replaced by names: 5" in outcome.out and "{{char}} -> Mira" in outcome.out


def test_macros_without_a_value_stay_and_are_named(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", chat(said("Mira", "It is {{time}}, {{roll:d6}}. {{random::red::blue}}")))
    assert only(made) == "▀message\nMira: It is {{time}}, {{roll:d6}}. red▄\n"
    assert "{{time}}" in outcome.out and "{{random}}, {{pick}} replaced by their first choice: 1" in outcome.out


def test_the_character_of_a_group_message_is_its_speaker(tmp_path):
    _, made = imported(tmp_path, "sillytavern", chat(said("Mira", "{{char}}."), said("Tam", "{{char}}."), user("{{group}}.")))
    assert only(made) == "▀message\nMira: Mira.▄\n▀message\nTam: Tam.▄\n▀message\nAnon: Mira, Tam.▄\n"


def test_names_rename_the_user_and_anyone_else(tmp_path):
    _, made = imported(tmp_path, "sillytavern", chat(said("Mira", "Hi {{user}}."), user("Hi."), said("Old Tam", "Ho.")),
                       "--names", "user=Ilario,Old Tam=Tam")
    assert only(made) == "▀message\nMira: Hi Ilario.▄\n▀message\nIlario: Hi.▄\n▀message\nTam: Ho.▄\n"


@pytest.mark.parametrize("source, name, text", [
    ("sillytavern", "c.jsonl", lines(said("Mira", "x"))), ("messages", "m.jsonl", lines({"messages": [
        {"role": "message", "name": "Mira", "content": "x"}]})), ("text", "t.txt", "▀message\nMira: x▄\n"),
    ("plain", "p.txt", "Mira: x\nTam: y\n"), ("limarp", "l.yaml",
                                              "names: {<FIRST>: Mira, <SECOND>: Tam}\nconversation: [{name: <FIRST>, text: x}]\n")])
def test_names_work_for_every_format_or_are_refused(tmp_path, source, name, text):
    _, made = imported(tmp_path, source, {name: text}, "--names", "Mira=Nia")
    assert only(made).startswith("▀message\nNia: x▄\n")
    outcome, _ = imported(tmp_path, source, {}, "--names", "Nobody=Nia", code=2)
    assert "Nobody" in outcome.err and "Mira" in outcome.err, "the speakers that there are"


@pytest.mark.parametrize("source, name", [("text", "t.txt"), ("plain", "p.txt")])
def test_sides_mean_nothing_where_there_are_none(tmp_path, source, name):
    text = {"t.txt": "▀message\nMira: x▄\n", "p.txt": "Mira: x\nTam: y\n"}[name]
    outcome, made = imported(tmp_path, source, {name: text}, "--names", "user=Nia", code=2)
    assert "`--names user=...`" in outcome.err and not made
    _, made = imported(tmp_path, source, {name: text.replace("x", "{{user}}")}, "--names", "user=Nia")
    assert "Mira: Nia" in only(made)


def test_names_written_twice(tmp_path):
    outcome, made = imported(tmp_path, "sillytavern", chat(said("Mira", 'Mira: Mira: "Both."'), said("Mira", "Mira:no"),
                                                           said("Mira", "Mira, she said")))
    assert only(made) == '▀message\nMira: "Both."▄\n▀message\nMira: Mira:no▄\n▀message\nMira: Mira, she said▄\n'
    assert "names written twice removed" in outcome.out


JUNK = "<think>plan\nmore</think>\n\nHello.\n![pic](https://example.org/a.png)\n```\nHP: 5\n```"


@pytest.mark.parametrize("options, text", [
    ([], "Hello.\n```\nHP: 5\n```"),
    (["--status", "drop"], "Hello."),
    (["--think", "keep", "--pictures", "keep"], JUNK),
])
def test_what_is_no_story_by_choice(tmp_path, options, text):
    outcome, made = imported(tmp_path, "sillytavern", chat(said("Mira", JUNK)), *options)
    assert only(made) == f"▀message\nMira: {text}▄\n"
    assert "<think> parts" in outcome.out and "pictures" in outcome.out


@pytest.mark.parametrize("mes, text", [("plan</think>Hi.", "Hi."), ("<think>never closed", "<think>never closed"),
                                       ("<thinking>a</thinking>b <thinking>c</thinking>d", "b d")])
def test_thinking_as_models_leave_it(tmp_path, mes, text):
    _, made = imported(tmp_path, "sillytavern", chat(said("Mira", mes)))
    assert only(made) == f"▀message\nMira: {text}▄\n"


def test_the_title_and_the_scenario_of_a_header(tmp_path):
    header = {"user_name": "Ilario", "character_name": "Mira", "chat_metadata": {"scenario": "{{char}} meets {{user}}."}}
    _, made = imported(tmp_path, "sillytavern", {"c.jsonl": lines(header, said("Mira", "Hi."))})
    assert only(made) == "▀title\nMira▄\n▀scenario\nMira meets Ilario.▄\n▀message\nMira: Hi.▄\n"


@pytest.mark.parametrize("who", ["char", "Mira"])
def test_the_title_is_the_new_name_of_the_character(tmp_path, who):
    header = {"user_name": "Ilario", "character_name": "Mira", "chat_metadata": {}}
    _, made = imported(tmp_path, "sillytavern", {"c.jsonl": lines(header, said("Mira", "Hi."))}, "--names", f"{who}=Yuki")
    assert only(made) == "▀title\nYuki▄\n▀message\nYuki: Hi.▄\n"


def test_the_title_of_limarp_and_the_system_of_sharegpt(tmp_path):
    text = "thread-title: Rain\nnames: {<FIRST>: A, <SECOND>: B}\nconversation: [{name: <FIRST>, text: x}]\n"
    assert only(imported(tmp_path, "limarp", {"l.yaml": text})[1]).startswith("▀title\nRain▄\n")
    line = lines({"system": "Be kind.", "title": "T", "conversations": [{"from": "user", "value": "x"}]})
    _, made = imported(tmp_path / "2", "sharegpt", {"x.jsonl": line}, "--names", "user=Bo")
    assert only(made) == "[INST] Be kind. [/INST]\n▀title\nT▄\n▀message\nBo: x▄\n"


LOG = "Brakk: Cold night.\nThe fire is low.\n\nLiese: Yes.\nHe said: nothing more.\nBrakk: https://example.org: no\n"
LOG_TEXT = ("▀message\nBrakk: Cold night.\nThe fire is low.▄\n▀message\nLiese: Yes.\nHe said: nothing more.▄\n"
            "▀message\nBrakk: https://example.org: no▄\n")


@pytest.mark.parametrize("text", [LOG, "\n".join("[12:30] " + line if line.startswith(("Brakk", "Liese")) else line
                                                  for line in LOG.split("\n")),
                                  LOG.replace("Brakk: ", "<Brakk> ").replace("Liese: ", "<Liese> "),
                                  LOG.replace("Brakk: ", "**Brakk:** ").replace("Liese: ", "**Liese**: "),
                                  LOG.replace("\n", "\r\n")])
def test_plain_logs(tmp_path, text):
    outcome, made = imported(tmp_path, "plain", {"log.txt": text})
    assert only(made) == LOG_TEXT
    assert "lines with a colon taken as text: 1 (`He said:`)" in outcome.out
    assert ("time stamps before speakers removed: 3\n" in outcome.out) == text.startswith("[12:30]"), outcome.out


def test_a_text_without_speakers_is_no_log(tmp_path):
    outcome, _ = imported(tmp_path, "plain", {"log.txt": "once upon a time\nthere was no name\n"}, code=3)
    assert outcome.codes == ["E0312"] and "Name: text" in outcome.err


FOREIGN = {"sillytavern": ("c.jsonl", lines(HEADER, said("Mira", "x"))), "sharegpt": ("x.jsonl", turns(("user", "x"))),
           "messages": ("m.json", json.dumps([{"messages": [{"role": "user", "content": "x"}]}])),
           "limarp": ("l.yaml", "names: {<FIRST>: A, <SECOND>: B}\nconversation: [{name: <FIRST>, text: x}]\n"),
           "plain": ("p.txt", LOG), "text": ("t.txt", "▀message\nA: x▄\n")}


@pytest.mark.parametrize("source", FOREIGN)
def test_auto_looks_at_the_file(tmp_path, source):
    name, text = FOREIGN[source]
    _, made = imported(tmp_path, "auto", {name: text}, "--names", "user=Bo,char=Mira")
    assert len(made) == 1 and "▀message\n" in only(made)


@pytest.mark.parametrize("source", [source for source in FOREIGN if source != "text"])
@pytest.mark.parametrize("reader", ["check", "sillytavern", "sharegpt", "text"])
def test_a_foreign_file_is_named_with_the_import_that_takes_it(tmp_path, source, reader):
    name, text = FOREIGN[source]
    if reader == source or (reader, source) == ("sharegpt", "messages"):
        return
    (tmp_path / name).write_text(text * 3 if name.endswith(".jsonl") else text)
    command = ["check", tmp_path / name] if reader == "check" else [
        "import", tmp_path / name, "--from", reader, "--out", tmp_path / "out", "--names", "user=A,char=B"]
    outcome = must(run(DATA, *command), 3)
    assert f"--from {source}" in outcome.err, repr(outcome)
    assert len(outcome.errors) == 1, "one error a file, not one a line"


@pytest.mark.parametrize("name, text, word", [
    ("a.jsonl", lines({"instruction": "x", "output": "y"}), "Alpaca"), ("l.json", json.dumps({"entries": {}}), "--cards"),
    ("k.json", json.dumps({"spec": "chara_card_v2", "data": {"name": "Mira"}}), "--cards"), ("n.txt", "nothing\n", "unknown form")])
def test_auto_names_what_it_cannot_take(tmp_path, name, text, word):
    outcome, _ = imported(tmp_path, "auto", {name: text}, code=3)
    assert word in outcome.err


def test_new_chats_beside_edited_ones(tmp_path):
    _, made = imported(tmp_path, "sillytavern", {"a.jsonl": lines(said("Mira", "x"))}, "--rating", "pg13")
    first = next(iter(made))
    edited = "▀title\nMine▄\n▀message\nMira: x▄\n"
    (tmp_path / "out" / first).write_text(edited)
    new = {"b.jsonl": lines(said("Mira", "y"))}
    refused, _ = imported(tmp_path, "sillytavern", new, "--rating", "pg13", code=2)
    assert "--skip-existing" in refused.err
    outcome, made = imported(tmp_path, "sillytavern", {}, "--rating", "pg13", "--skip-existing")
    ratings = made.pop("ratings.yaml")
    assert without_keys(made) == {"a.blockml": edited, "b.blockml": "▀message\nMira: y▄\n"}
    assert "left as they are: 1" in outcome.out
    assert ratings == "".join(f'"{name}": pg13\n' for name in made)


def test_a_folder_in_the_way_is_no_chat_to_skip(tmp_path):
    _, made = imported(tmp_path, "sillytavern", {"a.jsonl": lines(said("Mira", "x"))})
    path = tmp_path / "out" / next(iter(made))
    path.unlink()
    path.mkdir()
    for options in ((), ("--skip-existing",)):
        outcome = run(DATA, "import", tmp_path / "in", "--from", "sillytavern", "--out", tmp_path / "out", *options)
        assert outcome.code == 2 and outcome.errors == ["E0807"], repr(outcome)
        assert list((tmp_path / "out").iterdir()) == [path]


def files_of(names):
    return {path: lines(said(name, f"I am {name}.")) for path, name in names.items()}


@pytest.mark.parametrize("first, later", [
    ({"Anna/st.jsonl": "Anna", "Bob/st.jsonl": "Bob"}, {"Aaron/st.jsonl": "Aaron"}),
    ({"Мира.jsonl": "Мира", "Юрий.jsonl": "Юрий"}, {"Анна.jsonl": "Анна"}),
    ({"b/1.jsonl": "Bob"}, {"a/1.jsonl": "Anna", "c/1.jsonl": "Cid"})], ids=["one stem", "other letters", "on both sides"])
def test_new_chats_are_written_and_none_twice(tmp_path, first, later):
    imported(tmp_path, "sillytavern", files_of(first))
    outcome, made = imported(tmp_path, "sillytavern", files_of(later), "--skip-existing")
    names = [*first.values(), *later.values()]
    assert sorted(made.values()) == sorted(f"▀message\n{name}: I am {name}.▄\n" for name in names), repr(outcome)
    assert f"files written: {len(later)} " in outcome.out and f"already imported, unchanged: {len(first)}" in outcome.out


def test_file_names_keep_their_letters(tmp_path):
    _, made = imported(tmp_path, "sillytavern", files_of({"Мира и 東京.jsonl": "Мира"}))
    assert list(without_keys(made)) == ["Мира_и_東京.blockml"]
    must(run(DATA, "check", tmp_path / "out"))


def test_a_new_first_line_shifts_no_conversation(tmp_path):
    names = ("--names", "user=Bree", "--skip-existing")
    old = turns(("user", "One.")) + turns(("user", "Two."))
    imported(tmp_path, "sharegpt", {"x.jsonl": old}, *names)
    _, made = imported(tmp_path, "sharegpt", {"x.jsonl": turns(("user", "New.")) + old}, *names)
    assert sorted(made.values()) == [f"▀message\nBree: {text}.▄\n" for text in ("New", "One", "Two")]


@pytest.mark.parametrize("out", ["a: b #c", "- a", "Ünder", "1.5", "plain"])
def test_the_entry_that_is_shown_is_yaml(tmp_path, out):
    (tmp_path / "c.jsonl").write_text(lines(said("Mira", "x")))
    outcome = must(run(DATA, "import", "c.jsonl", "--from", "sillytavern", f"--out={out}", "--category", "high", cwd=tmp_path))
    shown = outcome.out.split("in a stage config:\n")[1]
    assert yaml.safe_load(shown) == {"datasets": [{"path": out, "type": "blockml", "category": "high"}]}, shown


def test_the_progress_line_is_gone_before_the_summary(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(said("Mira", "x")))
    with Terminal(DATA, "import", "c.jsonl", "--from", "sillytavern", "--out", "out", cwd=tmp_path) as terminal:
        assert terminal.finish() == 0
    assert b"\r\x1b[Kfiles read: 1" in terminal.raw, repr(terminal.raw)


# Cards ----------------------------------------------------------------------------------------------------------------

V1 = {"name": "Mira", "description": "{{char}} tends a lamp for {{user}}.", "personality": "calm", "scenario": "{{user}} arrives.",
      "first_mes": "Hello.", "mes_example": ""}
BOOK = {"entries": [{"keys": ["lamp"], "content": "The lamp never goes out.", "enabled": True, "insertion_order": 2},
                    {"keys": ["dragon"], "content": "Dragons.", "enabled": True, "insertion_order": 1},
                    {"keys": [], "constant": True, "content": "It rains.", "enabled": True, "insertion_order": 1}]}
V2 = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**V1, "character_book": BOOK}}
V3 = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {**V1, "nickname": "Mi", "character_book": BOOK}}


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + b"".join(chunks) + chunk(b"IEND", b"")


def text_chunk(keyword, card):
    return chunk(b"tEXt", keyword + b"\0" + base64.b64encode(json.dumps(card).encode()))


CARDS = {"v1.json": json.dumps(V1).encode(), "v1.png": png(text_chunk(b"chara", V1)), "v2.json": json.dumps(V2).encode(),
         "v2.png": png(text_chunk(b"chara", V2)), "v3.png": png(text_chunk(b"chara", V2), text_chunk(b"ccv3", V3)),
         "bom.json": b"\xef\xbb\xbf" + json.dumps(V1).encode()}
LAMP = chat(said("Mira", "The Lamp burns."), user("Good."))


def with_card(tmp_path, name, content, *options, code=0):
    (tmp_path / name).write_bytes(content)
    return imported(tmp_path, "sillytavern", LAMP, "--cards", tmp_path / name, *options, code=code)


@pytest.mark.parametrize("name", CARDS)
def test_cards_become_description_scenario_and_lore(tmp_path, name):
    outcome, made = with_card(tmp_path, name, CARDS[name])
    own = "Mi" if name == "v3.png" else "Mira"
    lore = "" if "1" in name or "bom" in name else "▀lore\nIt rains.▄\n▀lore\nThe lamp never goes out.▄\n"
    assert only(made) == (f"{lore}▀description\nMira\n{own} tends a lamp for Anon.\n\nPersonality: calm▄\n"
                          "▀scenario\nAnon arrives.▄\n▀message\nMira: The Lamp burns.▄\n▀message\nAnon: Good.▄\n")
    assert "cards read: 1" in outcome.out
    must(run(DATA, "check", tmp_path / "out"))


def test_a_card_follows_the_new_name(tmp_path):
    _, made = with_card(tmp_path, "a.json", json.dumps(V1).encode(), "--names", "user=Ilario,char=Nia")
    assert "▀description\nNia\nNia tends a lamp for Ilario." in only(made) and "▀scenario\nIlario arrives.▄" in only(made)


def test_a_card_of_someone_who_does_not_speak_is_named(tmp_path):
    outcome, made = with_card(tmp_path, "a.json", json.dumps({**V1, "name": "Zed"}).encode())
    assert "▀description" not in only(made) and "do not speak, not used: 1 (Zed)" in outcome.out


def test_a_lorebook_of_sillytavern(tmp_path):
    book = {"entries": {"0": {"key": ["lamp"], "keysecondary": [], "content": "A lamp.", "disable": False, "order": 100},
                        "1": {"key": ["burns"], "content": "Off.", "disable": True, "order": 1},
                        "2": {"key": ["lam"], "content": "Part of a word.", "order": 1}}}
    outcome, made = with_card(tmp_path, "world.json", json.dumps(book).encode())
    assert only(made).startswith("▀lore\nA lamp.▄\n▀message\n")
    assert "lorebooks read: 1" in outcome.out and "lore entries whose keys do not occur left out: 1" in outcome.out


@pytest.mark.parametrize("name, content, word", [
    ("a.png", png(), "no character card"),
    ("a.png", png(chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"x"))), "zTXt"),
    ("a.png", png(chunk(b"iTXt", b"ccv3\0\0\0\0\0x")), "iTXt"),
    ("a.png", png(chunk(b"tEXt", b"chara\0***")), "not base64"),
    ("a.png", png(text_chunk(b"chara", V1))[:60], "cut off"),
    ("a.json", b"{", "not JSON"),
    ("a.json", b'{"x": 1}', "neither a character card nor a lorebook"),
])
def test_cards_that_are_refused_by_name(tmp_path, name, content, word):
    outcome, made = with_card(tmp_path, name, content, code=3)
    assert word in outcome.err and name in outcome.err and not made


def test_cards_of_a_folder(tmp_path):
    folder = tmp_path / "characters"
    folder.mkdir()
    (folder / "Mira.png").write_bytes(CARDS["v1.png"])
    (folder / "photo.png").write_bytes(png())
    (folder / "settings.json").write_text("{}")
    outcome, made = imported(tmp_path, "sillytavern", LAMP, "--cards", folder)
    assert "▀description\nMira\n" in only(made) and "pictures without a card skipped: 1" in outcome.out


def two_cards(folder):
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_text(json.dumps(V1))
    (folder / "b.json").write_text(json.dumps({**V1, "description": "{{char}} sells wicks."}))
    return folder


def test_equal_cards_are_one_card(tmp_path):
    folder = tmp_path / "characters"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(V1))
    (folder / "copy.json").write_text(json.dumps(V1))
    (folder / "Mira.png").write_bytes(CARDS["v1.png"])
    outcome, made = imported(tmp_path, "sillytavern", LAMP, "--cards", folder, "--cards", folder / "a.json")
    assert only(made).count("▀description") == 1 and "cards read: 1" in outcome.out and "read once: 3" in outcome.out


def test_two_cards_of_a_name_are_refused_where_a_chat_needs_one(tmp_path):
    cards = two_cards(tmp_path / "characters")
    outcome, made = imported(tmp_path, "sillytavern", LAMP, "--cards", cards, code=3)
    assert outcome.err.count("two cards are called `Mira`") == 1 and not made
    _, made = imported(tmp_path / "other", "sillytavern", chat(said("Zed", "No lamp."), user("Good.")), "--cards", cards)
    assert "Zed: No lamp." in only(made)


def test_what_a_cards_folder_holds_besides_is_named(tmp_path):
    folder = tmp_path / "characters"
    folder.mkdir()
    (folder / "Mira.PNG").write_bytes(CARDS["v1.png"])
    (folder / "Tam.webp").write_bytes(b"RIFF")
    (folder / "other.json").write_text("{}")
    book = {"entries": {"0": {"key": ["x"], "content": "Off.", "disable": True}}}
    (folder / "world.json").write_text(json.dumps(book))
    outcome, _ = imported(tmp_path, "sillytavern", LAMP, "--cards", folder)
    assert "neither card nor lorebook, not used: 2" in outcome.out and "Tam.webp" in outcome.out and "other.json" in outcome.out
    assert "lore entries that are disabled or empty left out: 1" in outcome.out


def test_charx_is_unpacked_by_the_printed_command(tmp_path):
    path = tmp_path / "my Mira.charx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("card.json", json.dumps(V1))
        archive.writestr("assets/a.png", b"x")
    outcome, _ = imported(tmp_path, "sillytavern", LAMP, "--cards", path, code=3)
    assert f"unzip -p '{path}' card.json > '{tmp_path}/my Mira.json'" in outcome.err, repr(outcome)


@pytest.mark.parametrize("names, word", [("user=A,user=B", "two names"), ("user=A,human=B", "two names"), ("Mira=A,Mira=B", "two names"),
                                         ("user=A:B", "colon")])
def test_names_that_cannot_be(tmp_path, names, word):
    outcome, made = imported(tmp_path, "sillytavern", LAMP, "--names", names, code=2)
    assert outcome.codes == ["E0116"] and word in outcome.err and not made
