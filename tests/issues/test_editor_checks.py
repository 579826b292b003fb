"""What an editor of role-play strikes out, `check` must name: leftovers of chat programs, models, pages and other prompt formats, speakers that
are written twice or hide in another's message, messages that occur twice, branches of one chat, default names of users. And prose with odd
punctuation it must leave alone. Inputs as SillyTavern, KoboldAI, forum and ShareGPT data have them."""
import json
import os
import pty
import subprocess

import pytest

from shori_programs import BIN, run

DATA = BIN / "shori-data"
CLEAN = "▀description\nMira▄\n▀description\nTam▄\n"


def write(folder, name, *messages, head=CLEAN):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(head + "".join(f"▀message\n{message}▄\n" for message in messages))
    return folder


def findings(path, *options):
    """(file, rule or code) -> lines, of all problems."""
    done = run(DATA, "check", path, "--format", "json", *options)
    found = {}
    for line in done.out.splitlines():
        problem = json.loads(line)
        key = (os.path.basename(problem.get("file", "")), problem.get("rule", problem["code"]))
        found.setdefault(key, []).append(problem["line"])
    return found


LEFTOVERS = {
    "text/macro": ["She smiles at {{user}}.", "{{char}} nods.", "<USER> waits.", "{{random::red,blue}} it is.", "{char} sits.",
                   "{{user}'s hand."],
    "text/think": ["<think>\nWhat would she say?\n</think>\n\"Hello.\"", "</think>\n\"Hello.\"", "<thinking>Hm.</thinking> \"Hi.\"",
                   "[THINK]x[/THINK]"],
    "text/refusal": ["As an AI language model, I cannot do that.", "I'm sorry, but I can't continue this roleplay.",
                     "I apologize, but I cannot fulfill your request.", "I’m sorry, but I can’t assist with that.",
                     "I'm not able to generate explicit content.", "As an AI, I don't have feelings."],
    "text/template": ["Hi.<|im_end|>", "<|im_start|>user", "### Instruction:\nGo on.", "### Response", "<<SYS>>\nBe kind.\n<</SYS>>",
                      "<start_of_turn>model", "<|eot_id|>", "[/inst] Yes.", "<|start_header_id|>user<|end_header_id|>"],
    "text/inst": ["[INST] Go on. [/INST]"],
    "text/url": ["Look: https://example.org/a.png", "![](https://example.org/a.png)", "Join discord.gg/abcdef now.", "On www.example.org."],
    "text/html": ["One<br>two.", "<i>Oh.</i>", "Salt &amp; sand.", "It&#39;s late.", "<span style=\"color:red\">x</span>", "[b]No[/b]",
                  "<font color=#ff0000>x</font>", "</status>"],
    "privacy/email": ["Write to tam@example.org."],
    "privacy/username": ["She turns to Anon and waits.", "Anon's hand shakes."],
    "structure/doubled-speaker": ["Mira: \"Both.\"", "**Mira:** \"Both.\""],
    "structure/other-speaker": ["\"Both.\"\nTam: \"None.\"", "\"Both.\"\n\n**Tam:** \"None.\"", "\"Both.\"\nYou: \"None.\"", "Tam: \"None.\""],
}


@pytest.mark.parametrize("rule", LEFTOVERS)
def test_is_named(tmp_path, rule):
    for number, text in enumerate(LEFTOVERS[rule]):
        write(tmp_path / "in", f"{number}.txt", "Mira: Some words.", f"Mira: {text}")
    found = findings(tmp_path / "in")
    missing = [text for number, text in enumerate(LEFTOVERS[rule]) if (f"{number}.txt", rule) not in found]
    assert not missing
    others = {key for key in found if key[1].split("/")[0] in ("text", "privacy") and key[1] != rule}
    assert not others, "one fault, one rule"


@pytest.mark.parametrize("token", ["<s>", "</s>", "<unk>"])
def test_control_pieces_are_errors(tmp_path, token):
    done = run(DATA, "check", write(tmp_path / "in", "a.txt", f"Mira: Yes.{token}"))
    assert done.code == 3
    assert "E0308" in done.err


PROSE = [
    "\"I can't help it,\" she said. \"I won't go. I cannot create a life out of this.\"",
    "\"As an AI, I feel nothing,\" said the ship. \"I cannot help you with that, captain.\"",
    "The sign read: NO ENTRY. Then -- nothing; 3 < 4, and 5 > 4 <3 >:(",
    "She counted: one, two; three... {sighs} [shrugs] <grins> (waves) ~ | ^_^ ;-) :D",
    "\"Anon, good nurse!\" he called. Anon he was gone.",
    "A list:\nSword: 3 gold\nShield: 4 gold\nNote: bring both.",
    "\"Tell Tam: no.\" The letter said: Tam, come home.",
    "He ran on and/or off, at 3.5 km/h, to No.5 Q&A Ave., R&B; file.txt done.Then he left.",
    "He thought (I think) of the response: none. ## of it",
    "```\n<b>HP</b> 3 https://example.org &amp;\n```",
    "He said: \"user\", \"system\", human, assistant.",
    "\"I'm just an airship pilot.\" I must decline to answer, he thinks.",
    "a@b c @ 5, @ home, x|y|z <| |> || {{}} {{1, 2}, {3}}",
]


def test_odd_prose_is_left_alone(tmp_path):
    for number, text in enumerate(PROSE):
        write(tmp_path / "in", f"{number}.txt", f"Mira: {text}", "Tam: Well.")
    found = findings(tmp_path / "in")
    wrong = {key for key in found if key[1].startswith(("text/", "privacy/", "structure/"))}
    assert not wrong


