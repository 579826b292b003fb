"""Start, live line and end of a training as a terminal shows them."""
import itertools
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

from run_folders import metrics
from screens import lines_on, on_screen, screens
from shori_programs import BIN, PATIENCE, TRAIN, environment, must, run, start_train, train
from small_jobs import Job, TokenJob, scenes, token_lines, write_config
from terminals import Terminal

BLOCKS = "█░"
UTF8 = {"LC_ALL": "C.UTF-8"}


@pytest.mark.parametrize(("columns", "locale"), [(30, "C.UTF-8"), (30, "C"), (61, "C"), (132, "C.UTF-8")])
def test_live_line_fits_its_row(tmp_path, token_model, columns, locale):
    """One row, drawn over and over; what was logged above it stays as it was."""
    raw = on_screen(columns, TokenJob(tmp_path, token_model).config, env={"LC_ALL": locale})
    drawn = [(text, row) for text, row, _ in screens(raw, 24, columns) if text.startswith("run step")]
    assert drawn and all(row == text.rstrip() and len(text) < columns for text, row in drawn)
    assert any("left " in text for text, _ in drawn)
    assert locale != "C" or raw.isascii()
    if columns > 60:
        assert locale == "C" or not raw.isascii()
        assert any(set(BLOCKS) & set(text) or "[#" in text or "[." in text for text, _ in drawn)
    left = lines_on(raw, columns)
    assert not any(line.startswith("run step") for line in left), "the live line is gone in the end"
    assert any(line.startswith("stage run done") for line in left)


