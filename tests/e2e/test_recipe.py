"""Chains of stages: the recipe, the arrow form and single files give the same adapters, stopped anywhere or not."""
import copy
import fcntl
import json
import re
import shutil
import signal

import pytest

from run_folders import check_nothing_half_written, file_sha256, final_state, metrics, snapshot, tensor_state
from shori_programs import BIN, export, must, start_train, train
from shori_programs import run as run_program
from small_jobs import SETTINGS, STAGES, make_model, token_lines, write_config

RATES = {"low": 0.004, "mid": 0.003, "high": 0.002, "top": 0.001, "top-pg13": 0.001}
SHARED = {**SETTINGS, "num_epochs": 1}

# As published on a model card; completed below by its last two keys, the path of the model and the size of a CPU's job.
CARD = """\
base_model: /home/anon/AI-Models/LLM/Mistral-7B-Instruct-v0.2
load_in_4bit: true
adapter: qlora
sequence_len: 16384
sample_packing: true
pad_to_sequence_len: false
gradient_accumulation_steps: 2
micro_batch_size: 1
eval_batch_size: 1
num_epochs: 2
optimizer: adamw_bnb_8bit
lr_scheduler: constant
learning_rate: 0.0000725 -> 0.0000550 -> 0.0000375 -> 0.0000350
weight_decay: 0.05
train_on_inputs: true
bf16: true
fp16: false
tf32: true
lora_r: 20
lora_alpha: 16
lora_dropout: 0.1
lora_target_linear: true
"""


def write_data(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number, stage in enumerate(STAGES):
        (folder / f"{stage}.jsonl").write_text(token_lines(8, 50 + number))


def entry(stage):
    return {"path": f"{stage}.jsonl", "type": "tokenized", "category": stage}


class Recipe:
    """The five-stage chain in `folder`, as one file with `stages`."""

    def __init__(self, folder, model, **settings):
        self.folder = folder
        write_data(folder)
        stages = [{"name": stage, "learning_rate": RATES[stage], "datasets": [entry(stage)]} for stage in STAGES]
        self.config = write_config(folder / "recipe.yaml", base_model=str(model), output_dir="runs", **SHARED,
                                   **settings, stages=stages)

    @property
    def runs(self):
        return {stage: self.folder / "runs" / stage for stage in STAGES}

    def copy(self, folder):
        """The same recipe in another folder, its runs included."""
        shutil.copytree(self.folder, folder)
        copied = copy.copy(self)
        copied.folder, copied.config = folder, folder / self.config.name
        return copied

    def adapters(self):
        return {stage: file_sha256(run / "adapter/adapter_model.safetensors") for stage, run in self.runs.items()}

    def states(self):
        return {stage: tensor_state(run) for stage, run in self.runs.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_model):
    recipe = Recipe(tmp_path_factory.mktemp("recipe"), token_model)
    recipe.outcome = must(train(recipe.config))
    return recipe


def table_of(outcome):
    """stage -> state, from the table."""
    lines = outcome.err.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("stage  "))
    state = lines[first].index("state")
    return {line.split()[0]: line[state:] for line in lines[first + 1:first + 6]}


def test_chain_of_parents(finished):
    adapters = finished.adapters()
    assert len(set(adapters.values())) == 5
    parent = None
    for stage, run in finished.runs.items():
        assert json.loads((run / "done.json").read_text())["parent"] == parent
        assert {line["stage"] for line in metrics(run)} == {stage}
        assert {line["learning_rate"] for line in metrics(run, "step")} == {RATES[stage]}
        parent = adapters[stage]
    assert set(table_of(finished.outcome).values()) == {"to train"}


def test_the_folder_of_a_recipe_names_its_finished_stages(finished, tmp_path):
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    first, *others = STAGES
    (tmp_path / "runs" / first / "done.json").unlink()
    for outcome in (export("adapter", "runs", "--out", "out", cwd=tmp_path), run_program(BIN / "shori-chat", "runs", cwd=tmp_path)):
        assert must(outcome, 2).errors == ["E0510"]
        (line,) = re.findall(r"= help: name one of the finished stages in it: (.*)", outcome.err)
        assert set(re.findall(r"`runs/([^`]*)`", line)) == set(others), line


