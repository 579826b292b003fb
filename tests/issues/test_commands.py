"""Every command that the programs show is whole and does what it says when it is pasted into a shell. After Ctrl-C the command shown
left out `--set`, so it resumed another run, or none."""
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess

import pytest

from shori_programs import BIN, PATIENCE, SOURCE, TOKENIZER, Outcome, environment, must, run, start_train, train
from small_jobs import Job, TokenJob, make_model, scene, scenes, token_lines, write_config

PROGRAMS = ("shori-train", "shori-data", "shori-export", "shori-chat")
MODEL = "models/Mistral-7B-Instruct-v0.2"
# A command begins with a program, which may be named with its folder, and ends at a backtick or the end of the line.
COMMAND = re.compile(r"(?<![\w-])((?:'[^'\n]*/|[\w./-]*/)?shori-(?:train|data|export|chat)'? [^`\n]*)")


def paste(command, cwd, env=None):
    """What a shell makes of the line."""
    done = subprocess.run(["bash", "-c", command], cwd=cwd, env=environment(env), timeout=PATIENCE, stdin=subprocess.DEVNULL,
                          capture_output=True, check=False)
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def commands_in(text):
    """Commands of help, note and message lines; not the table of options of --help."""
    found = [command.strip() for command in COMMAND.findall(text)]
    return [command for command in found if re.match(r"\S+ (?:--|[\w./'$\"-])", command)]


def shown_commands(outcome):
    lines = [line for line in outcome.err.splitlines() if re.search(r"= help: |resume with: ", line)]
    return [command for line in lines for command in commands_in(line)]


# Whole commands after a stop, and in errors ---------------------------------------------------------------------------


SETS = ["--set", "learning_rate=0.002", "output_dir=run of 'mine'", "blockml.eos=never"]


def stop(config, *arguments, cwd=None):
    with start_train(config, *arguments, cwd=cwd) as running:
        assert running.wait_for(r"saved step 2 \(durable\)")
        running.signal(signal.SIGINT)
        outcome = running.finish()
    assert outcome.code == 75
    return outcome


def test_the_command_after_ctrl_c_has_every_option(tmp_path, token_model):
    job = TokenJob(tmp_path / "my job", token_model)
    config = job.config.rename(job.folder / "my config.yaml")
    outcome = stop(config, *SETS)
    (command,) = shown_commands(outcome)
    resumed = must(paste(command, tmp_path))
    assert resumed.resumed_at >= 2 and (job.folder / "run of 'mine'/done.json").is_file(), repr(resumed)
    assert not job.run.exists(), "the run that was stopped goes on, no other one"


