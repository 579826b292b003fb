"""Text files as editors and programs save them: what is harmless is normalized and counted by all readers and imports, what is
not is refused with a command that makes the file readable. Each such command is run here on the file it was printed for."""
import bz2
import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
import zipfile

import pytest

from shori_programs import BIN, must, run, train
from small_jobs import TokenJob

DATA = BIN / "shori-data"
TEXT = '▀message\nBree: "Do you sell wicks?"▄\n▀message\nOsk: "Only three."▄\n'
LINE = json.dumps({"text": TEXT}, ensure_ascii=False) + "\n"
YAML = "messages:\n  - text: It is late.\n"
CHAT = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in [
    {"name": "Osk", "is_user": False, "mes": "The lamp flickers. “You came.”"}, {"name": "Mara", "is_user": True, "mes": "Yes."}])
TURNS = json.dumps({"messages": [{"role": "message", "name": "Osk", "content": "café ▀"}]}, ensure_ascii=False) + "\n"
LOG = "Osk: The lamp – it flickers.\nMara: Yes.\n"
LIMARP = "names: {<FIRST>: A, <SECOND>: B}\nconversation:\n  - {name: <FIRST>, text: x…}\n"
# Each reader: the name of its file, a good text, and the command that reads it.
READERS = {
    "blockml": ("a.blockml", TEXT, ["check"]),
    "jsonl": ("a.jsonl", LINE, ["check"]),
    "yaml": ("a.yaml", YAML, ["check"]),
    "text": ("a.txt", TEXT, ["import", "--from", "text"]),
    "sillytavern": ("a.jsonl", CHAT, ["import", "--from", "sillytavern"]),
    "messages": ("a.jsonl", TURNS, ["import", "--from", "messages"]),
    "plain": ("a.txt", LOG, ["import", "--from", "plain"]),
    "limarp": ("a.yaml", LIMARP, ["import", "--from", "limarp"]),
}


def read(reader, tmp_path, content):
    """The outcome of reading a file of that content in a folder with a space in its name, and the file."""
    name, _, command = READERS[reader]
    path = tmp_path / "my data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    more = ["--out", tmp_path / "out"] if command[0] == "import" else []
    return run(DATA, command[0], path, *command[1:], *more), path