@pytest.mark.parametrize("choice", [["--step", "1"], ["--best"]], ids=" ".join)
def test_the_folder_of_a_recipe_names_its_stages_where_a_checkpoint_is_asked_for(finished, tmp_path, choice):
    """Unfinished ones have checkpoints as well."""
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    (tmp_path / "runs" / STAGES[0] / "done.json").unlink()
    for outcome in (export("adapter", "runs", *choice, "--out", "out", cwd=tmp_path),
                    run_program(BIN / "shori-chat", "runs", *choice, cwd=tmp_path)):
        assert must(outcome, 2).errors == ["E0510"]
        (line,) = re.findall(r"= help: name one of the stages in it: (.*)", outcome.err)
        assert set(re.findall(r"`runs/([^`]*)`", line)) == set(STAGES), line


def test_single_files_give_the_same_adapters(tmp_path, token_model, finished):
    write_data(tmp_path)
    before = ...
    for stage in STAGES:
        settings = {"base_model": str(token_model), "output_dir": f"alone/{stage}", **SHARED,
                    "learning_rate": RATES[stage], "datasets": [entry(stage)], "init_from": before}
        must(train(write_config(tmp_path / f"stage_{stage}.yaml", **settings)))
        before = f"alone/{stage}"
        assert final_state(tmp_path / "alone" / stage) == final_state(finished.runs[stage]), stage


def test_arrow_form_gives_the_same_adapters(tmp_path, token_model, finished):
    write_data(tmp_path)
    settings = {**SHARED, "learning_rate": "0.004 -> 0.003 -> 0.002 -> 0.001"}
    config = write_config(tmp_path / "arrow.yaml", base_model=str(token_model), output_dir="runs", **settings,
                          datasets=[entry(stage) for stage in reversed(STAGES)])
    must(train(config))
    for stage in STAGES:
        assert final_state(tmp_path / "runs" / stage) == final_state(finished.runs[stage]), stage


def test_published_card_trains_the_whole_recipe(tmp_path, token_model):
    """The card's YAML to the letter, followed by `datasets` and `output_dir`; the model is where it says."""
    write_data(tmp_path)
    entries = "".join(f"  - {{path: {stage}.jsonl, type: tokenized, category: {stage}}}\n" for stage in STAGES)
    config = tmp_path / "card.yaml"
    config.write_text(CARD + "datasets:\n" + entries + "output_dir: runs\ndevice: cpu\n")
    wrong = must(train(config, "--check"), 2)
    assert wrong.errors == ["E0108"] and "/home/anon/AI-Models" in wrong.err, "only the model is not there"
    place = ["--set", f"base_model={token_model}"]
    checked = must(train(config, *place, "--check"))
    assert table_of(checked) == dict.fromkeys(STAGES, "to train")
    must(train(config, *place))
    rates = [{line["learning_rate"] for line in metrics(tmp_path / "runs" / stage, "step")} for stage in STAGES]
    assert rates == [{7.25e-5}, {5.5e-5}, {3.75e-5}, {3.5e-5}, {3.5e-5}], "the last rate serves what remains"
    config_of_run = json.loads((tmp_path / "runs/low/run.json").read_text())["config"]
    assert config_of_run["sequence_len"] == 16384 and config_of_run["num_epochs"] == 2


def test_more_rates_than_categories(tmp_path, token_model):
    write_data(tmp_path)
    config = write_config(tmp_path / "arrow.yaml", base_model=str(token_model), output_dir="runs",
                          **{**SHARED, "learning_rate": "0.004 -> 0.003 -> 0.002"},
                          datasets=[entry("low"), entry("top")])
    outcome = must(train(config), 2)
    assert outcome.errors == ["E0107"] and "low, top" in outcome.err, repr(outcome)


def test_same_command_twice_trains_nothing_twice(finished):
    before = snapshot(finished.folder)
    outcome = must(train(finished.config))
    assert outcome.acknowledged == -1 and len(re.findall("skipped", outcome.err)) == 5
    after = snapshot(finished.folder)
    assert {k: v for k, v in after.items() if k != "runs/run.lock"} == \
        {k: v for k, v in before.items() if k != "runs/run.lock"}


def test_check_writes_nothing(tmp_path, token_model):
    recipe = Recipe(tmp_path, token_model)
    before = snapshot(tmp_path)
    assert table_of(must(train(recipe.config, "--check"))) == dict.fromkeys(STAGES, "to train")
    assert table_of(must(train(recipe.config, "--plan"))) == dict.fromkeys(STAGES, "to train")
    assert snapshot(tmp_path) == before


