"""Data, base and run that were moved, renamed, or are reached by another path are the same: only contents count. A run ended with E0508
`the data changed` because `datasets` said `./data1` instead of `data1`; a finished recipe was to be trained again for it."""
import os
import re
import shutil
import signal

import pytest

from run_folders import adapter_values
from shori_programs import must, start_train, train
from small_jobs import Job, TokenJob, copy_folder, scenes, token_lines, write_config


def stop_early(config):
    with start_train(config) as running:
        assert running.wait_for(r"saved step 2 \(durable\)")
        running.signal(signal.SIGINT)
        assert running.finish().code == 75


def data_job(folder, model, **settings):
    """Conversations in files without an `id`, which are named by their paths; `data1` as in the case data-path-spelling."""
    folder.mkdir()
    for name, seed in (("0", 1), ("1", 2), ("2", 3)):
        path = folder / "data1" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text(token_lines(4, seed))
    return Job(folder, model, **{"datasets": [{"path": "data1", "type": "tokenized"}], **settings})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, token_model):
    job = data_job(tmp_path_factory.mktemp("identity") / "stopped", token_model)
    stop_early(job.config)
    return job


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, token_model):
    job = data_job(tmp_path_factory.mktemp("identity") / "untouched", token_model)
    must(train(job.config))
    return adapter_values(job.run)


def entry(path):
    return {"datasets": [{"path": str(path), "type": "tokenized"}]}


def rename_folder(job):
    (job.folder / "data1").rename(job.folder / "data 2")
    job.write(**entry("data 2"))


def reverse_names(job):
    for old, new in (("0", "z"), ("1", "m"), ("2", "a")):
        (job.folder / "data1" / f"{old}.jsonl").rename(job.folder / "data1" / f"{new}.jsonl")


def move_one_file(job):
    (job.folder / "more").mkdir()
    (job.folder / "data1/0.jsonl").rename(job.folder / "more/first.jsonl")
    job.write(datasets=[*entry("data1")["datasets"], *entry("more/first.jsonl")["datasets"]])


def by_link(job):
    (job.folder / "data1").rename(job.folder / "elsewhere")
    (job.folder / "link").symlink_to("elsewhere")
    job.write(**entry("link"))


def move_config(job):
    text = job.config.read_text().replace('"data1"', '"../data1"').replace('"run"', '"../run"')
    job.config = job.folder / "configs/other.yaml"
    job.config.parent.mkdir()
    job.config.write_text(text)


def rename_run(job):
    job.run = job.run.rename(job.folder / "another run")
    job.write(output_dir="another run")


def link_run(job):
    target = job.folder / "big disk/run"
    target.parent.mkdir()
    job.run.rename(target)
    job.run.symlink_to(target)
    job.run = target


def move_all(job):
    job.folder = job.folder.rename(job.folder.parent / "moved job")
    job.run, job.config = job.folder / "run", job.folder / "job.yaml"


