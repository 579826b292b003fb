"""Every token of the data is accounted for, whatever is done with it."""
import json

import pytest

from run_folders import metrics
from shori_programs import in_parallel, must, train
from small_jobs import Job, TokenJob, scene, scenes, token_lines

# A conversation whose tokens were counted by hand: 84 ids with BOS and EOS up to Marisa's message, 148 in total. Each
# entry begins what splitting keeps together.
SCENE = [
    "▀title\nA strange incident▄\n▀tags\nbarrier, danmaku▄\n▀description\nReimu\n**Name:** Reimu▄\n",
    '▀message (length: tiny)\nReimu: "Hmm..."▄\n',
    '[INST] Marisa is bored. [/INST]\n▀message\nMarisa: _Ugh._ "Boring."▄\n',
    '▀title\nThe shrine at night▄\n▀message\nReimu: "It is quiet."▄\n',
    '▀description\nCirno\n**Name:** Cirno▄\n▀message\nCirno: "Eye am the strongest!"▄\n',
    '▀message\nReimu: "No."▄\n',
]


def report_of(run):
    return json.loads((run / "data_report.json").read_text())


def check_identities(counts, compat=False):
    assert counts["bytes_in"] == counts["bytes_samples"] + counts["bytes_between"]
    dropped = sum(counts[f"dropped_{rule}"] for rule in ("overlong", "truncated", "untrained", "skipped", "duplicate",
                                                       "rating"))
    assert counts["tokens_dropped"] == dropped
    repeated = sum(counts[f"repeated_{what}"] for what in ("blocks", "prefixes", "bos", "eos"))
    assert counts["tokens_repeated"] == repeated
    assert counts["tokens_in"] + counts["tokens_repeated"] == \
        counts["tokens_packed"] + counts["tokens_dropped"] + counts["tokens_held_out"]
    assert counts["tokens_packed"] == counts["targets"] + counts["masked"] + counts["first_tokens"]
    assert counts["tokens_in"] - counts["unique"] in (0, counts["conversations"], 2 * counts["conversations"])
    if not compat:
        assert counts["first_tokens"] == counts["samples"]


def check_report(job, compat=False):
    """Identities of the report, its sums, and its agreement with what the steps say they trained."""
    report = report_of(job.run)
    check_identities(report["total"], compat)
    for file in report["files"]:
        path = job.folder / file["path"]
        assert file["bytes_in"] == path.stat().st_size
        check_identities(file, compat)
    for key, value in report["total"].items():
        assert value == sum(file[key] for file in report["files"]), key
    steps = metrics(job.run, "step")
    assert report["run"]["steps"] == len(steps)
    assert report["run"]["tokens"] == sum(line["tokens"] for line in steps)
    assert report["run"]["targets"] == sum(line["targets"] for line in steps)
    epochs = report["epochs"]
    if not compat:
        assert report["run"]["tokens"] == report["total"]["tokens_packed"] * len(epochs)
        assert sum(line["samples"] for line in steps) == report["total"]["samples"] * len(epochs)
    for epoch in epochs:
        capacity = epoch["packs"] * report["sequence_len"]
        assert epoch["fill"] == pytest.approx(report["total"]["tokens_packed"] / capacity, rel=1e-9)
    return report


CASES = {
    "raise": {},
    "split": {"excess_length_strategy": "split", "sequence_len": 96},
    "drop": {"excess_length_strategy": "drop", "sequence_len": 96},
    "messages only": {"train_on_inputs": False},
    "without bos": {"blockml": {"bos": False, "eos": "never"}},
    "held out": {"val_set_size": 0.25},
    "unpacked": {"sample_packing": False, "pad_to_sequence_len": True},
    "skipped": {"skip_samples": ["scenes/scene-01.blockml"]},
    "axolotl": {"compat": "axolotl-2024"},
}