def test_stop_and_resume_in_each_stage(tmp_path, token_model, finished):
    """One run of the chain, stopped by SIGINT in each of its five stages."""
    recipe = Recipe(tmp_path, token_model)
    arguments = []
    for number, stage in enumerate(STAGES):
        with start_train(recipe.config, *arguments) as running:
            assert running.wait_for(rf"stage {stage} begins"), stage
            assert running.wait_for(r"saved step 0 \(durable\)")
            running.signal(signal.SIGINT)
            stopped = running.finish()
        assert stopped.code == 75, repr(stopped)
        check_nothing_half_written(recipe.runs[stage])
        assert must(train(recipe.config), 2).errors == ["E0507"], "an interrupted stage needs --resume"
        states = table_of(must(train(recipe.config, "--check")))
        assert [states[s] for s in STAGES[:number]] == ["done"] * number
        assert states[stage].startswith("interrupted at step")
        arguments = ["--resume"]
    must(train(recipe.config, "--resume"))
    assert recipe.states() == finished.states()
    assert recipe.adapters() == finished.adapters()


def test_resume_with_nothing_begun(tmp_path, token_model):
    recipe = Recipe(tmp_path, token_model)
    assert must(train(recipe.config, "--resume"), 4).errors == ["E0506"]


def test_changed_data_is_noticed_and_from_retrains(tmp_path, finished, token_model):
    recipe = finished.copy(tmp_path / "recipe")
    (recipe.folder / "top.jsonl").write_text(token_lines(8, 99))
    before = snapshot(recipe.folder / "runs")
    for arguments in ([], ["--resume"], ["--check"]):
        outcome = train(recipe.config, *arguments)
        assert outcome.code == 3 and outcome.errors[0] == "E0508", repr(outcome)
        assert "top.jsonl" in outcome.err and re.search(r"sha256 [0-9a-f]{8} -> [0-9a-f]{8}", outcome.err)
    assert "--from top" in must(train(recipe.config), 3).err
    assert table_of(outcome)["top"].startswith("changed")
    kept = {k: v for k, v in snapshot(recipe.folder / "runs").items() if k != "run.lock"}
    assert kept == {k: v for k, v in before.items() if k != "run.lock"}

    old = recipe.states()
    outcome = must(train(recipe.config, "--from", "top"))
    assert len(re.findall("skipped", outcome.err)) == 3
    states = recipe.states()
    assert [states[s] == old[s] for s in STAGES] == [True, True, True, False, False]
    for stage in ("top", "top-pg13"):
        assert tensor_state(recipe.folder / "runs" / f"{stage}.old-1") == old[stage], "nothing is deleted"
    fresh = Recipe(tmp_path / "fresh", token_model)
    (fresh.folder / "top.jsonl").write_text(token_lines(8, 99))
    must(train(fresh.config))
    assert fresh.states() == states
    must(train(recipe.config, "--from", "top-pg13"))
    assert (recipe.folder / "runs/top-pg13.old-2").is_dir() and recipe.states() == states


def without_locks(folder):
    """The text of a lock names its holder, so it changes with each start."""
    return {key: value for key, value in snapshot(folder).items() if not key.endswith("run.lock")}


