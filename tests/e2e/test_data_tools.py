"""shori-data as a user meets it: imports, hostile files, progress, Ctrl-C, help, and the chapter of the README."""
import json
import os
import pty
import re
import resource
import select
import shlex
import signal
import subprocess
import textwrap
import time

import pytest

from shori_programs import BIN, PATIENCE, SOURCE, TOKENIZER, TRAIN, Running, environment, must, run

DATA = BIN / "shori-data"
COMMANDS = ["check", "stats", "inspect", "split", "import", "convert"]
MEMORY = 300 << 20  # bytes that no command needs more than


def data(*args, **options):
    return run(DATA, *args, **options)


def contents(folder):
    """Names are without the keys that imports make of the content."""
    return {re.sub(r"(-[0-9a-z]{12})+(?=\.)", "", str(path.relative_to(folder))): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def lines(*objects):
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects)


CHAT = [
    {"user_name": "unused", "character_name": "unused", "chat_metadata": {}},
    {"name": "Wenna", "is_user": True, "is_system": False, "mes": "\"Is this the last boat?\""},
    {"name": "Old Tam", "is_user": False, "is_system": False, "mes": "He looks up.\r\n\r\n\"It is.\"",
     "swipes": ["\"No.\"", "He looks up."], "swipe_id": 1},
    {"name": "Note", "is_system": True, "mes": "hidden", "extra": {"type": "comment"}},
    {"name": "System", "is_system": False, "mes": "Night falls.", "extra": {"type": "narrator"}},
    {"name": "Wenna", "is_user": True, "is_system": False, "mes": "\"Then wait for me.\""},
]
CHAT_TEXT = ('▀message\nWenna: "Is this the last boat?"▄\n▀message\nOld Tam: He looks up.\n\n"It is."▄\n'
             '[INST] Night falls. [/INST]\n▀message\nWenna: "Then wait for me."▄\n')

LIMARP = """names:
  <FIRST>: Wenna
  <SECOND>: Old Tam
personas:
  <FIRST>: a traveller
  <SECOND>: <SECOND> owns a boat..once
scenario: <FIRST> needs <SECOND>  .
conversation:
  - name: <FIRST>
    text: “Hello” !
  - name: <SECOND>
    text: well......
"""

# source -> (file, content, options, {file: content})
IMPORTS = {
    "sillytavern": ("Old Tam.jsonl", "\ufeff" + lines(*CHAT).replace("\n", "\r\n"), [],
                    {"Old_Tam.blockml": CHAT_TEXT}),
    "sharegpt": ("talk.json", json.dumps([
        {"id": "one", "conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "h"},
                                        {"from": "gpt", "value": "g"}, {"from": "Cat", "value": "meow"}]},
        {"conversations": [{"from": "gpt", "value": "▀g▄"}]}], indent=1), ["--names", "human=Wenna,gpt=Old Tam,Cat=Cat"],
                 {"one.blockml": "[INST] S [/INST]\n▀message\nWenna: h▄\n▀message\nOld Tam: g▄\n▀message\nCat: meow▄\n",
                  "talk.blockml": "▀message\nOld Tam: -g-▄\n"}),
    "messages": ("m.jsonl", lines({"messages": [
        {"role": "title", "content": "T"}, {"role": "user", "content": "u", "name": "Zed"},
        {"role": "assistant", "content": "a"}, {"role": "system", "content": "s"}]}), ["--names", "assistant=Tam"],
                 {"m.blockml": "▀title\nT▄\n▀message\nZed: u▄\n▀message\nTam: a▄\n[INST] s [/INST]\n"}),
    "limarp": ("forum/12.yaml", LIMARP, ["--limarp-clean"],
               {"limarp-forum-12.blockml": "▀description\nWenna\na traveller▄\n▀description\nOld Tam\nOld Tam owns a "
                                           "boat... once▄\n▀scenario\nWenna needs Old Tam .▄\n▀message\nWenna: \"Hello\"!▄\n"
                                           "▀message\nOld Tam: well...▄\n"}),
    "text": ("t.txt", "\ufeff▀message (length = Huge)\r\nWenna: hi (OOC: brb) there▄\r\n\r\n▀lore ▄▀message x▄", [],
             {"t.blockml": "▀message (length: huge)\nWenna: hi there▄\n▀ooc\nbrb▄\n▀message\nx▄\n"}),
}