def test_ledger_of_text(tmp_path, text_model):
    def work(name):
        folder = tmp_path / name.replace(" ", "-")
        scenes(folder / "scenes", 8, 21)
        long = scene("A long one", [f"message number {i} of a long evening" for i in range(12)])
        (folder / "scenes/scene-99.blockml").write_text(long)
        settings = {"sequence_len": 512, "num_epochs": 2, **CASES[name]}
        job = Job(folder, text_model, datasets=[{"path": "scenes/", "type": "blockml"}], **settings)
        must(train(job.config))
        return name, check_report(job, compat=name == "axolotl")

    reports = dict(in_parallel(work, CASES))
    totals = {name: report["total"] for name, report in reports.items()}
    assert totals["split"]["tokens_repeated"] > 0 and totals["split"]["samples"] > 9
    assert totals["split"]["tokens_in"] == totals["raise"]["tokens_in"]
    assert totals["drop"]["dropped_overlong"] > 0 and totals["drop"]["samples"] == 8
    assert totals["messages only"]["masked"] > 0 and totals["raise"]["masked"] == 0
    assert totals["without bos"]["tokens_in"] == totals["without bos"]["unique"] == totals["raise"]["unique"]
    assert totals["held out"]["tokens_held_out"] > 0
    assert totals["skipped"]["dropped_skipped"] > 0 and totals["skipped"]["samples"] == 8
    listed = reports["drop"]["files"][-1]["lists"]["overlong"]
    assert [item["conversation"] for item in listed] == ["scenes/scene-99.blockml"]


def test_ledger_of_tokenized_data(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    ids = [1, 5, 9, 7, 8]
    masked = json.dumps({"input_ids": ids, "labels": [-100, -100, 9, 7, 8], "note": "unknown keys are listed"})
    untrained = json.dumps({"input_ids": ids, "labels": [-100] * 5})
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(masked + "\n" + untrained + "\n")
    outcome = must(train(job.config))
    assert "`note` in 1 line" in outcome.err
    report = check_report(job)
    assert report["total"]["dropped_untrained"] == 5 and report["total"]["masked"] == 1
    assert report["files"][0]["lists"]["untrained"] == [{"conversation": "train.jsonl:16", "tokens": 5}]


def test_no_line_is_lost(tmp_path, token_model):
    """A last line without its newline counts; skip_samples names lines."""
    job = TokenJob(tmp_path, token_model, held_out=0, skip_samples=["train.jsonl:2"])
    (tmp_path / "train.jsonl").write_text(token_lines(5, 3).rstrip("\n"))
    must(train(job.config))
    report = check_report(job)
    assert report["total"]["conversations"] == 5 and report["total"]["samples"] == 4
    assert report["files"][0]["lists"]["skipped"][0]["conversation"] == "train.jsonl:2"


# sequence_len -> what the counts must be
GOLDEN = {
    148: {"tokens_in": 148, "tokens_repeated": 0, "targets": 147, "samples": 1},
    120: {"tokens_repeated": 28, "repeated_blocks": 25, "tokens_packed": 176, "targets": 174, "samples": 2},
    110: {"tokens_repeated": 28, "repeated_blocks": 25, "tokens_packed": 176, "targets": 174, "samples": 2},
    100: {"tokens_repeated": 18, "repeated_blocks": 15, "repeated_prefixes": 1, "repeated_bos": 1, "repeated_eos": 1,
          "tokens_packed": 166, "targets": 164, "samples": 2},
}


def test_golden_counts(tmp_path, text_model):
    def work(budget):
        folder = tmp_path / str(budget)
        folder.mkdir()
        (folder / "a.blockml").write_text("".join(SCENE))
        job = Job(folder, text_model, datasets=[{"path": "a.blockml", "type": "blockml"}], num_epochs=1,
                  sequence_len=budget, excess_length_strategy="split", gradient_accumulation_steps=1)
        must(train(job.config))
        return budget, check_report(job)["total"]

    for budget, total in in_parallel(work, GOLDEN):
        assert {key: total[key] for key in GOLDEN[budget]} == GOLDEN[budget], budget


def test_first_ids_are_printed_before_training(tmp_path, text_model):
    (tmp_path / "a.blockml").write_text("".join(SCENE[:3]))
    job = Job(tmp_path, text_model, datasets=[{"path": "a.blockml", "type": "blockml"}], sequence_len=128)
    outcome = must(train(job.config, "--check"))
    assert "data: 1 conversation in 1 file, 84 tokens" in outcome.err
    assert "trained: 1 sample, 84 tokens = 83 targets + 0 masked + 1 first" in outcome.err
    assert "first ids of sample 1: 1 28705 30374 3901 13 28741 8708 10824" in outcome.err