def test_from_checks_before_it_moves(tmp_path, finished):
    """What is refused leaves each run folder as it was, and the proposed command is one that works."""
    recipe = finished.copy(tmp_path / "recipe")
    runs, config = recipe.folder / "runs", recipe.config.read_text()
    before = without_locks(runs)

    def is_refused(codes, *arguments, code=None):
        outcome = train(recipe.config, *arguments)
        assert outcome.errors == codes and outcome.code == code, repr(outcome)
        assert without_locks(runs) == before
        return outcome.err

    # Data of an earlier stage.
    data = (recipe.folder / "high.jsonl").read_text()
    (recipe.folder / "high.jsonl").write_text(token_lines(8, 99))
    err = is_refused(["E0508"], "--from", "top", code=3)
    assert "high.jsonl" in err and "--from high" in err
    err = is_refused(["E0508", "E0516"], "--only", "top", code=3)
    assert "--from high" in err and "--from top" not in err, err
    (recipe.folder / "high.jsonl").write_text(data)
    # Another base of the same shape: only its weights differ.
    other = make_model(tmp_path / "other", "--vocab", 512, "--seed", 7)
    is_refused(["E0505"], "--from", "top", "--set", f"base_model={other}", code=3)
    # A device that this program has not.
    is_refused(["E0404"], "--from", "top", "--set", "device=cuda", code=5)
    # Another key of an earlier stage.
    recipe.config.write_text(config.replace('"learning_rate": 0.002', '"learning_rate": 0.0015'))
    assert "--from high" in is_refused(["E0504"], "--from", "top", code=2)
    recipe.config.write_text(config)
    # A program that works in one of the folders.
    with (runs / "top-pg13/run.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_refused(["E0501"], "--from", "top", code=7)
    # An earlier stage that is not finished.
    (runs / "high/done.json").unlink()
    before = without_locks(runs)
    is_refused(["E0507"], "--from", "top", code=2)
    assert "--from top --resume" in is_refused(["E0516"], "--only", "top", code=2)
    must(train(recipe.config, "--from", "top", "--resume"))
    assert recipe.states() == finished.states()
    assert sorted(path.name for path in runs.glob("*.old-*")) == ["top-pg13.old-1", "top.old-1"]


def test_from_a_stage_without_a_folder_moves_the_later_ones(tmp_path, finished):
    recipe = finished.copy(tmp_path / "recipe")
    shutil.rmtree(recipe.runs["high"])
    refused = must(train(recipe.config), 2)
    assert "--from top" in refused.err and not recipe.runs["high"].exists(), "before anything is trained"
    must(train(recipe.config, "--from", "high"))
    assert recipe.states() == finished.states()
    assert sorted(path.name for path in (recipe.folder / "runs").glob("*.old-*")) == ["top-pg13.old-1", "top.old-1"]


def test_stop_after_the_folders_are_moved(tmp_path, finished):
    """What is left to train is found by --resume alone."""
    recipe = finished.copy(tmp_path / "recipe")
    with start_train(recipe.config, "--from", "high") as running:
        assert running.wait_for("stage high begins") and running.wait_for(r"saved step 1 \(durable\)")
        running.signal(signal.SIGINT)
        assert running.finish().code == 75
    must(train(recipe.config, "--resume"))
    assert recipe.states() == finished.states()
    assert len(list((recipe.folder / "runs").glob("*.old-1"))) == 3


def test_changed_key_and_parent_are_noticed(tmp_path, finished):
    recipe = finished.copy(tmp_path / "recipe")
    text = recipe.config.read_text()
    recipe.config.write_text(text.replace('"learning_rate": 0.002', '"learning_rate": 0.0015'))
    outcome = must(train(recipe.config), 2)
    assert set(outcome.errors) == {"E0504"} and "`learning_rate` 0.002 -> 0.0015" in outcome.err
    assert re.search(r"recipe\.yaml:\d+\)", outcome.err), "the file and line that changed"
    states = table_of(outcome)
    assert [states[s].split(":")[0] for s in STAGES] == ["done", "done", "changed", "changed", "changed"]
    recipe.config.write_text(text)
    path = recipe.runs["mid"] / "adapter/adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    outcome = must(train(recipe.config), 2)
    assert outcome.errors[0] == "E0517" and "adapter_model.safetensors" in outcome.err


def test_only_trains_one_stage(tmp_path, token_model, finished):
    recipe = Recipe(tmp_path, token_model)
    must(train(recipe.config, "--only", "low"))
    assert sorted(p.name for p in (tmp_path / "runs").iterdir() if p.is_dir()) == ["low"]
    assert tensor_state(recipe.runs["low"]) == tensor_state(finished.runs["low"])
    outcome = train(recipe.config, "--only", "high")
    assert outcome.code == 2 and outcome.errors == ["E0510"], "its parent is not there: " + repr(outcome)
    must(train(recipe.config, "--only", "mid"))
    assert tensor_state(recipe.runs["mid"]) == tensor_state(finished.runs["mid"])
    wrong = must(train(recipe.config, "--only", "hihg"), 2)
    assert wrong.errors == ["E0117"] and "`high`" in wrong.err
    must(train(recipe.config))
    assert recipe.adapters() == finished.adapters()


def test_a_stage_whose_name_the_folder_of_the_recipe_needs(tmp_path, token_model):
    write_data(tmp_path)
    for name in ("report.html", "loss.svg", "run.lock"):
        def config(folder, **settings):
            return write_config(tmp_path / f"{folder}.yaml", base_model=str(token_model), output_dir=folder, **settings)

        item = {"learning_rate": 0.001, "datasets": [entry("low")]}
        recipe = config("stages", **SHARED, stages=[{"name": "low", **item}, {"name": name, **item}])
        arrow = config("arrow", **{**SHARED, "learning_rate": "0.002 -> 0.001"},
                       datasets=[entry("low"), {**entry("mid"), "category": name}])
        for path in (recipe, arrow):
            for arguments in (["--check"], []):
                outcome = must(train(path, *arguments), 2)
                assert outcome.errors == ["E0104"] and f"`{name}`" in outcome.err, repr(outcome)
        assert not (tmp_path / "stages").exists() and not (tmp_path / "arrow").exists()
        must(train(config("alone", **{**SHARED, "learning_rate": 0.001}, datasets=[entry("low")], name=name), "--check"))


def test_the_fix_for_one_stage_of_a_shared_line(tmp_path, token_model):
    """A line that all stages share cannot have the values of two: the fix leads to a start that trains nothing."""
    write_data(tmp_path)
    stages = [{"name": stage, "learning_rate": RATES[stage], "datasets": [entry(stage)]} for stage in STAGES[:2]]
    config = write_config(tmp_path / "recipe.yaml", base_model=str(token_model), output_dir="runs", **SHARED,
                          max_steps=2, stages=stages)
    must(train(config, "--set", "mid.max_steps=1"))
    outcome = must(train(config), 2)
    assert outcome.errors == ["E0504"] and "`max_steps` 1 -> 2" in outcome.err, repr(outcome)
    assert "write `max_steps: 1`; if other stages were trained with 2, in stage `mid` only" in outcome.err, repr(outcome)
    stages[1]["max_steps"] = 1
    write_config(config, base_model=str(token_model), output_dir="runs", **SHARED, max_steps=2, stages=stages)
    assert len(re.findall("skipped", must(train(config)).err)) == 2


def test_recipe_locks_its_folder(tmp_path, token_model):
    recipe = Recipe(tmp_path, token_model)
    with start_train(recipe.config) as running:
        assert running.wait_for(r"saved step 0 \(durable\)")
        running.signal(signal.SIGSTOP)
        second = train(recipe.config, "--from", "low")
        running.signal(signal.SIGCONT)
        assert running.finish().code == 0
    assert second.code == 7 and second.errors == ["E0501"], repr(second)
    assert not list((tmp_path / "runs").glob("*.old-*"))


def test_first_stage_may_begin_from_another_adapter(tmp_path, token_model, finished):
    write_data(tmp_path)
    source = finished.runs["low"] / "adapter"
    stages = [{"name": stage, "learning_rate": RATES[stage], "datasets": [entry(stage)]} for stage in STAGES[1:]]
    config = write_config(tmp_path / "later.yaml", base_model=str(token_model), output_dir="runs", **SHARED,
                          init_from=str(source), stages=stages)
    must(train(config))
    for stage in STAGES[1:]:
        assert tensor_state(tmp_path / "runs" / stage) == tensor_state(finished.runs[stage]), stage


def test_stages_with_one_name_or_mistakes_are_all_reported(tmp_path, token_model):
    write_data(tmp_path)
    stages = [{"name": "low", "learning_rate": 0.001, "datasets": [entry("low")]},
              {"name": "low", "learning_rate": 0.5, "datasets": [entry("missing")]},
              {"learning_rate": 0.001, "datasets": [entry("top")], "output_dir": "x"}]
    config = write_config(tmp_path / "bad.yaml", base_model=str(token_model), output_dir="runs", **SHARED,
                          stages=stages)
    outcome = must(train(config), 2)
    assert {"E0103", "E0114", "E0107"} <= set(outcome.errors), repr(outcome)
    assert not (tmp_path / "runs").exists()


def test_distinct_bases_in_one_recipe_are_loaded_in_turn(tmp_path, token_model):
    """Precision belongs to the loaded base: a stage that differs in it loads its own."""
    write_data(tmp_path)
    stages = [{"name": "low", "learning_rate": 0.004, "datasets": [entry("low")]},
              {"name": "mid", "learning_rate": 0.003, "datasets": [entry("mid")], "bf16": False}]
    config = write_config(tmp_path / "two.yaml", base_model=str(token_model), output_dir="runs", **SHARED,
                          stages=stages)
    must(train(config))
    alone = write_config(tmp_path / "alone.yaml", base_model=str(token_model), output_dir="alone/mid", bf16=False,
                         **{**SHARED, "learning_rate": 0.003}, datasets=[entry("mid")], init_from="runs/low")
    must(train(alone))
    assert tensor_state(tmp_path / "alone/mid") == tensor_state(tmp_path / "runs/mid")