def test_a_relative_config_is_named_as_it_was(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    (command,) = shown_commands(stop("job.yaml", "--set", "lora_r=4", "--set=lora_alpha=8", cwd=tmp_path))
    assert must(paste(command, tmp_path)).resumed_at >= 2
    assert "done" in must(paste(command, tmp_path)).err and job.run.exists()


def recipe(folder, model, **settings):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(("low", "high")):
        (folder / f"{name}.jsonl").write_text(token_lines(8, number))
    stages = [{"name": name, "learning_rate": 0.002, "datasets": [{"path": f"{name}.jsonl", "type": "tokenized"}]}
              for name in ("low", "high")]
    return write_config(folder / "recipe.yaml", **{"base_model": str(model), "output_dir": "runs", "sequence_len": 64,
                        "device": "cpu", "threads": 1, "num_epochs": 2, **settings}, stages=stages)


def test_only_stays_in_the_command(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    (command,) = shown_commands(stop(config, "--only", "low", "--set", "low.learning_rate=1e-3"))
    must(paste(command, tmp_path))
    assert (tmp_path / "runs/low/done.json").exists() and not (tmp_path / "runs/high").exists()


def test_commands_of_refusals_work(tmp_path, token_model):
    """E0507, E0506, E0508 and E0516 of a recipe: each is pasted, and does what it says."""
    config = recipe(tmp_path, token_model)
    chosen = [config, "--set", "output_dir=other runs", "weight_decay=0.05"]
    (command,) = shown_commands(must(train(*chosen, "--resume"), 4))
    must(paste(command, tmp_path))
    assert (tmp_path / "other runs/high/done.json").is_file() and not (tmp_path / "runs").exists()
    (tmp_path / "low.jsonl").write_text(token_lines(8, 7))
    (command,) = shown_commands(must(train(*chosen), 3))
    assert "--from low" in command
    must(paste(command, tmp_path))
    assert (tmp_path / "other runs/high.old-1").is_dir() and "skipped" in must(train(*chosen)).err
    shutil.rmtree(tmp_path / "other runs/low")
    (command,) = shown_commands(must(train(*chosen), 2))
    must(paste(command, tmp_path))
    shutil.rmtree(tmp_path / "other runs")
    stop(*chosen)
    (command,) = shown_commands(must(train(*chosen), 2))
    assert must(paste(command, tmp_path)).resumed_at >= 2


@pytest.mark.parametrize("is_recipe", [False, True], ids=["one stage", "recipe"])
def test_commands_after_a_run_without_a_usable_checkpoint_work(tmp_path, token_model, is_recipe):
    """The E0506 that finds all checkpoints damaged, the E0506 of its repetition, and the E0507 without --resume."""
    made = tmp_path / "made"
    made.mkdir()
    config = recipe(made, token_model) if is_recipe else TokenJob(made, token_model).config
    outcome = stop(config, cwd=made)
    folders = list(made.rglob("checkpoints"))
    assert len(folders) == 1, repr(outcome)
    for path in folders[0].glob("step-*.safetensors"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    run_folder = folders[0].parent.relative_to(made)
    messages = [(["E0503", "E0503", "E0506"], 4, ["--resume"]), (["E0506"], 4, ["--resume"]), (["E0507"], 2, [])]
    for number, (codes, code, options) in enumerate(messages, 1):
        # The folder of the first message is what the next one finds.
        refused = must(train(config.name, *options, cwd=made), code)
        assert refused.errors == codes, repr(refused)
        (command,) = shown_commands(refused)
        folder = shutil.copytree(made, tmp_path / str(number), symlinks=True)
        done = must(paste(command, folder))
        assert (folder / run_folder / "done.json").is_file(), f"{command}\n{done!r}"
        assert (folder / f"{run_folder}.old-1/checkpoints/damaged").is_dir(), repr(done)


def test_explain_lines_work_and_take_any_case(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, lora_rr=5)
    (line,) = re.findall(r"= explain: (.*)", must(train(job.config), 2).err)
    assert "E0101" in must(paste(line, tmp_path)).out
    assert must(train("--explain", "e0504")).out == must(train("--explain", "E0504")).out
    (command,) = shown_commands(must(train("--explain", "e9504"), 2)) or [None]
    assert command is None or must(paste(command, tmp_path)).out
    assert must(train("--explain", "w0304")).out.startswith("W0304: ")


# Commands in the texts of the programs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory, text_model):
    """A folder with everything that the examples name."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "models").mkdir()
    (folder / MODEL).symlink_to(text_model)
    scenes(folder / "data/high", 3, 1)
    (folder / "data/high/shrine.blockml").write_text(scene("The shrine", ["hello", "and more"]))
    chats = [{"id": f"c{n}", "text": scene(f"Chat {n}", ["hello", f"number {n}"])} for n in range(12)]
    lines = "".join(f"{json.dumps(chat)}\n" for chat in chats)
    (folder / "data/chats.jsonl").write_text(lines)
    (folder / "chats.jsonl").write_text(lines)
    talk = {"conversations": [{"from": "human", "value": "Hello."}, {"from": "gpt", "value": "Good day."}]}
    (folder / "talks.jsonl").write_text(json.dumps(talk) + "\n")
    (folder / "chats").mkdir()
    chat = [{"user_name": "Aya", "character_name": "Tam", "chat_metadata": {}},
            {"name": "Tam", "is_user": False, "mes": "The boat is late."}, {"name": "Aya", "is_user": True, "mes": "Again?"}]
    (folder / "chats/tam.jsonl").write_text("".join(json.dumps(line) + "\n" for line in chat))
    (folder / "characters").mkdir()
    (folder / "characters/Tam.json").write_text(json.dumps({"name": "Tam", "description": "{{char}} owns a boat."}))
    (folder / "logs").mkdir()
    (folder / "logs/night.txt").write_text("Aya: Is this the last boat?\nTam: It is.\n")
    (folder / "configs").mkdir()
    write_config(folder / "configs/stage_high.yaml", base_model="../" + MODEL, output_dir="../runs/high", device="cpu",
                 sequence_len=256, learning_rate=0.001, datasets=[{"path": "../data/high"}])
    job = Job(folder, text_model, output_dir="runs/shori/top-pg13", sequence_len=256, num_epochs=1,
              datasets=[{"path": "data/high"}])
    must(train(job.config))
    return folder


def examples():
    """(program, command) of every example that a --help shows."""
    found = []
    for program in PROGRAMS:
        help_text = must(run(BIN / program, "--help")).out
        texts = [help_text]
        listed = re.split(r"(?i)\nsubcommands:\n", help_text)
        for command in re.findall(r"^  (\w+) +\S", listed[1], re.M) if len(listed) == 2 else []:
            texts.append(must(run(BIN / program, command, "--help")).out)
        for text in texts:
            found += commands_in("\n".join(re.split(r"Examples?:", text)[1:]))
    return sorted(set(command.split("   ")[0] for command in found))


def test_every_example_of_a_help_works(desk, tmp_path):
    commands = examples()
    assert len(commands) >= 12, commands
    for number, command in enumerate(commands):
        folder = shutil.copytree(desk, tmp_path / str(number), symlinks=True)
        outcome = paste(f'export PATH="{BIN}:$PATH"; {command}', folder, {"SHORI_TOKENIZER": ""})
        assert outcome.code == 0, f"{command}\n{outcome!r}"


def test_every_command_in_a_message_names_what_exists():
    """Commands in backticks in the sources: program, subcommand and options are those of --help."""
    helps = {}

    def help_of(program, command):
        key = (program, command)
        if key not in helps:
            outcome = run(BIN / program, *([command] if command else []), "--help")
            helps[key] = outcome.out if outcome.code == 0 else None
        return helps[key]

    checked = 0
    for path in sorted((SOURCE / "src").rglob("*.cpp")):
        for command in re.findall(r"`(shori-(?:train|data|export|chat) [^`\"]+)`", path.read_text()):
            program, *words = shlex.split(command, comments=False)
            sub = words[0] if program in ("shori-data", "shori-export") and not words[0].startswith("-") else None
            text = help_of(program, sub)
            assert text, f"{path.name}: `{command}`: no such command"
            for option in re.findall(r"(?<!\S)--[a-z-]+", command):
                assert option in text, f"{path.name}: `{command}`: {option} is no option"
            checked += 1
    assert checked >= 5


# --set ---------------------------------------------------------------------------------------------------------------------


def test_set_takes_several_pairs_before_and_after_the_config(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    for arguments in (["--set", "lora_r=4", "lora_alpha=8", job.config], [job.config, "--set", "lora_r=4", "lora_alpha=8"],
                      ["--set=lora_r=4", "lora_alpha=8", job.config], [job.config, "--set", "lora_r=4", "--set", "lora_alpha=8"]):
        printed = must(train(*arguments, "--check", "--verbose")).err
        assert re.search(r"lora_r: 4 .*--set", printed) and re.search(r"lora_alpha: 8 .*--set", printed), arguments
    assert must(train(job.config, "--set", "lora_r=4", "lora_alpha:8"), 2).err
    assert must(train(job.config, "--set", "lora_r=4", "lora_r=8"), 2).errors == ["E0102"]


def test_set_of_one_stage(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    printed = must(train(config, "--check", "--verbose", "--set", "high.learning_rate=1e-4", "lora_r=4")).err
    rates = re.findall(r"learning_rate: (\S+)", printed)
    assert [float(rate) for rate in rates[:2]] == [0.002, 1e-4], rates
    refused = must(train(config, "--check", "--set", "hihg.learning_rate=1e-4"), 2)
    assert refused.errors == ["E0117"] and "`--set high.learning_rate=1e-4`" in refused.err


# One start shows everything ---------------------------------------------------------------------------------------------


def test_config_base_data_and_device_in_one_start(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.blockml").write_text("▀mesage\nx▄\n")
    config = write_config(tmp_path / "job.yaml", base_model="missing", output_dir="run", learning_rate=1, device="cuda",
                          lora_rr=4, datasets=[{"path": "data"}, {"path": "none"}])
    for arguments in ([], ["--check"]):
        outcome = must(train(config, *arguments), 2)
        assert {"E0103", "E0101", "E0108", "E0302", "E0315"} <= set(outcome.errors), repr(outcome)
        assert "E0404" in outcome.errors or pathlib.Path("/dev/nvidia0").exists(), "what this device lacks is said as well"
    assert re.search(r"^\d+ errors$", outcome.err, re.M), outcome.err


def test_check_ends_with_a_verdict(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    assert must(train(job.config, "--check")).err.rstrip().endswith("no problems")
    job.write(lora_rr=4, lora_aplha=8)
    assert must(train(job.config, "--check"), 2).err.rstrip().endswith("2 errors")
    job.write(lora_rr=..., lora_aplha=...)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    printed = must(train(job.config, "--check")).err.rstrip()
    assert re.search(r"no problems but \d warnings? \(above\)$", printed) or printed.endswith("no problems"), printed


def test_json_errors_are_all_that_a_check_writes(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, lora_rr=4)
    for code, keys in ((2, {}), (0, {"lora_rr": ...})):
        job.write(**keys)
        checked = must(train(job.config, "--check", "--json-errors"), code)
        assert len(checked.err.splitlines()) == len(checked.diagnostics), repr(checked)
        assert len(checked.errors) == (code > 0)


def test_only_names_the_stage_that_comes_first(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    refused = must(train(config, "--only", "high"), 2)
    (command,) = shown_commands(refused)
    assert "train low first: " in refused.err and command.endswith("--only low")
    must(paste(command, tmp_path))
    must(train(config, "--only", "high"))


def test_resume_of_nothing_keeps_the_choice_of_a_stage(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    (command,) = shown_commands(must(train(config, "--resume", "--only", "low"), 4))
    must(paste(command, tmp_path))
    assert (tmp_path / "runs/low/done.json").exists() and not (tmp_path / "runs/high").exists()


def test_a_profile_of_no_step_is_named(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    outcome = must(train(job.config, "--profile-steps", "50:60"))
    assert outcome.codes == ["W0101"] and "times no step of stage" in outcome.err and "steps 1 to 8" in outcome.err, repr(outcome)
    assert "--profile-steps 8:8" in outcome.err
    again = TokenJob(tmp_path / "again", token_model)
    assert must(train(again.config, "--profile-steps", "8:60")).codes == []


def test_a_finished_run_with_another_base_or_adapter_is_noticed(tmp_path, token_model):
    config = recipe(tmp_path, token_model)
    must(train(config))
    other = make_model(tmp_path / "other", "--vocab", 512, "--seed", 7)
    for arguments in ([], ["--check"], ["--only", "low"]):
        outcome = must(train(config, "--set", f"base_model={other}", *arguments), 3)
        assert set(outcome.errors) == {"E0505"}, repr(outcome)
    adapter = tmp_path / "runs/high/adapter/adapter_model.safetensors"
    data = bytearray(adapter.read_bytes())
    data[-1] ^= 1
    adapter.write_bytes(data)
    assert must(train(config), 2).errors == ["E0517"]


def test_a_changed_key_is_shown_with_its_line(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    must(train(job.config))
    outcome = must(train(job.config, "--set", "lora_r=8"), 2)
    assert "leave out `--set lora_r=...`" in outcome.err and "`lora_r` 20 -> 8 (--set)" in outcome.err, outcome.err
    job.write(learning_rate=0.001)
    outcome = must(train(job.config), 2)
    line = 1 + job.config.read_text().splitlines().index("learning_rate: 0.001")
    assert f"`learning_rate` 0.004 -> 0.001 ({job.config}:{line})" in outcome.err and f"{job.config}:{line}:" in outcome.err


# One code is one meaning ---------------------------------------------------------------------------------------------------


def test_a_code_explains_what_it_is_printed_for(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    data = BIN / "shori-data"
    scenes(tmp_path / "scenes", 2, 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/scene-00.blockml").write_text("other")
    cases = [("E0116", train()), ("E0113", train(job.config, "--set", "max_steps")), ("E0117", train(job.config, "--only", "x")),
             ("E0116", run(data, "check", tmp_path / "scenes", "--fix")),
             ("E0218", run(data, "stats", tmp_path / "scenes", env={"SHORI_TOKENIZER": ""})),
             ("E0807", run(data, "convert", tmp_path / "scenes", "--to", "blockml", "--out", tmp_path / "out")),
             ("E0117", run(data, "inspect", tmp_path / "scenes/scene-01.blockml:9", "--tokenizer", TOKENIZER))]
    for code, outcome in cases:
        assert outcome.code != 0 and set(outcome.errors) == {code}, repr(outcome)


def test_an_unknown_word_proposes_one():
    data = BIN / "shori-data"
    assert "did you mean `check`?" in run(data, "chek", "x").err
    assert "did you mean `check --fix`?" in run(data, "fix", "x").err
    assert "did you mean `--help`?" in run(data, "help").err
    assert "choose one of check, stats" in run(data, "bake", "x").err
    assert "choose blockml, jsonl or yaml" in run(data, "convert", "x", "--to", "xml", "--out", "y").err
    assert "[blockml|jsonl|yaml]" in must(run(data, "convert", "--help")).out
    assert "did you mean `merged`?" in run(BIN / "shori-export", "merge", "x").err


# Output that is not taken ------------------------------------------------------------------------------------------------


OUTPUTS = {
    "a JSON text": ("shori-data", "stats", "FILE", "--tokenizer", TOKENIZER, "--json"),
    "numbers": ("shori-data", "inspect", "FILE", "--tokenizer", TOKENIZER, "--ids"),
    "a verdict": ("shori-data", "check", "FILE"),
    "one line": ("shori-export", "--version"),
    "a short help": ("shori-chat", "--help"),
    "more than a buffer": ("shori-train", "--help-keys=markdown"),
    "an explanation": ("shori-train", "--explain", "E0512"),
}


def output_to(stdout, command, folder):
    (folder / "a.blockml").write_text(scene("The pier", ["hello", "and more"]))
    arguments = [str(folder / "a.blockml") if word == "FILE" else str(word) for word in command[1:]]
    return subprocess.run([str(BIN / command[0]), *arguments], stdout=stdout, stderr=subprocess.PIPE, env=environment(), timeout=PATIENCE,
                          text=True, check=False)


@pytest.mark.parametrize("command", OUTPUTS.values(), ids=OUTPUTS)
def test_output_that_a_full_disk_loses_is_an_error(command, tmp_path):
    with open("/dev/full", "wb") as full:
        done = output_to(full, command, tmp_path)
    assert done.returncode == 4 and re.findall(r"^error\[(E\d+)\]: cannot write to stdout", done.stderr, re.M) == ["E0512"], done


@pytest.mark.parametrize("command", OUTPUTS.values(), ids=OUTPUTS)
def test_a_reader_that_has_gone_is_none(command, tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = output_to(theirs, command, tmp_path)
    finally:
        os.close(theirs)
    assert done.returncode == 0 and "E0512" not in done.stderr, done