@pytest.mark.parametrize("source", IMPORTS)
def test_imports_of_every_kind(tmp_path, source):
    name, text, options, expected = IMPORTS[source]
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode())
    command = ["import", path.parent, "--from", source, "--out", tmp_path / "out", *options]
    printed = must(data(*command))
    assert contents(tmp_path / "out") == {file: text.encode() for file, text in expected.items()}
    assert f"files written: {len(expected)} " in printed.out
    # The same again writes nothing, and what was made passes the check and is a fixed point of an import of text.
    again = must(data(*command))
    assert f"already imported, unchanged: {len(expected)}\n" in again.out
    must(data("check", tmp_path / "out"))
    if source == "text":
        stable = must(data("import", tmp_path / "out", "--from", "text", "--out", tmp_path / "again"))
        assert "changes: none" in stable.out
        assert contents(tmp_path / "again") == {"t.blockml": expected["t.blockml"].encode()}


@pytest.mark.parametrize("form", ["yaml", "jsonl"])
def test_imports_as_yaml_and_jsonl_say_the_same(tmp_path, form):
    (tmp_path / "c.jsonl").write_text(lines(*CHAT))
    must(data("import", tmp_path / "c.jsonl", "--from", "sillytavern", "--out", tmp_path / "out", "--format", form,
              "--category", "high", "--rating", "pg13"))
    made = contents(tmp_path / "out")
    assert list(made) == [f"c.{form}"]
    text = made[f"c.{form}"].decode()
    assert "high" in text and "pg13" in text
    must(data("convert", tmp_path / "out", "--to", "blockml", "--out", tmp_path / "back"))
    assert list(contents(tmp_path / "back").values()) == [CHAT_TEXT.encode()]


def test_lengths_are_added_where_there_are_none(tmp_path):
    (tmp_path / "t.txt").write_text("▀message (length: huge)\nA: x▄\n▀message\nA: y▄\n")
    command = ["import", tmp_path / "t.txt", "--from", "text", "--out", tmp_path / "out", "--lengths", "auto"]
    must(data(*command, env={"SHORI_TOKENIZER": ""}), 3)
    must(data(*command, "--tokenizer", TOKENIZER, env={"SHORI_TOKENIZER": ""}))
    assert contents(tmp_path / "out") == {
        "t.blockml": "▀message (length: huge)\nA: x▄\n▀message (length: nano)\nA: y▄\n".encode()}


DAMAGED = {
    "sillytavern": ("bad.jsonl", lines(*CHAT) + '{"name": "Wenna", "mes": \n', [], ("E0312", 7, 26)),
    "sharegpt": ("bad.json", '[{"conversations": []},\n{"conversations": 5}]', ["--names", "human=A,gpt=B,Cat=Cat"],
                 ("E0312", 2, 19)),
    "messages": ("bad.jsonl", '{"messages": []}\n5\n', [], ("E0312", 2, 1)),
    "limarp": ("bad.yaml", LIMARP + "  - name: Cat\n    text: x\n", [], ("E0312", 13, 11)),
    "text": ("bad.txt", "▀message\r\nx▄\r\n▀titel\r\ny▄", [], ("E0302", 3, 2)),
}