@pytest.mark.parametrize("name", ["Anon", "You", "User", "Assistant", "anonymous"])
def test_default_names_of_speakers(tmp_path, name):
    folder = write(tmp_path / "in", "a.txt", "Mira: One.", f"{name}: Two.", "Mira: Three.", f"{name}: Four.")
    assert findings(folder)["a.txt", "privacy/username"] == [7], "once, at the first message"


def test_names_of_the_list_are_errors(tmp_path):
    folder = write(tmp_path / "in", "a.txt", "Mira: Is it you, wenna42?")
    (tmp_path / "names.txt").write_text("wenna42\n")
    (tmp_path / "c.yaml").write_text(f"base_model: none\noutput_dir: out\nlearning_rate: 0.0001\ndatasets:\n  - path: {folder}\n"
                                     "lint:\n  usernames: names.txt\n")
    done = run(DATA, "check", tmp_path / "c.yaml", "--format", "json")
    assert done.code == 3, done.err
    assert '"rule":"privacy/username"' in done.out.replace(" ", "")


def test_repeated_messages(tmp_path):
    said = "Mira: \"We meet again at the old mill, tonight.\""
    folder = write(tmp_path / "in", "a.txt", said, "Tam: Yes.", said.replace("meet", "MEET"), "Tam: Ha!", "Tam: Ha!")
    assert findings(folder)["a.txt", "structure/repeated-message"] == [9, 13]
    write(folder, "a.txt", "Mira: Yes.", "Tam: No.", "Mira: Yes.", "Tam: ...", "Tam: ...")
    assert ("a.txt", "structure/repeated-message") not in findings(folder)


def chat(*letters):
    return [f"{'Mira' if index % 2 else 'Tam'}: {' '.join(letter + str(word) for word in range(30))}." for index, letter in enumerate(letters)]


def test_branches_of_one_chat(tmp_path):
    folder = write(tmp_path / "in", "a.txt", *chat(*"abcdefg", *"hijklmno"))
    write(folder, "b.txt", *chat(*"abcdefg", *"pqrstuvw"))
    write(folder, "c.txt", *chat(*"abc", *"xyzABCDE"))
    write(folder, "greeting.txt", *chat(*"ab", *"FGHIJKLM"))
    done = run(DATA, "check", folder)
    text = done.err.replace(f"{folder}/", "")
    assert "W0301" in text
    assert "2 conversations are branches of others" in text
    assert "b.txt = " in text and "a.txt (the first 7 messages)" in text and "(the first 3 messages)" in text
    assert "greeting.txt = " not in text, "the same greeting is no branch"


def test_an_exact_copy_is_no_branch(tmp_path):
    folder = write(tmp_path / "in", "a.txt", *chat(*"abcdef"))
    write(folder, "b.txt", *chat(*"abcdef"))
    done = run(DATA, "check", folder)
    assert "(exact)" in done.err and "branch" not in done.err


# --- how it is shown ---

def test_speakers_of_a_file_are_one_line_and_errors_come_last(tmp_path):
    messages = [f"{name}: Some words." for name in ("Old Tam", "Liese", "Old Tam", "Brakk", "Mira", "Wenna")]
    folder = write(tmp_path / "in", "a.txt", *messages)
    write(folder, "b.txt", "Mira: Yes.▁", "Mira: _Hm.", "Mira: _Oh.")
    done = run(DATA, "check", folder, "--format", "short")
    assert done.code == 3
    lines = done.err.splitlines()
    speakers = [line for line in lines if "unknown-speaker" in line]
    assert len(speakers) == 1
    assert "no description for `Old Tam` (2 messages), `Liese` (1 message), `Brakk` (1 message), `Wenna` (1 message)" in speakers[0]
    kinds = [next(kind for kind in ("info[", "warning[", "error[") if kind in line) for line in lines]
    assert kinds == sorted(kinds, key=["info[", "warning[", "error["].index)
    assert kinds[-1] == "error["
    assert len([line for line in lines if "prose/thoughts" in line]) == 1
    assert done.out.splitlines()[-1] == "1 error, 2 warnings, 4 infos: not ready, training refuses it until the errors are fixed"


def test_verdict_without_problems(tmp_path):
    done = run(DATA, "check", write(tmp_path / "in", "a.txt", "Mira: Yes."))
    assert done.code == 0
    assert done.out.splitlines()[-1] == "0 errors, 0 warnings, 0 infos: no problems, ready to train"
    assert done.err.strip() == ""


def test_all_errors_are_counted(tmp_path):
    write(tmp_path / "in", "a.txt", "Mira: Yes.")
    for number in range(70):
        (tmp_path / "in" / f"bad{number:02}.txt").write_text("▀message\nMira: open\n")
    done = run(DATA, "check", tmp_path / "in", "--format", "short")
    assert done.out.splitlines()[-1].startswith("70 errors, 0 warnings")
    assert done.err.splitlines()[-1] == "and 20 more errors"


def on_a_terminal(*command, **variables):
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | variables
    master, slave = pty.openpty()
    program = subprocess.Popen([str(part) for part in command], stdout=slave, stderr=slave, stdin=subprocess.DEVNULL, env=environment)
    os.close(slave)
    output = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        output += part
    os.close(master)
    program.wait()
    return output.decode()


def test_colours_on_a_terminal_only(tmp_path):
    folder = write(tmp_path / "in", "a.txt", "Mira: _Hm.▁")
    coloured = on_a_terminal(DATA, "check", folder)
    assert "\x1b[1;33mwarning[W0304]\x1b[0m" in coloured
    assert "\x1b[1;31merror[E0319]\x1b[0m" in coloured
    assert "\x1b[1;31m1 error, 1 warning, 0 infos\x1b[0m" in coloured
    assert "\x1b[1;" not in on_a_terminal(DATA, "check", folder, NO_COLOR="1")
    assert "\x1b" not in run(DATA, "check", folder).err