def test_closed_streams_are_not_taken_by_files(tmp_path, token_model):
    """As a service or `>&- 2>&-` starts it: what is printed must not go into the first files of the run."""
    job = TokenJob(tmp_path, token_model, num_epochs=2000)
    command = 'exec "$0" "$1" <&- >&- 2>&-'
    with subprocess.Popen(["sh", "-c", command, str(TRAIN), str(job.config)], env=environment()) as process:
        deadline = time.monotonic() + PATIENCE
        steps = job.run / "metrics.jsonl"
        while not (steps.is_file() and steps.stat().st_size):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        streams = [os.readlink(f"/proc/{process.pid}/fd/{stream}") for stream in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 75
    assert streams == ["/dev/null"] * 3


def test_live_line_follows_a_resize(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, save_steps=100, num_epochs=2000)
    with Terminal(TRAIN, job.config, env=UTF8, size=(24, 80)) as terminal:
        terminal.wait_for(r"run step \d\d+/")
        widths = []
        for columns in (30, 120):
            terminal.resize(24, columns)
            before = terminal.raw.count(b"\r\x1b[K")
            steps = []
            while len(steps) < 3:
                terminal.wait_for("run step")
                # The first two may have been on their way already, and the last may not be whole.
                pieces = [piece.decode(errors="replace") for piece in terminal.raw.split(b"\r\x1b[K")[before + 2:-1]]
                steps = [piece for piece in pieces if piece.startswith("run step")]
            widths.append(max(map(len, steps)))
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.finish() == 75
    assert widths[0] < 30 < widths[1] < 120, widths


def test_log_of_a_long_run_has_fewer_lines(tmp_path, token_model):
    """Of 1,200 steps every second one, in a pipe as in train.log; `logging_steps` decides where it is set."""
    for settings, step in (({}, 2), ({"logging_steps": 3}, 3)):
        job = TokenJob(tmp_path / str(step), token_model, num_epochs=300, held_out=0, **settings)
        with start_train(job.config) as running:
            assert running.wait_for(r"step 42/1200")
            running.signal(signal.SIGINT)
            outcome = running.finish()
        for text in (outcome.err, (job.run / "train.log").read_text()):
            steps = [int(number) for number in re.findall(r"run step (\d+)/1200", text)]
            assert steps == list(range(step, steps[-1] + 1, step)), steps
            saved = [int(number) for number in re.findall(r"saved step (\d+) \(durable\)", text)]
            # The ends of epochs, every fourth step, are kept and named.
            assert saved == list(range(0, saved[-1] + 1, 2)), saved


def recipe(folder, model):
    names = ("low", "mid", "high", "top")
    for number, name in enumerate(names):
        (folder / f"{name}.jsonl").write_text(token_lines(8, 50 + number))
    stages = [{"name": name, "learning_rate": 0.002, "datasets": [{"path": f"{name}.jsonl", "type": "tokenized"}]} for name in names]
    return write_config(folder / "recipe.yaml", base_model=str(model), output_dir="runs", sequence_len=64, device="cpu", threads=1,
                        num_epochs=2, lora_dropout=0.1, stages=stages)


def table_of(lines):
    """stage -> column -> text, by where the heads of the columns stand."""
    first = next(i for i, line in enumerate(lines) if line.startswith("stage  "))
    # Numbers end with their head, and a head of two words has one space inside.
    ends = [match.end() for match in re.finditer(r"\S+(?: \S+)*", lines[first])]
    heads = [match[0] for match in re.finditer(r"\S+(?: \S+)*", lines[first])]
    rows = {}
    for line in lines[first + 1:first + 5]:
        cells, begin = [], 0
        for end in ends[:-1]:
            cells.append(line[begin:end].strip())
            begin = end
        rows[line.split()[0]] = dict(zip(heads, [line.split()[0], *cells[1:], line[begin:].strip()], strict=True))
    return rows


def seconds_per_token(folder):
    """Of the steps of a run; "last 20" is all of them here."""
    lines = [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]
    tokens = sum(line["seconds"] * line["tokens_per_second"] for line in lines)
    return sum(line["seconds"] + line["checkpoint_seconds"] for line in lines) / tokens


def test_start_of_a_recipe_is_one_screen_with_times(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    first = must(train(config, "--only", "low"))
    assert "time left" not in first.err, "no step rate is known"
    rate = seconds_per_token(tmp_path / "runs/low")
    raw = on_screen(80, config, env=UTF8)
    lines = lines_on(raw, 80)
    start = lines[:next(i for i, line in enumerate(lines) if line.startswith("stage low is done"))]
    assert len(start) <= 24 and max(map(len, start)) < 80, "\n".join(start)
    assert start[0].startswith("shori-train ") and any(line.startswith("device     cpu") for line in start)
    (settings,) = [line for line in start if line.startswith("settings ")]
    assert "lora_dropout: 0.1" in settings and "default" not in " ".join(start)
    memory = next(i for i, line in enumerate(start) if line.startswith("memory "))
    assert re.match(r"memory     [\d.]+ MiB planned of stage \w+, [\d.]+ GiB are free", start[memory])
    assert start[memory + 2].startswith("           backward pass: ")
    rows = table_of(start)
    assert rows["low"]["state"] == "done" and rows["low"]["time left"] == ""
    for name in ("mid", "high", "top"):
        tokens = int(rows[name]["tokens"].replace(",", "")) * 2
        assert rows[name]["state"] == "to train"
        shown = float(re.fullmatch(r"~([\d.]+) s", rows[name]["time left"])[1])
        assert abs(shown - rate * tokens) <= 0.051, (name, shown, rate * tokens)


def seconds_of(duration):
    return sum(float(number) * {"h": 3600, "min": 60, "s": 1}[unit] for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", duration))


def test_live_line_has_the_time_left_before_the_first_step_ends(tmp_path, token_model):
    """By the steps of the stage before, which took a thousand times as long, here by its record."""
    config = recipe(tmp_path, token_model)
    must(train(config, "--only", "low"))
    timing = tmp_path / "runs/low/timing.jsonl"
    lines = [json.loads(line) for line in timing.read_text().splitlines()]
    timing.write_text("".join(json.dumps({**line, "seconds": line["seconds"] * 1000, "checkpoint_seconds": 0,
                                          "tokens_per_second": line["tokens_per_second"] / 1000}) + "\n" for line in lines))
    expected = seconds_per_token(tmp_path / "runs/low") * sum(line["tokens"] for line in metrics(tmp_path / "runs/low", "step"))
    raw = on_screen(200, config, "--only", "mid", env=UTF8)
    shown = [re.search(r"  left (.*?)(?:  |$)", text)[1] for text, _, _ in screens(raw, 24, 200) if text.startswith("mid step 0/")]
    assert shown and all(expected * 0.8 < seconds_of(text) < expected * 1.1 for text in shown), (shown, expected)


def evaluations_shown(lines):
    first = lines.index("evaluation of run")
    return list(itertools.takewhile(lambda line: line.startswith("  "), lines[first + 1:]))


def test_end_of_a_stage_says_how_it_went_and_what_is_next(tmp_path, token_model):
    """The more a model learns, the less it expects of ids by chance: their lowest loss is not the last one."""
    job = TokenJob(tmp_path, token_model, test_datasets=[{"path": f"{name}.jsonl", "type": "tokenized"} for name in ("test", "chance")])
    source = random.Random(1)
    (tmp_path / "chance.jsonl").write_text(json.dumps({"input_ids": [1] + [source.randrange(100, 512) for _ in range(40)]}) + "\n")
    ended = must(train(job.config))
    lines = ended.err.splitlines()
    expected = []
    for name in ("chance.jsonl", "test.jsonl"):
        evals = [line for line in metrics(job.run, "eval") if line["dataset"] == name]
        best, last = min(evals, key=lambda line: line["loss"]), evals[-1]
        assert (best is last) == (name == "test.jsonl"), evals
        lowest = "" if best is last else f", lowest {best['loss']:.4f} at step {best['step']}"
        roles = ", ".join(f"{role} {loss:.4f}" for role, loss in last["loss_by_role"].items())
        expected.append(f"  {name}: loss {last['loss']:.4f} at step {last['step']}{lowest}{roles and '; ' + roles}")
    assert evaluations_shown(lines) == expected
    assert f"adapter of run: {job.run / 'adapter'}" in lines
    timings = [json.loads(line) for line in (job.run / "timing.jsonl").read_text().splitlines()]
    peak = max(line["memory_peak_bytes"] for line in timings) / 2**20
    assert any(line.startswith("run  ") and line.endswith(f"{peak:.1f} MiB") for line in lines), lines
    assert any(line.startswith("next: ") and f"init_from: {job.run}" in line for line in lines)
    command = next(line.split(": ", 1)[1].strip() for line in lines if line.startswith("export: "))
    pasted = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment(), timeout=PATIENCE, capture_output=True, check=False)
    assert pasted.returncode == 0, pasted
    assert (tmp_path / "run-merged/config.json").is_file()


def test_evaluation_by_role_in_the_end(tmp_path, text_model):
    scenes(tmp_path / "data", 6, 3)
    job = Job(tmp_path, text_model, datasets=[{"path": "data/", "type": "blockml"}], num_epochs=1, val_set_size=2,
              train_on_inputs=False, sequence_len=128)
    lines = must(train(job.config)).err.splitlines()
    roles = metrics(job.run, "eval")[-1]["loss_by_role"]
    assert any(line.startswith("  val: loss ") and line.endswith("; " + ", ".join(f"{r} {v:.4f}" for r, v in roles.items()))
               for line in lines), lines
    assert any(line.startswith("talk: ") and "shori-chat" in line for line in lines)


def test_the_stages_that_are_left_are_named(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    lines = must(train(config, "--only", "low")).err.splitlines()
    (command,) = [line.split(": ", 1)[1].strip() for line in lines if line.startswith("next: ")]
    assert command.endswith(f"shori-train {config}"), command


@pytest.mark.parametrize("code", [0, 3])
def test_report_opens_in_the_browser(tmp_path, token_model, code):
    job = TokenJob(tmp_path, token_model, num_epochs=1)
    must(train(job.config))
    opener = tmp_path / "bin/xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\nexit {code}\n')
    opener.chmod(0o755)
    shown = must(run(BIN / "shori-train", "--report", job.run, "--open", env={"PATH": f"{opener.parent}:{os.environ['PATH']}"}))
    assert (tmp_path / "opened").read_text().strip() == str(job.run / "report.html")
    assert ("no browser could be started" in shown.err) == (code != 0)