SPELLINGS = {
    "dot": lambda job: job.write(**entry("./data1")),
    "slash": lambda job: job.write(**entry("data1/")),
    "absolute": lambda job: job.write(**entry(job.folder / "data1")),
    "around": lambda job: job.write(**entry("run/../data1")),
    "glob": lambda job: job.write(**entry("data1/*.jsonl")),
    "files": lambda job: job.write(datasets=[entry(f"data1/{n}.jsonl")["datasets"][0] for n in "012"]),
    "renamed folder": rename_folder,
    "renamed files": reverse_names,
    "moved file": move_one_file,
    "link": by_link,
    "config in another folder": move_config,
    "renamed run": rename_run,
    "run through a link": link_run,
    "everything moved": move_all,
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_resume_goes_on(tmp_path, stopped, untouched, name):
    job = stopped.copy(tmp_path / "job")
    SPELLINGS[name](job)
    assert re.search(r"interrupted at step \d", must(train(job.config, "--check")).err)
    outcome = must(train(job.config, "--resume"))
    assert outcome.resumed_at is not None and outcome.codes == [], repr(outcome)
    assert adapter_values(job.run) == untouched
    assert "skipped" in must(train(job.config)).err, "and it stays finished"


@pytest.mark.parametrize("base", ["renamed", "copied", "link"])
def test_the_base_may_be_elsewhere(tmp_path, stopped, untouched, token_model, base):
    job = stopped.copy(tmp_path / "job")
    path = tmp_path / "models/other name"
    path.parent.mkdir()
    if base == "link":
        path.symlink_to(token_model)
    else:
        (shutil.copytree if base == "copied" else copy_folder)(token_model, path)
    job.write(base_model=str(path))
    must(train(job.config, "--resume"))
    assert adapter_values(job.run) == untouched


def test_what_really_changed_is_named(tmp_path, stopped):
    def refused(change):
        job = stopped.copy(tmp_path / change.__name__)
        change(job.folder / "data1")
        outcome = must(train(job.config, "--resume"), 3)
        assert set(outcome.errors) == {"E0508"}, repr(outcome)
        return outcome.err

    def added(data):
        (data / "new.jsonl").write_text(token_lines(2, 9))

    def missing(data):
        (data / "1.jsonl").unlink()

    def changed(data):
        (data / "2.jsonl").write_text(token_lines(4, 9))

    def changed_and_moved(data):
        (data / "2.jsonl").write_text(token_lines(4, 9))
        (data / "0.jsonl").rename(data / "renamed.jsonl")

    assert re.search(r"data1/new\.jsonl is new since", refused(added))
    assert re.search(r"data1/1\.jsonl is missing since", refused(missing))
    assert re.search(r"data1/2\.jsonl changed since .*\n.*sha256 \w{8} -> \w{8}", refused(changed))
    shown = refused(changed_and_moved)
    assert "2.jsonl changed" in shown and "renamed.jsonl" not in shown and "0.jsonl" not in shown


def test_a_finished_recipe_stays_finished(tmp_path, token_model):
    for number, name in enumerate(("low", "high")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jsonl").write_text(token_lines(4, number))

    def write(paths, **changes):
        stages = [{"name": name, "learning_rate": 0.002, "datasets": [{"path": path, "type": "tokenized"}]}
                  for name, path in paths.items()]
        return write_config(tmp_path / "recipe.yaml", **{"base_model": str(token_model), "output_dir": "runs",
                            "sequence_len": 64, "device": "cpu", "threads": 1, **changes}, stages=stages)

    config = write({"low": "low", "high": "high"})
    must(train(config))
    (tmp_path / "low").rename(tmp_path / "data low")
    config = write({"low": "data low", "high": "./high"})
    assert must(train(config)).err.count("skipped") == 2
    (tmp_path / "runs").rename(tmp_path / "old runs")
    config = write({"low": "data low", "high": "./high"}, output_dir="old runs")
    assert must(train(config)).err.count("skipped") == 2
    before = adapter_values(tmp_path / "old runs/high")
    outcome = must(train(config, "--from", "high"))
    assert outcome.err.count("skipped") == 1 and adapter_values(tmp_path / "old runs/high") == before


def test_prepared_data_goes_on(tmp_path, text_model):
    scenes(tmp_path / "data", 6, 1)
    job = Job(tmp_path, text_model, sequence_len=512, num_epochs=1, datasets=[{"path": "data"}])
    assert "data tokenized" in must(train(job.config)).err
    (tmp_path / "data").rename(tmp_path / "moved")
    job.write(datasets=[{"path": "./moved"}])
    assert "prepared data taken from" in must(train(job.config)).err
    job.run.rename(tmp_path / "renamed")
    job.write(output_dir="renamed")
    assert "prepared data taken from" in must(train(job.config)).err
    (tmp_path / "moved/scene-00.blockml").write_text("▀message\nAya: another▄\n")
    assert "data tokenized" in train(job.config).err


def test_the_nf4_cache_goes_on(tmp_path, token_model):
    model = shutil.copytree(token_model, tmp_path / "model")

    def log_of(name, base):
        job = TokenJob(tmp_path / name, base, samples=4, held_out=0, num_epochs=1, nf4_cache=str(tmp_path / "caches"))
        return must(train(job.config)).err

    assert "NF4 cache written" in log_of("first", model)
    model = model.rename(tmp_path / "renamed")
    assert "the base comes from the NF4 cache" in log_of("second", model)
    copied = shutil.copytree(model, tmp_path / "copied")
    os.utime(copied / "model.safetensors", (1, 1))
    assert "the base comes from the NF4 cache" in log_of("third", copied)
    assert "the base comes from the NF4 cache" in log_of("fourth", copied)


def test_skip_samples_may_be_spelled_otherwise(tmp_path, token_model):
    job = data_job(tmp_path / "job", token_model, skip_samples=["data1/0.jsonl:2"])
    stop_early(job.config)
    job.write(**entry("./data1"), skip_samples=["./data1/0.jsonl:2"])
    must(train(job.config, "--resume"))
    job.write(skip_samples=["./data1/0.jsonl:1"])
    outcome = must(train(job.config), 2)
    assert outcome.errors == ["E0504"] and "skip_samples" in outcome.err, repr(outcome)


def test_a_link_that_leads_nowhere_is_refused(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    (tmp_path / "run").symlink_to("nowhere")
    assert must(train(job.config), 4).errors == ["E0513"]