@pytest.mark.parametrize("source", DAMAGED)
def test_damaged_files_are_reported_with_their_location_and_nothing_is_written(tmp_path, source):
    name, text, options, problem = DAMAGED[source]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(text, newline="")
    good, good_text, good_options, _ = IMPORTS[source]
    (tmp_path / "in" / good).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / good).write_bytes(good_text.encode())
    printed = must(data("--json-errors", "import", tmp_path / "in", "--from", source, "--out", tmp_path / "out",
                     *(options or good_options)), 3)
    assert [(d["code"], d["line"], d["column"]) for d in printed.diagnostics] == [problem], repr(printed)
    assert printed.diagnostics[0]["file"].endswith(name)
    assert not (tmp_path / "out").exists()


def test_an_import_never_overwrites(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(*CHAT))
    must(data("import", tmp_path / "c.jsonl", "--from", "sillytavern", "--out", tmp_path / "out"))
    next((tmp_path / "out").iterdir()).write_text("mine")
    printed = must(data("import", tmp_path / "c.jsonl", "--from", "sillytavern", "--out", tmp_path / "out"), 2)
    assert printed.codes == ["E0807"]
    assert contents(tmp_path / "out") == {"c.blockml": b"mine"}


def test_usage_errors_of_import(tmp_path):
    (tmp_path / "s.jsonl").write_text(lines({"conversations": [{"from": "human", "value": "x"}]}))
    command = ["import", tmp_path / "s.jsonl", "--out", tmp_path / "out"]
    assert must(data(*command, "--from", "sharegpt"), 2).codes == ["E0116"]
    assert must(data(*command, "--from", "sharegpt", "--names", "Wenna"), 2).codes == ["E0116"]
    assert must(data(*command, "--from", "sharegpt", "--names", "human=,gpt=x"), 2).codes == ["E0116"]
    wrong = must(data(*command, "--from", "word"), 2).err
    assert wrong.startswith("--from word: choose limarp, sharegpt, messages, sillytavern, text, plain or auto\n"), wrong
    assert must(data("imprt"), 2).err.startswith("unknown command `imprt`; did you mean `import`?\n")
    must(data(*command), 2)
    assert must(data("import", tmp_path / "none.jsonl", "--from", "messages", "--out", tmp_path / "out"), 3).codes == [
        "E0315"]


# Hostile files ------------------------------------------------------------------------------------------------------


def run_measured(*args):
    """The outcome, and the most memory (bytes) that the program held."""
    with subprocess.Popen([str(DATA), *map(str, args)], env=environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))) as process:
        out = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, out, usage.ru_maxrss * 1024


def hostile_files(folder):
    """name -> how to import it; each is refused."""
    with open(folder / "gigabyte.txt", "wb") as file:  # a hole: no disk is used
        file.truncate(1 << 30)
    for name in ["gigabyte.jsonl", "gigabyte.yaml", "gigabyte.blockml"]:
        os.link(folder / "gigabyte.txt", folder / name)
    (folder / "long_line.jsonl").write_bytes(b'{"text": "' + b"a" * (65 << 20) + b'"}\n')
    (folder / "brackets.jsonl").write_bytes(b"[" * (60 << 20))
    (folder / "values.jsonl").write_bytes(b'{"messages": [' + b"1," * (30 << 20) + b"1]}")
    (folder / "open_array.json").write_bytes(b'[{"conversations": "' + b"\\\"" * (33 << 20))
    (folder / "blocks.blockml").write_bytes("▀ooc\nx▄\n".encode() * 1_000_001)
    (folder / "opens.blockml").write_bytes("▀".encode() * (10 << 20))
    (folder / "instructions.txt").write_bytes(b"[INST](OOC:" * (4 << 20))
    (folder / "nests.yaml").write_bytes(b"[" * (8 << 20))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    hostile_files(folder)
    yield folder
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("name", ["gigabyte.txt", "gigabyte.jsonl", "gigabyte.yaml", "gigabyte.blockml",
                                  "long_line.jsonl", "brackets.jsonl", "values.jsonl", "blocks.blockml",
                                  "opens.blockml", "nests.yaml"])
