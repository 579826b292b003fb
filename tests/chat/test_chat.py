"""shori-chat with a small trained run: by script, with lines from a pipe, and on a terminal."""
import json
import os
import re
import signal
import subprocess

import pytest

from run_folders import checkpoints, snapshot
from shori_programs import BIN, PATIENCE, TOKENIZER, Running, environment, export, must, run, train
from small_jobs import Job, make_model, scenes
from terminals import Terminal

CHAT, DATA = BIN / "shori-chat", BIN / "shori-data"
PROMPT = '▀description\nAya▄\n▀message\nBen: "the boat"▄\n▀message (length: tiny)\nAya:'
KEYS = ["text", "tokens", "prompt_tokens", "stop", "seed", "reply", "hint", "bucket", "impersonated", "repetition"]
SCENARIO = "▀title\nThe pier▄\n▀description\nAya\nA captain.▄\n▀description\nBen\nA guest.▄\n"
SHORT = ("--seed", 5, "--max-tokens", 8, "--threads", 1)


@pytest.fixture(scope="module")
def job(tmp_path_factory, text_model):
    """Learnt well enough to close its blocks now and then; two checkpoints."""
    folder = tmp_path_factory.mktemp("chat")
    scenes(folder / "data", 12, 3)
    job = Job(folder, text_model, datasets=[{"path": "data", "type": "blockml"}], sequence_len=160, num_epochs=3, learning_rate=0.01,
              save_steps=4)
    must(train(job.config))
    return job