FORMS = {
    "crlf": (lambda text: text.replace("\n", "\r\n").encode(), "line ends made LF"),
    "cr": (lambda text: text.replace("\n", "\r").encode(), "line ends made LF"),
    "bom": (lambda text: text.encode("utf-8-sig"), "byte order marks removed"),
    "utf-16": (lambda text: text.encode("utf-16"), "files read as UTF-16"),
    "utf-16be bom": (lambda text: b"\xfe\xff" + text.encode("utf-16-be"), "files read as UTF-16"),
    "utf-16le": (lambda text: text.encode("utf-16-le"), "files read as UTF-16"),
    "utf-16be crlf": (lambda text: text.replace("\n", "\r\n").encode("utf-16-be"), "line ends made LF"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reader", READERS)
def test_harmless_forms_are_read_and_counted(tmp_path, reader, form):
    write, counted = FORMS[form]
    plain = must(read(reader, tmp_path, READERS[reader][1].encode())[0])
    expected = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*")}
    outcome = must(read(reader, tmp_path, write(READERS[reader][1]))[0])
    assert counted in outcome.out, repr(outcome)
    assert counted not in plain.out
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*")} == expected


def run_fix(outcome, code="E0304"):
    """Runs the command of the first help, as a user pastes it."""
    assert outcome.code == 3 and code in outcome.codes, repr(outcome)
    helps = re.findall(r"= help: (.*)", outcome.err)
    command = re.sub(r"^[a-z][a-z ]*[a-z]: ", "", helps[0])
    subprocess.run(["bash", "-c", command], check=False, capture_output=True)
    return command


def inside(text, byte):
    """The text with a byte in the middle of a word of prose."""
    for word in [b"Only", b"late", b"lamp", b"caf", b"text: x"]:
        if word in text.encode():
            return text.encode().replace(word, word + byte, 1)
    raise AssertionError(text)


REFUSED = {
    "nul": lambda text: inside(text, b"\0"),
    "windows-1252": lambda text: text.encode("cp1252", errors="ignore"),
    "one wrong byte": lambda text: inside(text, b"\x93"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "utf-32": lambda text: text.encode("utf-32"),
}


@pytest.mark.parametrize("form", REFUSED)
@pytest.mark.parametrize("reader", READERS)
def test_a_refused_file_is_readable_after_the_printed_command(tmp_path, reader, form):
    if form == "windows-1252":
        if reader not in ("sillytavern", "plain", "limarp"):
            return  # the others hold block characters, or nothing but ASCII
    outcome, path = read(reader, tmp_path, REFUSED[form](READERS[reader][1]))
    command = run_fix(outcome)
    assert not list(path.parent.glob("*.new")), command
    again = read(reader, tmp_path, path.read_bytes())[0]
    assert again.code == 0, f"{command}\n{again!r}"


PARQUET_COMMAND = r"= help: write its rows as JSONL, and name that file instead: (python3 -c '.*' \S*/a.parquet \S*/a.jsonl)"


@pytest.mark.parametrize("path", ["d/a.parquet", "d", "d/*.parquet"])
@pytest.mark.parametrize("options", [(), ("--type", "blockml_jsonl"), "import"], ids=["no type", "type", "import"])
def test_parquet_is_named(tmp_path, options, path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.parquet").write_bytes(b"PAR1\x15\x04" + b"\0\1" * 40 + b"PAR1")
    if options == "import" and "*" in path:
        return  # the shell expands it
    command = ["import", tmp_path / path, "--from", "sharegpt", "--out", tmp_path / "out"] if options == "import" else [
        "check", tmp_path / path, *options]
    outcome = must(run(DATA, *command), 3)
    assert outcome.errors == ["E0304"] and "Parquet" in outcome.err, repr(outcome)
    assert re.search(PARQUET_COMMAND, outcome.err), repr(outcome)


def test_the_command_for_parquet_makes_jsonl(tmp_path):
    """With a stand-in for pandas, whose real functions have these names and arguments."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1" * 4)
    (tmp_path / "pandas.py").write_text(
        "class read_parquet:\n    def __init__(self, path): open(path)\n"
        "    def to_json(self, path, orient, lines, force_ascii):\n"
        "        assert (orient, lines, force_ascii) == ('records', True, False)\n"
        f"        open(path, 'w').write({LINE!r})\n")
    help_text = re.search(PARQUET_COMMAND, run(DATA, "check", tmp_path / "a.parquet").err)
    subprocess.run(["bash", "-c", help_text[1]], check=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    must(run(DATA, "check", tmp_path / "a.jsonl"))


@pytest.mark.parametrize("content, missing", [
    (gzip.compress(LINE.encode() * 99)[:60], None), (bz2.compress(LINE.encode() * 99)[:60], None),
    (lzma.compress(LINE.encode() * 99)[:80], None), (b"\x28\xb5\x2f\xfd\0\0\0", None), (b"PK\x03\x04 cut off", None),
    (LINE.replace("Only", "Only \u2013 caf").encode() + b"\xe9", "iconv"), (LINE.replace("Only", "On\x01ly").encode("utf-16"), "iconv"),
    (TEXT.encode("utf-32"), "iconv"), (LINE.encode().replace(b"Only", b"On\0ly"), "tr"),
], ids=["gzip", "bzip2", "xz", "zstd", "zip", "utf-8", "utf-16", "utf-32", "nul"])
def test_a_command_that_fails_leaves_the_file_as_it_was(tmp_path, content, missing):
    """Cut files, and programs that are not installed: the printed command must not put an empty file over the user's."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    outcome = run(DATA, "check", path)
    helps = re.findall(r"= help: (.*)", outcome.err)
    commands = [re.sub(r"^[a-z][a-z ]*[a-z]: ", "", text) for text in helps if " > " in text]
    if not commands:
        pytest.fail(repr(outcome))
    search = tmp_path / "bin"
    search.mkdir()
    for name in ["mv", "test", "cat", "tr", "gzip", "bzip2", "xz", "sh"]:
        if name != missing and shutil.which(name):
            (search / name).symlink_to(shutil.which(name))
    subprocess.run([shutil.which("bash"), "-c", commands[0]], check=False, capture_output=True, env={"PATH": str(search)})
    assert path.read_bytes() == content, commands[0]


def test_a_command_writes_to_the_target_of_a_link_and_over_no_other_file(tmp_path):
    target = tmp_path / "target.jsonl"
    target.write_bytes(gzip.compress(LINE.encode()))
    (tmp_path / "target.jsonl.new").write_text("mine")
    (tmp_path / "a.jsonl").symlink_to(target)
    run_fix(run(DATA, "check", tmp_path / "a.jsonl"))
    assert (tmp_path / "a.jsonl").is_symlink() and target.read_text() == LINE
    assert (tmp_path / "target.jsonl.new").read_text() == "mine"


def test_fix_in_place_writes_to_the_target_of_a_link(tmp_path):
    target = tmp_path / "real" / "target.blockml"
    target.parent.mkdir()
    target.write_text(TEXT.replace("Only three.", "Only  three.  Yes."))
    target.chmod(0o600)
    (tmp_path / "a.blockml").symlink_to("real/target.blockml")
    outcome = must(run(DATA, "check", tmp_path / "a.blockml", "--fix", "--in-place"))
    assert "1 file changed" in outcome.out, repr(outcome)
    assert (tmp_path / "a.blockml").is_symlink() and "Only three. Yes." in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600 and len(list(target.parent.iterdir())) == 1


def test_a_zip_file_is_unpacked_by_the_printed_command(tmp_path):
    path = tmp_path / "a.jsonl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jsonl", LINE)
    outcome = must(run(DATA, "check", path), 3)
    assert "unzip -p" in outcome.err


def test_windows_line_ends_inside_json_strings(tmp_path):
    """cr-in-json: the CR is written as two characters, so no tool for line ends finds it."""
    text = TEXT.replace("\n", "\r\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    outcome = must(run(DATA, "check", tmp_path / "a.jsonl"))
    assert "normalized: line ends made LF: 4 in 1 file" in outcome.out, repr(outcome)
    must(run(DATA, "convert", tmp_path / "a.jsonl", "--to", "blockml", "--out", tmp_path / "out"))
    assert next((tmp_path / "out").iterdir()).read_bytes() == TEXT.encode()


@pytest.mark.parametrize("escape, counted", [("\\ud83d", "halves of characters deleted"), ("\\r\\n", "line ends made LF"),
                                             ("\\r", "line ends made LF"), ("\\udc00\\ud800", "halves of characters deleted")])
def test_escapes_in_json_strings(tmp_path, escape, counted):
    line = LINE.replace("Only", "Only " + escape)
    (tmp_path / "a.jsonl").write_text(line)
    assert counted in must(run(DATA, "check", tmp_path / "a.jsonl")).out
    chat = CHAT.replace("Yes.", "Yes" + escape + ".")
    (tmp_path / "c.jsonl").write_text(chat)
    outcome = must(run(DATA, "import", tmp_path / "c.jsonl", "--from", "sillytavern", "--out", tmp_path / "out"))
    assert counted in outcome.out, repr(outcome)


@pytest.mark.parametrize("escape", ["\\u0000", "\\u0007", "\\b", "\\f", "\\u001B\\u001b", "\\\\\\\\\\b\\b", "\\u007f", "\t", "\x01"])
def test_control_characters_in_json_strings(tmp_path, escape):
    path = tmp_path / "my data.jsonl"
    path.write_text(LINE.replace("Only", "Only " + escape + "x"))
    outcome = run(DATA, "check", path)
    if outcome.code == 0:
        pytest.fail(f"a control character was read: {outcome!r}")
    command = run_fix(outcome, outcome.codes[0])
    assert run(DATA, "check", path).code == 0, f"{command}\n{path.read_text()}\n{run(DATA, 'check', path)!r}"
    if escape.startswith("\\\\"):
        assert "Only \\\\\\\\x" in path.read_text(), "escaped backslashes stay"


def test_backspace_after_an_escaped_backslash_is_text(tmp_path):
    (tmp_path / "a.jsonl").write_text(LINE.replace("Only", "C:\\\\bin\\\\fine"))
    must(run(DATA, "check", tmp_path / "a.jsonl"))


def test_line_ends_are_normal_in_every_form_of_the_same_data(tmp_path):
    """The same conversation, with LF and with CR LF, is the same conversation: nothing but bytes differs."""
    (tmp_path / "lf.blockml").write_bytes(TEXT.encode())
    (tmp_path / "crlf.blockml").write_bytes(TEXT.replace("\n", "\r\n").encode())
    for name in ["lf", "crlf"]:
        must(run(DATA, "convert", tmp_path / f"{name}.blockml", "--to", "blockml", "--out", tmp_path / name))
    assert (tmp_path / "lf/lf.blockml").read_bytes() == (tmp_path / "crlf/crlf.blockml").read_bytes()


def test_a_fix_alone_does_not_rewrite_line_ends(tmp_path):
    """check --fix changes what a rule names; CR LF is no fault."""
    path = tmp_path / "a.blockml"
    content = TEXT.replace("\n", "\r\n").encode()
    path.write_bytes(content)
    must(run(DATA, "check", path, "--fix", "--in-place"))
    assert path.read_bytes() == content


def test_a_config_with_line_ends_of_old_macs(tmp_path, token_model):
    job = TokenJob(tmp_path / "my job", token_model)
    job.config.write_bytes(job.config.read_bytes().replace(b"\n", b"\r"))
    refused = must(train(job.config, "--check"), 2)
    assert refused.errors == ["E0111"] and "end in CR alone" in refused.err, repr(refused)
    command, = re.findall(r"= help: convert it: (.*)", refused.err)
    subprocess.run(["bash", "-c", command], check=True)
    must(train(job.config, "--check"))


@pytest.mark.parametrize("line", ["\u00a0lora_rank: 8", "lora_r\u00a0: 8", "blockml:\n  bos: true\n\u00a0\u00a0eos: end",
                                  "datasets:\n\u00a0\u00a0- path: x", "lora_r: 8\n\u00a0\u00a0num_epochs: 2"])
def test_no_break_spaces_in_a_config_are_named(tmp_path, token_model, line):
    """They came with a text that was copied from a page, and cannot be seen."""
    job = TokenJob(tmp_path / "job", token_model)
    job.config.write_text(job.config.read_text() + line + "\n")
    outcome = must(train(job.config, "--check"), 2)
    assert "a no-break space (U+00A0)" in outcome.err, repr(outcome)


@pytest.mark.parametrize("path", ["\u201cdata/low/\u201d", "\u2018data/low/\u2019", "\u201edata/low/\u201c"])
def test_curly_quotes_around_a_path_are_named(tmp_path, token_model, path):
    job = TokenJob(tmp_path / "job", token_model, datasets=[{"path": path}])
    outcome = must(train(job.config, "--check"), 3)
    assert f"the quotation mark `{path[0]}` is part of the path" in outcome.err, repr(outcome)


def test_a_config_as_editors_on_windows_save_it(tmp_path, token_model):
    """Notepad writes a byte order mark, and under "Unicode" UTF-16. The first is no part of the text: columns count without it."""
    job = TokenJob(tmp_path / "job", token_model)
    text = job.config.read_text(encoding="utf-8").replace("\n", "\r\n")
    job.config.write_bytes(text.encode("utf-8-sig"))
    assert must(train(job.config, "--check")).err.rstrip().endswith("no problems")
    job.config.write_bytes(("lora_rr: 8\r\n" + text).encode("utf-8-sig"))
    assert f"{job.config}:1:1" in must(train(job.config, "--check"), 2).err
    job.config.write_bytes(text.encode("utf-16"))
    refused = must(train(job.config, "--check"), 2)
    assert refused.errors == ["E0111"]
    command, = re.findall(r"= help: convert it: (.*)", refused.err)
    subprocess.run(["bash", "-c", command], check=True)
    must(train(job.config, "--check"))