def test_hostile_files_are_refused_in_bounded_memory(hostile, name):
    code, out, memory = run_measured("check", hostile / name)
    assert code == 3, out[:2000]
    assert re.search(r"\[E03\d\d\]", out), out[:2000]
    assert len(out) < 100_000
    assert memory < MEMORY, f"{memory >> 20} MiB"


@pytest.mark.parametrize("name, source", [
    ("gigabyte.txt", "text"), ("gigabyte.yaml", "limarp"), ("gigabyte.jsonl", "sharegpt"),
    ("gigabyte.jsonl", "sillytavern"), ("long_line.jsonl", "messages"), ("brackets.jsonl", "messages"),
    ("brackets.jsonl", "sillytavern"), ("values.jsonl", "messages"), ("open_array.json", "sharegpt"),
    ("opens.blockml", "text"), ("instructions.txt", "text"), ("nests.yaml", "limarp")])
def test_hostile_imports_are_refused_in_bounded_memory(hostile, tmp_path, name, source):
    code, out, memory = run_measured("import", hostile / name, "--from", source, "--out", tmp_path / "out",
                                     "--names", "human=A,gpt=B")
    assert code == 3, out[:2000]
    assert re.search(r"\[E03\d\d\]", out), out[:2000]
    assert len(out) < 100_000
    assert memory < MEMORY, f"{memory >> 20} MiB"
    assert not (tmp_path / "out").exists()


# Long work ----------------------------------------------------------------------------------------------------------