@pytest.fixture
def prompt(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(PROMPT)
    return path


@pytest.fixture
def scenario(tmp_path):
    path = tmp_path / "scenario.blockml"
    path.write_text(SCENARIO)
    return path


def replies(*args):
    return [json.loads(line) for line in must(run(CHAT, *args, "--json")).out.splitlines()]


def talk(lines, *args, env=None):
    """A chat whose lines come from a pipe."""
    return subprocess.run([str(CHAT), *map(str, args)], input="".join(line + "\n" for line in lines), env=environment(env),
                          timeout=PATIENCE, capture_output=True, text=True, check=False)


def must_pass_check(path):
    must(run(DATA, "check", path))


def test_script_gives_text_or_json(job, prompt):
    before = snapshot(job.run)
    found = replies(job.run, "--prompt-file", prompt, "--n", 3, *SHORT)
    assert [list(each) for each in found] == [KEYS] * 3 and [each["reply"] for each in found] == [0, 1, 2]
    for each in found:
        assert each["seed"] == 5 and each["hint"] == "tiny" and each["tokens"] <= 8
        assert each["stop"] in ("block_end", "next_block", "length", "eos")
        assert (each["stop"] == "length") == (each["tokens"] == 8) and each["text"] == each["text"].rstrip()
    assert len({each["text"] for each in found}) > 1
    plain = must(run(CHAT, job.run, "--prompt-file", prompt, "--n", 3, *SHORT)).out
    assert plain == "".join(each["text"] + "\n" for each in found)
    assert snapshot(job.run) == before, "talking changes nothing"


def test_prompt_from_stdin_and_settings(job, prompt):
    def ask(*options):
        return replies(job.run, "--prompt-file", prompt, *SHORT, *options)[0]
    done = subprocess.run([str(CHAT), str(job.run), "--prompt-file", "-", "--json", *map(str, SHORT)], stdin=prompt.open("rb"),
                          capture_output=True, check=True, timeout=PATIENCE)
    assert ask() == json.loads(done.stdout) == ask("--preset", "main") == ask("--temp", "1", "--min_p", "0.07", "--presence-pen", "0.4")
    assert ask("--preset", "alternative-1") == ask("--temp", "2.45", "--min-p", "0.4", "--freq_pen", "0.12", "--presence-pen", "0",
                                                   "--temperature-last", "true")
    assert ask("--preset", "alternative-2") == ask("--mirostat-mode", "2", "--mirostat-tau", "2.9", "--mirostat-eta", "0.019")
    assert ask("--temp", "0", "--presence-pen", "0")["text"] == ask("--top-k", "1", "--presence-pen", "0")["text"]
    assert ask("--no-stop", "--temp", "0")["tokens"] == 8


def test_whatever_holds_the_adapter_gives_the_same_replies(job, prompt, text_model, tmp_path):
    asked = ("--prompt-file", prompt, "--base-type", "f32", *SHORT)
    expected = replies(job.run, *asked)
    last = list(checkpoints(job.run).values())[-1]
    must(export("adapter", job.run, "--out", tmp_path / "peft"))
    for source in ([job.run / "adapter"], [last], [tmp_path / "peft", "--base", text_model]):
        assert replies(*source, *asked) == expected, source
    assert replies(job.run, "--step", min(checkpoints(job.run)), *asked) != expected
    base = replies(text_model, *asked)
    assert base != expected
    assert replies(text_model, "--prompt-file", prompt, *SHORT, "--base-type", "bf16")[0]["prompt_tokens"] == base[0]["prompt_tokens"]


@pytest.mark.parametrize("options, code, exit_code", [
    (["--temp", "warm"], "E0116", 2), (["--top-p", "1.5"], "E0116", 2), (["--rep-pen", "0"], "E0116", 2), (["--min-p", "nan"], "E0116", 2),
    (["--context", "1000000"], "E0116", 2), (["--context", "4"], "E0409", 2), (["--device", "cuda"], "E0404", 5),
    (["--step", "77"], "E0510", 2), (["--temp", "1e300"], "E0116", 2), (["--top-k", "99999999999999999999"], "E0116", 2)])
def test_what_cannot_be_is_refused(job, prompt, options, code, exit_code):
    done = run(CHAT, job.run, "--prompt-file", prompt, *options, "--json")
    assert done.codes[:1] == [code] and done.code == exit_code and done.out == "", repr(done)


def test_other_misuse_is_refused(job, prompt, tmp_path):
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9")
    assert run(CHAT, job.run, "--prompt-file", tmp_path / "latin1.txt").errors == ["E0304"]
    assert run(CHAT, job.run, "--prompt-file", tmp_path / "nowhere.txt").errors == ["E0108"]
    assert run(CHAT, tmp_path).errors == ["E0510"]
    assert run(CHAT, job.run, "--n", "2").code == 2, "--n is for scripts"
    assert run(CHAT, job.run, "--prompt-file", prompt, "--as", "Aya").code == 2
    other = make_model(tmp_path / "other", "--tokenizer", TOKENIZER, "--seed", 9)
    assert run(CHAT, job.run, "--base", other, "--prompt-file", prompt).errors == ["E0805"]


def test_chat_through_a_pipe(job, scenario, tmp_path):
    saved, again = tmp_path / "chat.blockml", tmp_path / "again.blockml"
    lines = ["the river tonight", "/retry", "/hint tiny", "/context", "/set", f"/save {saved}", "//slash\\nand a line", "/undo",
             f"/save {again}", "/quit", "never said"]
    done = talk(lines, job.run, scenario, *SHORT)
    assert done.returncode == 0, done.stderr
    assert "the model is Aya, you are Ben" in done.stderr
    assert re.search(r"^\d+ of \d+ tokens", done.stdout, re.M) and "\npresence-pen 0.4\n" in done.stdout and "never said" not in done.stdout
    first, text = saved.read_text(), again.read_text()
    assert text.startswith(first) and len(text) > len(first)
    assert text.startswith(SCENARIO + "▀message\nBen: the river tonight▄\n") and "▀message\nBen: /slash\nand a line▄\n" in text
    must_pass_check(again)
    saved.unlink()
    again.unlink()
    assert talk(lines, job.run, scenario, *SHORT).stdout == done.stdout, "the same seed gives the same chat"
    # A saved chat goes on where it was.
    loaded = talk([f"/load {again}", "/undo", f"/save {tmp_path / 'second.blockml'}"], job.run, *SHORT)
    assert loaded.returncode == 0 and text.startswith((tmp_path / "second.blockml").read_text())


def test_a_script_is_asked_nothing(job, scenario, tmp_path):
    """The line after a command is what it is, and no answer to a question that nobody sees."""
    saved, other = tmp_path / "chat.blockml", tmp_path / "other.blockml"
    saved.write_text("old\n")
    other.write_text(SCENARIO + "▀message\nAya: other▄\n")
    done = talk(["the river", f"/save {saved}", "y", f"/load {other}", "y", f"/save {tmp_path / 'new.blockml'}"], job.run, scenario, *SHORT)
    assert saved.read_text() == "old\n" and "[y/N]" not in done.stdout + done.stderr
    assert re.findall(r"^error\[E0116\]: (.*)", done.stderr, re.M) == [
        f"`{saved}` exists; a chat without a terminal replaces no file", "the chat is not saved, and `/load` would lose it"]
    assert (tmp_path / "new.blockml").read_text().count("▀message\nBen: y▄\n") == 2, done.stderr


def test_commands_that_cannot_be(job, scenario, tmp_path):
    lines = ["/retri", "/edit", "/edit x", "/continue", "/undo", "/hint immense", "/preset best", "/set warmth 3", "/set temp hot",
             "/set me a\"b", "/set max-tokens 0", "/say", f"/save {tmp_path / 'x'}", f"/load {tmp_path / 'nowhere'}", "/quit now", "a ▄ b",
             "▀message", "<s>"]
    done = talk(lines, job.run, scenario, *SHORT)
    assert done.returncode == 0
    assert len(re.findall(r"^error\[E\d{4}\]", done.stderr, re.M)) == len(lines), done.stderr
    assert done.stdout == "" and "did you" not in done.stdout and not (tmp_path / "x").exists()
    assert "/retry" in done.stderr


def test_greedy_chat_uses_the_prompts_of_the_card(job, scenario, prompt, tmp_path):
    """A reply of the chat is the reply to the same prompt written out."""
    greedy = ("--temp", "0", *SHORT)
    done = talk(["the river", "/say Ben"], job.run, scenario, "--length", "tiny", *greedy)
    first, second = (line for line in done.stdout.splitlines() if line.startswith(("Aya:", "Ben:")))
    prompt.write_text(SCENARIO + "▀message\nBen: the river▄\n▀message (length: tiny)\nAya:")
    (asked,) = replies(job.run, "--prompt-file", prompt, *greedy)
    assert first == "Aya:" + asked["text"].split("\n")[0] and second.startswith("Ben:")


def test_an_edited_message_has_its_name_once(job, scenario, tmp_path):
    for number, typed in enumerate(['Aya: "Welcome."', '"Welcome."']):
        saved = tmp_path / f"{number}.blockml"
        done = talk(["the river", f"/edit {typed}", f"/save {saved}"], job.run, scenario, *SHORT)
        assert done.returncode == 0 and saved.read_text().endswith('\nAya: "Welcome."▄\n'), done.stderr


def test_long_chat_drops_the_oldest(job, scenario):
    lines = [f"message number {number} of many" for number in range(12)] + ["/context"]
    done = talk(lines, job.run, scenario, "--context", 200, *SHORT)
    assert done.returncode == 0 and "leaves the oldest" in done.stderr, done.stderr
    assert int(re.search(r"^(\d+) of 200 tokens", done.stdout, re.M)[1]) > 200


def start(job, *args, tmp_path, **options):
    return Terminal(CHAT, job.run, *args, *SHORT, env={"XDG_STATE_HOME": str(tmp_path / "state"), "LC_ALL": "C"}, **options)


def kept_in(tmp_path):
    return sorted((tmp_path / "state/shori-train").glob("unsaved-chat*"))


def enter(terminal, line, shown, prompt="Ben> "):
    """Types a line and waits for what it brings about, and for the next prompt."""
    terminal.type(line + "\r")
    terminal.wait_for(shown)
    terminal.wait_for(prompt)


def say(terminal, text):
    enter(terminal, text, "Aya:")


def save_and_leave(terminal, path, last):
    enter(terminal, f"/save {path}", "saved in")
    terminal.type(last)
    assert terminal.finish() == 0


def messages_of_ben(path):
    return re.findall(r"▀message\n(Ben: .*?)▄\n", path.read_text(), re.S)


def test_a_chat_on_a_terminal(job, scenario, tmp_path):
    saved = tmp_path / "chat.blockml"
    with start(job, scenario, tmp_path=tmp_path) as terminal:
        terminal.wait_for("you are Ben")
        terminal.wait_for("Ben> ")
        # Keys: a letter too much is deleted, the cursor goes left twice, characters are inserted before the last two.
        terminal.type("the bzoat" + "\x1b[D" * 3 + "\x7f" + "\x05" + "!\r")
        terminal.wait_for("Aya:")
        terminal.wait_for("Ben> ")
        # Bytes of one character arrive apart.
        for byte in "é🙂".encode():
            terminal.type(bytes([byte]))
        say(terminal, "")
        terminal.resize(30, 40)
        terminal.process.send_signal(signal.SIGWINCH)
        # History: the line before the last.
        say(terminal, "\x1b[A\x1b[A")
        say(terminal, "/retry")
        enter(terminal, "/undo", "taken back")
        terminal.type("/edit\r")
        terminal.wait_for("Ben: the boat!")
        terminal.type(" now\r")
        terminal.wait_for("Ben> ")
        save_and_leave(terminal, saved, "/quit\r")
    assert messages_of_ben(saved) == ["Ben: the boat!", "Ben: é🙂", "Ben: the boat! now"]
    must_pass_check(saved)
    history = (tmp_path / "state/shori-train/chat-history")
    assert history.stat().st_mode & 0o777 == 0o600 and "the" in history.read_text()


def test_ctrl_c_clears_the_line_and_leaves_on_the_second(job, tmp_path):
    with start(job, tmp_path=tmp_path) as terminal:
        terminal.wait_for("User> ")
        terminal.wait_for_editor()
        terminal.type("half a line")
        terminal.wait_for("half a line")
        terminal.type("\x03")
        terminal.wait_for("User> ")
        terminal.wait_for_editor()
        enter(terminal, "said", "Character:", "User> ")
        terminal.wait_for_editor()
        terminal.type("\x03")
        terminal.wait_for("again, or /quit, leaves")
        terminal.wait_for("User> ")
        # What was typed and deleted is no second Ctrl-C.
        terminal.wait_for_editor()
        terminal.press("x")
        terminal.press("\x7f")
        terminal.type("\x03")
        terminal.wait_for("again, or /quit, leaves")
        terminal.wait_for("User> ")
        terminal.type("\x03")
        terminal.wait_for("not saved; it is kept")
        assert terminal.finish() == 0
    (kept,) = kept_in(tmp_path)
    assert "half" not in kept.read_text() and "User: said▄" in kept.read_text()
    must_pass_check(kept)


def test_ctrl_c_stops_a_reply_and_keeps_the_chat(job, scenario, tmp_path):
    """A reply of hundreds of tokens, which the sampler cannot end soon."""
    saved = tmp_path / "chat.blockml"
    with Terminal(CHAT, job.run, scenario, "--temp", "5", "--max-tokens", 1500, "--context", 2000, "--threads", 1, "--preset", "main",
                  "--min-p", "0", env={"XDG_STATE_HOME": str(tmp_path / "state")}) as terminal:
        terminal.wait_for("Ben> ")
        terminal.type("tell me all\r")
        terminal.wait_for("Aya:")
        terminal.wait_for(r"\w")
        terminal.type("\x03")
        terminal.wait_for("stopped; /continue")
        terminal.wait_for("Ben> ")
        terminal.type("/continue\r")
        terminal.wait_for("Aya:")
        terminal.type("\x03")
        terminal.wait_for("stopped; /continue")
        save_and_leave(terminal, saved, "\x04")
    assert saved.read_text().startswith(SCENARIO + "▀message\nBen: tell me all▄\n▀message\nAya: ")
    must_pass_check(saved)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_chat_and_keeps_it(job, scenario, tmp_path, number, code):
    with start(job, scenario, tmp_path=tmp_path) as terminal:
        terminal.wait_for("Ben> ")
        say(terminal, "said")
        terminal.process.send_signal(number)
        assert terminal.finish() == code
    (kept,) = kept_in(tmp_path)
    assert "Ben: said▄" in kept.read_text()


def test_pasted_lines_are_one_message(job, scenario, tmp_path):
    saved = tmp_path / "chat.blockml"
    with start(job, scenario, tmp_path=tmp_path) as terminal:
        terminal.wait_for("Ben> ")
        assert terminal.raw.count(b"\x1b[?2004h") == 1 + terminal.raw.count(b"\x1b[?2004l"), "marked while a line is edited"
        terminal.type("so: \x1b[200~the boat\rthe pier\n\n/quit\tnow\n\x1b[201~")
        terminal.wait_for("now")
        say(terminal, "!")
        say(terminal, "\x1b[201~\x1b[200~\x1b[201~one")
        save_and_leave(terminal, saved, "\x04")
    assert terminal.raw.count(b"\x1b[?2004h") == terminal.raw.count(b"\x1b[?2004l") > 2
    assert terminal.raw.rfind(b"\x1b[?2004h") < terminal.raw.rfind(b"\x1b[?2004l")
    assert messages_of_ben(saved) == ["Ben: so: the boat\nthe pier\n\n/quit\tnow!", "Ben: one"]


def test_killed_chats_are_kept_apart(job, scenario, tmp_path):
    with start(job, scenario, tmp_path=tmp_path) as first, start(job, scenario, tmp_path=tmp_path) as second:
        for terminal, text in ((first, "the boat"), (second, "the pier")):
            terminal.wait_for("Ben> ")
            say(terminal, text)
        texts = sorted(path.read_text() for path in kept_in(tmp_path))
        assert len(texts) == 2 and "Ben: the boat▄\n▀message\nAya:" in texts[0] and "Ben: the pier▄\n▀message\nAya:" in texts[1]
        assert {path.stat().st_mode & 0o777 for path in kept_in(tmp_path)} == {0o600}
        first.process.kill()
        first.process.wait(timeout=PATIENCE)
        # The second goes on, so that its file is nobody else's.
        with start(job, tmp_path=tmp_path) as third:
            load = third.wait_for(r"a chat that was not saved is kept: `(/load [^`]*)` goes on")[1]
            third.wait_for("User> ")
            enter(third, load, "Ben: the boat", "User> ")
            assert not load.endswith(tuple(path.name for path in kept_in(tmp_path))), "it is the copy of this chat now"
            saved = tmp_path / "chat.blockml"
            enter(third, f"/save {saved}", "saved in", "User> ")
            assert len(kept_in(tmp_path)) == 1, "what is saved is not kept as well"
            third.type("/quit\r")
            assert third.finish() == 0
        assert saved.read_text() == texts[0]
        enter(second, "/undo", "taken back")
        enter(second, "/undo", "taken back")
        assert kept_in(tmp_path) == [], "a chat without messages has nothing to keep"
        second.type("/quit\r")
        assert second.finish() == 0


def test_a_chat_that_cannot_be_kept_does_not_end_at_once(job, scenario, tmp_path):
    (tmp_path / "state").write_text("a file where a folder should be")
    with start(job, scenario, tmp_path=tmp_path) as terminal:
        terminal.wait_for("Ben> ")
        enter(terminal, "the boat", "could not be kept")
        enter(terminal, "/quit", "could not be kept.*leaving again loses it")
        terminal.type("/quit\r")
        assert terminal.finish() == 0


def test_what_costs_nothing_is_checked_before_the_model_is_loaded(job, tmp_path):
    (tmp_path / "latin1").write_bytes(b"\xe9")
    (tmp_path / "nul").write_bytes(b"a\0")
    for options, code in ((["--prompt-file", tmp_path / "nowhere"], "E0108"), (["--prompt-file", tmp_path / "nul"], "E0304"),
                          ([tmp_path / "nowhere"], "E0108"), ([tmp_path], "E0212"), ([tmp_path / "latin1"], "E0304"),
                          (["--as", "▀"], "E0116"), (["--me", "A: B"], "E0116"), (["--as", "Ben", "--me", "Ben"], "E0116")):
        done = run(CHAT, job.run, *options)
        assert done.errors == [code] and "loading" not in done.err, (options, done)
    done = run(CHAT, job.run, "--seed", "-1")
    assert done.code == 2 and "whole number from 0" in done.err


def test_text_as_editors_save_it(job, scenario, prompt, tmp_path):
    expected = replies(job.run, "--prompt-file", prompt, *SHORT)
    prompt.write_bytes(b"\xef\xbb\xbf" + PROMPT.replace("\n", "\r\n").encode())
    assert replies(job.run, "--prompt-file", prompt, *SHORT) == expected
    prompt.write_bytes(PROMPT.encode("utf-16"))
    assert replies(job.run, "--prompt-file", prompt, *SHORT) == expected
    prompt.write_bytes(PROMPT.encode("utf-32"))
    refused = run(CHAT, job.run, "--prompt-file", prompt, *SHORT)
    assert refused.errors == ["E0304"] and "iconv -f utf-32" in refused.err
    prompt.write_text("")
    assert "the prompt is empty" in run(CHAT, job.run, "--prompt-file", prompt, *SHORT).err
    scenario.write_bytes(b"\xef\xbb\xbf" + SCENARIO.replace("\n", "\r\n").encode())
    assert "the model is Aya, you are Ben" in talk(["/quit"], job.run, scenario, *SHORT).stderr
    scenario.write_bytes(SCENARIO.encode("utf-16"))
    assert "the model is Aya, you are Ben" in talk(["/quit"], job.run, scenario, *SHORT).stderr
    scenario.write_text("")
    assert "is empty" in talk(["/quit"], job.run, scenario, *SHORT).stderr
    scenario.write_text("▀title\nX▄\n▀message\nAya: hi▄\n" * 2)
    assert "two conversations" in talk(["/quit"], job.run, scenario, *SHORT).stderr


def test_a_pipe_is_named_with_the_way_to_read_it(job, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused = run(CHAT, job.run, "--prompt-file", tmp_path / "pipe", *SHORT)
    assert refused.errors == ["E0212"] and "--prompt-file -" in refused.err


def test_names_in_what_is_typed(job, scenario, tmp_path):
    saved = tmp_path / "chat.blockml"
    done = talk(["Ben: the boat", "Aya: the \u009bpier", "/set me Aya", "/say A: B", f"/save {saved}"], job.run, scenario, *SHORT)
    assert messages_of_ben(saved) == ["Ben: the boat", "Ben: Aya: the pier"]
    assert done.stderr.count("`/say Aya` lets the model write as Aya") == 1
    assert "cannot both be Aya" in done.stderr and "/set me Ben" in done.stderr and "help: /say Aya" in done.stderr, done.stderr


def test_a_stopped_script_says_so(job, prompt):
    with Running(CHAT, job.run, "--prompt-file", prompt, "--n", 1000000, *SHORT) as running:
        assert running.wait_for("model loaded")
        running.signal(signal.SIGINT)
        assert running.finish().code == 130
