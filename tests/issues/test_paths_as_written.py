"""`~`, `~user`, `$VAR` and `${VAR}` in configs and options: `output_dir: ~/run` made a folder named `~`, and the printed download command
sent the model to another place than the one that was searched (huggingface_hub #4292, #2942)."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from shori_programs import BIN, EXPORT, must, run, train
from small_jobs import TokenJob, scene, scenes, write_config

DATA = BIN / "shori-data"


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def no_tilde_below(folder):
    return not [path for path in folder.rglob("*") if path.name.startswith(("~", "$"))]


@pytest.mark.parametrize("form", ["~/", "$HOME/", "${HOME}/", "$WHERE/", "${PART}me/"])
def test_tilde_paths(tmp_path, home, token_model, form):
    env = {"HOME": str(home), "WHERE": str(home), "PART": str(home)[:-2]}
    job = TokenJob(tmp_path / "job", token_model, samples=2, lengths=(30,), held_out=0)
    shutil.copytree(token_model, home / "models/tiny")
    (home / "chats").mkdir()
    (job.folder / "train.jsonl").rename(home / "chats/train.jsonl")
    job.write(base_model=f"{form}models/tiny", output_dir=f"{form}runs/a", dataset_prepared_path=f"{form}prepared",
              datasets=[{"path": f"{form}chats/*.jsonl", "type": "tokenized"}])
    must(train(job.config, env=env))
    assert (home / "runs/a/done.json").exists() and list((home / "prepared").iterdir())
    assert no_tilde_below(tmp_path)
    must(run(EXPORT, "adapter", f"{form}runs/a", "--out", f"{form}out", env=env))
    assert (home / "out/adapter_config.json").exists() and no_tilde_below(tmp_path)


def test_a_missing_model_is_named_as_it_was_looked_for(tmp_path, home, token_model):
    job = TokenJob(tmp_path / "job", "~/models/tiny")
    outcome = must(train(job.config, "--check", env={"HOME": str(home)}), 2)
    assert outcome.codes == ["E0108"] and f"--local-dir {home}/models/tiny" in outcome.err and "~" not in outcome.err.split("\n")[0]


@pytest.mark.parametrize("path, problem", [
    ("$SHORI_NOT_SET/x", "the variable `SHORI_NOT_SET` is not set"),
    ("~no-such-user-here/x", "there is no user `no-such-user-here`"),
    ("./~/x", "`~` stands for the home folder only at the start of a path"),
    ("${HOME:-x}/y", "is not of the form `${NAME}`"),
])
def test_what_cannot_be_expanded(tmp_path, token_model, path, problem):
    job = TokenJob(tmp_path / "job", token_model, output_dir=path)
    outcome = must(train(job.config, "--check"), 2)
    assert outcome.codes == ["E0118"] and problem in outcome.err and "the path so far: " in outcome.err
    for command in (["convert", "x", "--to", "yaml", "--out", path], ["check", path], ["stats", "x", "--svg", path],
                    ["inspect", path], ["import", path, "--from", "text", "--out", "o"]):
        outcome = must(run(DATA, *command, cwd=tmp_path), 2)
        assert problem in outcome.err, repr(outcome)
    assert no_tilde_below(tmp_path)


def test_options_of_every_program(tmp_path, home):
    (home / "in").mkdir()
    (home / "in/a.blockml").write_text(scene("One", ["yes", "no"]), encoding="utf-8")
    env = {"HOME": str(home), "IN": str(home / "in")}
    must(run(DATA, "check", "~/in", env=env, cwd=tmp_path))
    must(run(DATA, "convert", "$IN", "--to", "yaml", "--out", "~/yaml", env=env, cwd=tmp_path))
    assert list((home / "yaml").iterdir())
    must(run(DATA, "check", "--fix", "${IN}/a.blockml", "--out=~/fixed", env=env, cwd=tmp_path))
    assert (home / "fixed").is_dir()
    must(run(DATA, "stats", "~/in", "--svg=~/lengths.svg", env=env, cwd=tmp_path))
    assert (home / "lengths.svg").exists()
    tokenizer = pathlib.Path(os.environ.get("SHORI_TOKENIZER", ""))
    shutil.copy(tokenizer, home / "tokenizer.model")
    must(run(DATA, "inspect", "~/in/a.blockml:1", "--tokenizer", "~/tokenizer.model", env=env, cwd=tmp_path))
    must(run(DATA, "inspect", "~/in/a.blockml", env={**env, "SHORI_TOKENIZER": "~/tokenizer.model"}, cwd=tmp_path))
    assert no_tilde_below(tmp_path)


def test_names_with_a_dollar_are_files(tmp_path):
    """A shell has expanded its globs: what arrives with a `$` is the name of a file."""
    name = "cost in $SHORI_NOT_SET.blockml"
    (tmp_path / name).write_text(scene("One", ["yes", "no"]), encoding="utf-8")
    must(run(DATA, "check", name, cwd=tmp_path))


@pytest.mark.parametrize("pattern, found", [
    ("in/[ab].blockml", 2), ("in/[!a].blockml", 2), ("in/[a-c].blockml", 3), ("in/{a,c}.blockml", 2),
    ("in/{a,more/*}.blockml", 2), ("in/{[ab],c}.blockml", 3), ("{in,other}/?.blockml", 4), ("in/x[1].blockml", 1),
    ("in/**/*.blockml", 5),
])
def test_globs_of_shells(tmp_path, pattern, found):
    for number, name in enumerate(["in/a", "in/b", "in/c", "in/more/d", "other/e", "in/x[1]"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.blockml").write_text(scene(f"Scene {number}", [f"yes {number}", "no"]), encoding="utf-8")
    outcome = must(run(DATA, "check", pattern, cwd=tmp_path))
    assert f"{found} conversation" in outcome.out + outcome.err, repr(outcome)


def test_globs_that_match_nothing(tmp_path):
    (tmp_path / "a.blockml").write_text(scene("One", ["yes", "no"]), encoding="utf-8")
    missing = must(run(DATA, "check", "{a,b}.blockml", cwd=tmp_path), 3)
    assert missing.codes == ["E0315"] and "b.blockml" in missing.err
    counted = must(run(DATA, "check", "{1..3}.blockml", cwd=tmp_path), 3)
    assert counted.codes == ["E0315"] and "`{a,b}` stands for two paths" in counted.err


# Paths in messages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path, text_model):
    """Configs and data beside each other, as in the README; the programs are called from the folder of both."""
    scenes(tmp_path / "data/low", 3, 1)
    scenes(tmp_path / "data/test", 2, 9)
    write_config(tmp_path / "configs/x.yaml", base_model=str(text_model), output_dir="../runs/x", device="cpu", sequence_len=512,
                 learning_rate=1e-3, num_epochs=1, datasets=[{"path": "../data/low/"}], test_datasets=[{"path": "../data/test/*.blockml"}])
    return tmp_path


@pytest.mark.parametrize("program", ["shori-train", "shori-data"])
def test_paths_in_messages_work_from_the_current_directory(layout, program):
    arguments = ["configs/x.yaml", "--check"] if program == "shori-train" else ["check", "configs/x.yaml"]
    bad = layout / "data/low/scene-00.blockml"
    bad.write_bytes(bad.read_bytes().replace(b"the", b"th\xe9") + b"\n")
    (layout / "data/low/scene-01.blockml").write_text("▀mesage\nx▄\n")
    (layout / "data/test/scene-00.blockml").write_text("▀mesage\nx▄\n")
    refused = must(run(BIN / program, *arguments, cwd=layout), 3)
    for file in ("data/low/scene-00.blockml:", "data/low/scene-01.blockml:1:", "data/test/scene-00.blockml:1:"):
        assert f"--> {file}" in refused.err, repr(refused)
    assert "../data" not in refused.err
    command, = re.findall(r"= help: convert it: (.*)|= help: .*?(iconv.*)", refused.err)
    subprocess.run(["bash", "-c", next(filter(None, command))], cwd=layout, check=True)
    bad.read_text(encoding="utf-8")


def test_json_errors_and_files_of_other_programs_name_such_paths(layout):
    (layout / "data/low/chat.jsonl").write_text('{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes."}]}\n')
    (problem,) = must(train("configs/x.yaml", "--json-errors", "--check", cwd=layout), 3).diagnostics
    assert problem["file"] == "data/low/chat.jsonl"
    assert "import data/low/chat.jsonl --from sharegpt" in problem["help"][0]
    (layout / "data/low/t.parquet").write_bytes(b"PAR1" + bytes(99) + b"PAR1")
    parquet = ["--set", 'datasets=[{path: ../data/low/t.parquet}]']
    (problem,) = must(train("configs/x.yaml", "--json-errors", "--check", *parquet, cwd=layout), 3).diagnostics
    assert problem["file"] == "data/low/t.parquet", problem
    (layout / "data/low/chat.jsonl").rename(layout / "data/low/my talks.jsonl")
    config = layout / "configs/x.yaml"
    config.write_text(config.read_text().replace('low/"', 'low/my talks.jsonl", "type": "sharegpt"'))
    refused = must(train("configs/x.yaml", "--check", cwd=layout), 2)
    assert "import 'data/low/my talks.jsonl' --from sharegpt --out configs/data/imported" in refused.err, repr(refused)


def test_ids_keep_the_path_as_written(layout):
    """They belong to the identity of a run, which another current directory must not change."""
    must(train("configs/x.yaml", cwd=layout))
    report = (layout / "runs/x/data_report.json").read_text()
    assert '"../data/low/scene-00.blockml"' in report and '"data/low' not in report
    assert "skipped" in must(train("x.yaml", cwd=layout / "configs")).err
    for name in ("../data/low/scene-00.blockml", "data/low/scene-00.blockml"):
        must(train("configs/x.yaml", "--check", "--set", f"skip_samples=[{name}]", "output_dir=other", cwd=layout))


# Entries of data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entries, tests, words", [
    (["data/low/", "data/low/*"], [], "remove one of the two"),
    (["data/low/", "data/low/"], [], "remove one of the two"),
    (["data/low/"], ["data/low/scene-00.blockml"], "remove it from `datasets` or from `test_datasets`"),
])
def test_two_entries_for_one_file(layout, text_model, entries, tests, words):
    config = write_config(layout / "two.yaml", base_model=str(text_model), output_dir="run", device="cpu", learning_rate=1e-3,
                          datasets=[{"path": path} for path in entries], test_datasets=[{"path": path} for path in tests])
    problems = must(train(config.name, "--json-errors", "--check", cwd=layout), 3).diagnostics
    assert [problem["code"] for problem in problems] == (["E0318", "E0307"] if tests else ["E0318"] * 3)
    for problem in problems[: 1 if tests else 3]:
        assert "two entries name the same file: data/low/" in problem["message"] and words in problem["help"][0], problem
        assert problem["file"] == "two.yaml" and problem["line"] > 1 and "two.yaml:" in problem["notes"][0], problem


def test_the_files_of_a_loader_are_named(layout, text_model):
    """Axolotl's `path: json`, which names a loader."""
    config = write_config(layout / "hub.yaml", base_model=str(text_model), output_dir="run", device="cpu", learning_rate=1e-3,
                          datasets=[{"path": "json", "data_files": "talks.jsonl", "type": "sharegpt"}])
    refused = must(train(config.name, "--check", cwd=layout), 2)
    assert "import talks.jsonl --from sharegpt" in refused.err and "write `path: talks.jsonl`" in refused.err, repr(refused)
    config.write_text(config.read_text().replace('"talks.jsonl"', '["a.jsonl", "b.jsonl"]'))
    assert "import a.jsonl --from sharegpt" in must(train(config.name, "--check", cwd=layout), 2).err
    assert "and an entry for each other file" in must(train(config.name, "--check", cwd=layout), 2).err


@pytest.mark.parametrize("form", ["indented", "quoted", "json"])
def test_check_takes_every_form_of_a_config_for_one(layout, form):
    path = layout / "configs/x.yaml"
    text = path.read_text()
    if form == "json":
        path.write_text(json.dumps(yaml.safe_load(text)))
    else:
        path.write_text("".join("  " + line for line in text.splitlines(True)) if form == "indented"
                        else re.sub(r"^(\w+):", r'"\1":', text, flags=re.M))
    assert "ready to train" in must(run(DATA, "check", "configs/x.yaml", cwd=layout)).out