def on_a_terminal(*args, cwd):
    """What the program writes to a terminal on stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([str(DATA), *map(str, args)], cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown, end = b"", time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ready, _, _ = select.select([ours], [], [], 1)
            try:
                piece = os.read(ours, 4096) if ready else b""
            except OSError:  # the other end is closed
                break
            if ready and not piece:
                break
            shown += piece
        os.close(ours)
        process.wait(PATIENCE)
    return process.returncode, shown.decode(errors="replace")


def test_long_work_shows_progress_on_a_terminal_only(tmp_path):
    (tmp_path / "c.jsonl").write_text(lines(*CHAT))
    must(data("import", "c.jsonl", "--from", "sillytavern", "--out", "mine", cwd=tmp_path))
    works = {"check": ["check", "mine"], "stats": ["stats", "mine"],
             "split": ["split", "mine", "--budget", "100", "--out", "parts"],
             "convert": ["convert", "mine", "--to", "yaml", "--out", "yaml"],
             "import": ["import", "c.jsonl", "--from", "sillytavern", "--out", "again"]}
    for name, args in works.items():
        code, shown = on_a_terminal(*args, cwd=tmp_path)
        assert code == 0, shown
        assert re.search(r"\r\x1b\[K\w+ing [\d.]+ \w+ of ", shown), f"{name}: {shown!r}"
        assert shown.endswith("\r\x1b[K") or shown.endswith("\n"), f"the live line of {name} is taken away: {shown!r}"
    outcome = must(data("import", "c.jsonl", "--from", "sillytavern", "--out", "third", cwd=tmp_path))
    assert outcome.err == "", "no progress where nobody looks"


def stop_when_files_appear(folder, *args):
    """Ctrl-C once the first file is there."""
    with Running(DATA, *args) as program:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and program.process.poll() is None:
            if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
                break
            time.sleep(0.002)
        program.signal(signal.SIGINT)
        return program.finish()


@pytest.mark.parametrize("command", ["import", "split", "convert"])
def test_ctrl_c_leaves_nothing_half_written(tmp_path, command):
    count = 800
    body = " ".join(f"word{i}" for i in range(300))
    text = "▀title\nt▄\n" + "".join(f"▀message\nA: {body} {i}▄\n" for i in range(8))
    turns = [{"role": "title", "content": "t"}]
    turns += [{"role": "message", "name": "A", "content": f"{body} {i}"} for i in range(8)]
    (tmp_path / "m.jsonl").write_text("".join(lines({"id": f"c{i}", "messages": turns}) for i in range(count)))
    (tmp_path / "t.jsonl").write_text("".join(lines({"id": f"c{i}", "text": text}) for i in range(count // 8)))
    out = tmp_path / "out"
    args = {"import": ["import", tmp_path / "m.jsonl", "--from", "messages"],
            "split": ["split", tmp_path / "t.jsonl", "--budget", "4000"],
            "convert": ["convert", tmp_path / "t.jsonl", "--to", "blockml"]}[command]
    outcome = stop_when_files_appear(out, *args, "--out", out)
    assert outcome.code in (0, 130), repr(outcome)
    made = contents(out)
    assert made
    if command != "split":
        assert set(made.values()) == {text.encode()}
    assert not [name for name in made if not name.endswith(".blockml")], "no temporary file is left"
    must(data("check", out, "--format", "short"))
    # The same command goes on where it was stopped.
    must(data(*args, "--out", out))


# Help and README ----------------------------------------------------------------------------------------------------


def test_each_command_shows_an_example_of_its_own_options():
    for command in COMMANDS:
        text = must(data(command, "--help")).out
        examples = re.findall(r"shori-data (\w+)([^\n]*)", re.split(r"Examples?:", text)[1])
        assert examples and all(name == command for name, _ in examples), text
        described = re.split(r"Examples?:", text)[0]
        for _, rest in examples:
            for option in re.findall(r"(--[a-z-]+)", rest):
                assert option in described, f"{option} of the example of `{command}` is no option"
    assert "Example:" in must(data("--help")).out


def test_the_readme_leads_from_a_chat_to_a_stage_config(tmp_path, text_model):
    """Runs the commands of the chapter, in order, on a SillyTavern chat."""
    readme = (SOURCE / "README.md").read_text()
    chapter = readme.split("## Your data")[1].split("\n## ")[0]
    (tmp_path / "chats").mkdir()
    for number in range(3):
        chat = CHAT[:1] + [dict(line, mes=f"{line['mes']} {'again ' * number}{number}") for line in CHAT[1:]]
        (tmp_path / "chats" / f"Old Tam {number}.jsonl").write_text(lines(*chat))
    os.symlink(text_model, tmp_path / "model")
    text = textwrap.dedent(chapter.replace("models/Mistral-7B-Instruct-v0.2", "model"))
    blocks = [(kind, textwrap.dedent(block)) for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.S)]
    commands = [line for kind, block in blocks if kind == "sh" for line in block.splitlines() if line.strip()]
    configs = [block for kind, block in blocks if kind == "yaml" and "base_model" in block]
    assert len(configs) == 1
    (tmp_path / "stage_mine.yaml").write_text(configs[0])
    assert {shlex.split(line)[1] for line in commands if line.startswith("shori-data")} >= {"import", "check", "stats",
                                                                                         "inspect"}
    for line in commands:
        program, *args = shlex.split(line, comments=True)
        args += ["--set", "device=cpu"] if program == "shori-train" else []
        must(run({"shori-data": DATA, "shori-train": TRAIN}[program], *args, cwd=tmp_path, env={"SHORI_TOKENIZER": ""}))


def test_the_yaml_conversation_of_the_readme_is_read(tmp_path):
    (example,) = re.findall(r"In YAML .*? a conversation is\s+`(\{.*\})`\.$", (SOURCE / "README.md").read_text(), re.M | re.S)
    (tmp_path / "a.yaml").write_text(example)
    must(data("convert", tmp_path / "a.yaml", "--to", "blockml", "--out", tmp_path / "out"))
    (made,) = (tmp_path / "out").iterdir()
    assert made.read_text() == ("▀title\nDusk▄\n▀description\nOld Tam\nA ferryman.▄\n[INST] Keep it short. [/INST]\n"
                                '▀message (length: tiny)\nOld Tam: "Last boat."▄\n▀message\nIt left.▄\n')
