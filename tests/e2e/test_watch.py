"""What a person sees of a run: TensorBoard's events, `--status`, the report, the terminal."""
import html.parser
import json
import re
import signal
import struct
import xml.etree.ElementTree

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams

from made_runs import eval_line, made_run, sample_line, step_line
from run_folders import metrics
from screens import on_screen
from shori_programs import must, start_train, train
from small_jobs import TokenJob

ALL = {"scalars": 0, "tensors": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_model):
    job = TokenJob(tmp_path_factory.mktemp("finished"), token_model)
    must(train(job.config))
    return job


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected_scalars(run):
    """tag -> [(step, value)] by the lines of metrics.jsonl."""
    expected = {}
    for line in metrics(run):
        values = {}
        if line["type"] == "step":
            keys = ("loss", "grad_norm", "learning_rate", "epoch", "tokens", "update_max")
            values = {f"train/{key}": line[key] for key in keys}
        elif line["type"] == "eval":
            tag = f"eval/{line['dataset']}"
            values = {f"{tag}/loss": line["loss"], f"{tag}/perplexity": line["perplexity"]}
            values |= {f"{tag}/loss_{role}": loss for role, loss in line["loss_by_role"].items()}
        for tag, value in values.items():
            expected.setdefault(tag, []).append((line["step"], float32(value)))
    return expected


def check_events(run):
    reader = EventAccumulator(str(run / "events"), size_guidance=ALL)
    reader.Reload()
    read = {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    of_clock = {tag: read.pop(tag) for tag in list(read) if tag.startswith(("speed/", "memory/"))}
    assert read == expected_scalars(run)
    steps = [line["step"] for line in metrics(run, "step")]
    assert set(of_clock) == {"speed/tokens_per_second", "memory/peak_bytes"}
    for values in of_clock.values():
        assert [step for step, _ in values] == sorted({step for step, _ in values}), "no step twice"
        assert {step for step, _ in values} <= set(steps)
    return reader


def test_events_hold_every_line(finished):
    reader = check_events(finished.run)
    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    parameters = hparams.parse_session_start_info_plugin_data(content).hparams
    assert parameters["learning_rate"].number_value == 0.004 and parameters["lora_r"].number_value == 20
    assert parameters["train_on_inputs"].bool_value is True and parameters["lr_scheduler"].string_value == "constant"
    assert not any(str(finished.folder) in str(value) for value in parameters.values())


@pytest.mark.parametrize(("settings", "number", "awaited"), [
    ({}, signal.SIGKILL, r"step 4/8"), ({}, signal.SIGINT, r"saved step 4 \(durable\)"),
    ({"save_steps": 3}, signal.SIGKILL, r"step 4/8"), ({"save_steps": 100}, signal.SIGKILL, r"step 5/8")])
def test_events_join_after_a_stop(tmp_path, token_model, settings, number, awaited):
    """Steps that are trained again after a kill are there once."""
    job = TokenJob(tmp_path, token_model, **settings)
    with start_train(job.config) as running:
        assert running.wait_for(awaited)
        running.signal(number)
        running.finish()
    resumed = must(train(job.config, "--resume"))
    if settings == {"save_steps": 100}:
        assert resumed.resumed_at == 4, "the epoch end: step 5 has events in both files"
    assert len(list((job.run / "events").iterdir())) == 2
    check_events(job.run)


def test_events_of_a_run_of_an_earlier_version(tmp_path, token_model):
    """Its folder has no events; the first resume makes them of metrics.jsonl."""
    job = TokenJob(tmp_path, token_model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 4 \(durable\)")
        running.signal(signal.SIGINT)
        running.finish()
    for path in (job.run / "events").iterdir():
        path.unlink()
    must(train(job.config, "--resume"))
    check_events(job.run)


def test_status_of_a_run_that_goes_on_and_of_one_that_was_stopped(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, save_steps=100, num_epochs=400)
    with start_train(job.config) as running:
        assert running.wait_for(r"step 20/")
        before = (job.run / "run.lock").read_bytes()
        shown = must(train("--status", job.run)).out
        assert running.process.poll() is None and (job.run / "run.lock").read_bytes() == before
        assert f"run: running (shori-train, process {running.process.pid} on " in shown, shown
        assert re.search(r"  left        \d", shown) and re.search(r"  loss        \d+\.\d{4}, mean of the last 20 steps", shown)
        step = int(re.search(r"  step        ([\d,]+) of 1,600", shown)[1].replace(",", ""))
        assert 20 <= step, "steps that no checkpoint has yet count"
        running.signal(signal.SIGINT)
        running.finish()
    shown = must(train("--status", job.run)).out
    last = metrics(job.run, "step")[-1]
    assert "run: stopped: no process trains it\n" in shown
    assert f"  step        {last['step']:,} of 1,600" in shown and f"  loss        {last['loss']:.4f}" in shown
    assert f"  last save   step {last['step']}, " in shown


def test_status_of_a_finished_run(finished):
    shown = must(train("--status", finished.run)).out
    last = metrics(finished.run, "eval")
    best = min(last, key=lambda line: line["loss"])
    assert shown.startswith("run: finished\n") and "  step        8 of 8 (100.0 %, epoch 2.00)" in shown
    assert f"{last[-1]['loss']:.4f} at step 8" in shown
    assert best["step"] == 8 or f"best {best['loss']:.4f} at step {best['step']}" in shown
    assert str(finished.run / "adapter") in shown


def test_a_gpu_whose_peak_is_known(tmp_path, finished):
    """Its share of the peak and its memory are in the status and in the report, step by step."""
    folder = made_run(tmp_path / "run", finished.run, [step_line(step, 2.0) for step in (1, 2, 3)])
    shares = {1: 0.25, 2: 0.125, 3: 0.375}
    (folder / "timing.jsonl").write_text("".join(json.dumps(
        {"step": step, "seconds": 2.0, "checkpoint_seconds": 0.0, "tokens_per_second": 100.0, "share_of_peak": share,
         "memory_bytes": 1 << 30, "memory_peak_bytes": 2 << 30, "gpu_memory_bytes": (4 - step) << 30,
         "gpu_memory_peak_bytes": 512 << 20}) + "\n" for step, share in shares.items()))
    shown = must(train("--status", folder)).out
    assert "  of peak     38 % of the card's arithmetic\n" in shown and "  memory      3.0 GiB of the GPU at peak\n" in shown
    report(folder)
    page = check_page(folder / "report.html")
    drawn = {name: points for chart in page.charts for name, points in chart.items()}
    assert drawn["share"] == list(shares.items()) and drawn["GiB"] == [(1, 3), (2, 2), (3, 1)]
    rows = {row[0]: row[1] for row in page.rows if row[0].startswith("measured: ")}
    assert rows == {"measured: own allocations on the GPU at their peak": "512.0 MiB",
                    "measured: in use on the GPU at its peak, other programs included": "3.0 GiB",
                    "measured: memory of the process at its peak": "2.0 GiB"}
    assert "share" not in {name for chart in check_page(finished.run / "report.html").charts for name in chart}, "nothing on a CPU"


def test_both_numbers_of_the_speed_are_of_the_same_steps(tmp_path, finished):
    """Seconds were a mean of the last steps and tokens/s those of the last one: 0.6 s at 688 tokens a step were 549 tokens/s."""
    folder = made_run(tmp_path / "run", finished.run, [step_line(step, 2.0) for step in (1, 2, 3)])
    (folder / "timing.jsonl").write_text("".join(json.dumps(
        {"step": step, "seconds": seconds, "checkpoint_seconds": 0.0, "tokens_per_second": 600 / seconds, "memory_bytes": 1 << 30,
         "memory_peak_bytes": 2 << 30}) + "\n" for step, seconds in ((1, 10.0), (2, 10.0), (3, 40.0))))
    assert "  speed       20 s a step, 30 tokens/s\n" in must(train("--status", folder)).out


def test_status_of_no_run(tmp_path):
    outcome = must(train("--status", tmp_path), 2)
    assert outcome.errors == ["E0510"] and "no run in" in outcome.err


class Page(html.parser.HTMLParser):
    """A report, read as a browser does: series of charts, cells of tables, and everything that could load or run."""

    def __init__(self, path):
        super().__init__()
        self.charts, self.rows, self.scripts, self.loads, self.tags, self.text = [], [], 0, [], [], ""
        self.cell = None
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.scripts += tag == "script"
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data", "srcset")]
        assert not any(name.startswith("on") for name in values), f"{tag} {attrs}"
        if tag == "svg":
            self.charts.append({})
        if "data-points" in values:
            pairs = [pair.split(",") for pair in values["data-points"].split(" ")]
            self.charts[-1][values["data-name"]] = [(float(x), float(y)) for x, y in pairs]
        if tag == "tr":
            self.rows.append([])
        self.cell = "" if tag in ("td", "th") else self.cell

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell += data


def check_page(path):
    page = Page(path)
    assert page.loads == ["data:,"] and page.scripts == 1, "one file: nothing is loaded, and one script is its own"
    assert len(page.source.encode()) <= 1_000_000
    assert not {"iframe", "object", "embed", "base", "form", "img"} & set(page.tags)
    return page


def report(*paths):
    return must(train("--report", *paths)).out.splitlines()


def averaged(lines):
    """The mean loss of all steps so far, each step before the last counting 0.98 times the one after it."""
    points = []
    for line in lines:
        weights = [(0.98 ** (line["step"] - each["step"]), each["loss"]) for each in lines[:len(points) + 1]]
        points.append((line["step"], sum(weight * loss for weight, loss in weights) / sum(weight for weight, _ in weights)))
    return points


def test_report_has_the_numbers_of_the_run(finished):
    page = check_page(finished.run / "report.html")
    lines, evals = metrics(finished.run, "step"), metrics(finished.run, "eval")
    assert page.charts[0]["training"] == [(line["step"], line["loss"]) for line in lines]
    assert page.charts[0]["training, smoothed"] == [pytest.approx(point, rel=1e-12) for point in averaged(lines)]
    assert page.charts[0]["held out: test.jsonl"] == [(line["step"], line["loss"]) for line in evals]
    drawn = {name: points for chart in page.charts for name, points in chart.items()}
    for name, key in (("learning rate", "learning_rate"), ("gradient norm", "grad_norm")):
        assert drawn[name] == [(line["step"], line[key]) for line in lines]
    assert [row[:3] for row in page.rows if row[0] == "run"] == [["run", "finished", "8"]]
    assert ["learning_rate", "0.004"] in page.rows
    best = min(evals, key=lambda line: line["loss"])
    assert f"{best['loss']:.4f} at step {best['step']}" in page.text
    for private in (str(finished.folder), str(finished.model)):
        assert private not in page.source
    before = page.source
    assert report(finished.run) == [str(finished.run / name) for name in ("report.html", "loss.svg")]
    assert (finished.run / "report.html").read_text(encoding="utf-8") == before, "the same input, the same bytes"
    picture = xml.etree.ElementTree.parse(finished.run / "loss.svg").getroot()
    assert picture.find("{http://www.w3.org/2000/svg}title").text == "Loss of run"


def test_report_of_many_steps_keeps_the_extremes(tmp_path, finished):
    losses = [2 + ((step * 7919) % 1009) / 1009 for step in range(1, 20_001)]
    losses[7_776], losses[15_000] = 97.25, 0.0078125
    folder = made_run(tmp_path / "run", finished.run, [step_line(i, loss) for i, loss in enumerate(losses, 1)])
    report(folder)
    points = check_page(folder / "report.html").charts[0]["training"]
    assert len(points) <= 2000 and (7_777, 97.25) in points and (15_001, 0.0078125) in points
    assert points[0] == (1, losses[0]) and points[-1] == (20_000, losses[-1])
    assert all(losses[int(step) - 1] == loss for step, loss in points)


@pytest.mark.parametrize("lines", [[], [step_line(1, 1.5)], [step_line(1, 2.0), step_line(2, 2.0)]])
def test_report_of_few_steps(tmp_path, finished, lines):
    folder = made_run(tmp_path / "run", finished.run, lines)
    report(folder)
    page = check_page(folder / "report.html")
    drawn = page.charts[0]["training"] if lines else []
    assert drawn == [(line["step"], line["loss"]) for line in lines]
    assert f"not finished, step {len(lines)} of 8" in page.text


def test_hostile_text_stays_text(tmp_path, finished):
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'&\x1b\u202e]]>"
    lines = [step_line(1, 1.5), {**eval_line(1, 1.0, hostile, **{hostile: 1.0}), "loss_by_category": {hostile: 1.0}},
             sample_line(1, hostile, hostile, hostile)]
    folder = made_run(tmp_path / "run", finished.run, lines, stage=hostile, version=hostile)
    report(folder)
    page = check_page(folder / "report.html")
    shown = hostile.replace("\x1b", "\ufffd")
    assert page.text.count(shown) >= 5 and f"held out: {shown}" in page.charts[0]
    xml.etree.ElementTree.parse(folder / "loss.svg")


def test_reports_of_a_stop_and_of_two_runs(tmp_path, token_model, finished):
    job = TokenJob(tmp_path, token_model, learning_rate=0.002)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 3 \(durable\)")
        running.signal(signal.SIGINT)
        running.finish()
    page = check_page(job.run / "report.html")
    assert page.charts[0]["training"] == [(line["step"], line["loss"]) for line in metrics(job.run, "step")]
    (path,) = report(job.run, finished.run)
    assert path == str(job.run / "report-with-run.html")
    drawn = check_page(job.run / "report-with-run.html").charts[0]
    for name, run in (("A", job.run), ("B", finished.run)):
        assert drawn[f"{name}: training"] == [(line["step"], line["loss"]) for line in metrics(run, "step")]


def on_terminal(*arguments, columns=80, env=None):
    return on_screen(columns, *arguments, env={"NO_COLOR": "", **(env or {})}).decode(errors="replace")


def lines_left(written):
    """What stands on the screen and above it in the end: the live line is rewritten, whole lines stay."""
    return [line.split("\r")[-1].replace("\x1b[K", "") for line in written.replace("\r\n", "\n").split("\n")]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_terminal_from_start_to_end(tmp_path, token_model, columns):
    job = TokenJob(tmp_path, token_model)
    written = on_terminal(job.config, columns=columns, env={"LC_ALL": "C"})
    left = lines_left(written)
    before = left[:next(i for i, line in enumerate(left) if line.startswith("stage run begins"))]
    assert len(before) <= 24 and left[0].startswith("shori-train "), "the start fits one screen"
    assert any("learning_rate: 0.004" in line for line in before) and not any("resolved config" in line for line in left)
    assert not any("saved step" in line for line in left), "saves do not scroll"
    live = re.findall(r"\r\x1b\[K([^\r\n\x1b]+)(?=\r\x1b)", written)
    assert any(re.match(r"run step \d/8  (\[[#.]{12}\] \d+%  )?left ", line) for line in live), live
    assert max(map(len, live)) < columns
    log = (job.run / "train.log").read_text()
    assert "--- stage run: resolved config ---" in log and "saved step 8 (durable)" in log
    losses = [line["loss"] for line in metrics(job.run, "step")]
    assert any(line.startswith("run ") and f"{losses[0]:.4f} to {losses[-1]:.4f}" in line for line in left)
    assert f"report: {job.run / 'report.html'}" in left and any(line.startswith("next: ") for line in left)


def test_terminal_moves_inside_a_step(tmp_path, token_model):
    """The bar moves before the first step has ended, in blocks where the locale shows UTF-8."""
    job = TokenJob(tmp_path, token_model, num_epochs=1)
    written = on_terminal(job.config, columns=200, env={"LC_ALL": "C.UTF-8"})
    live = re.findall(r"\r\x1b\[K(run step [^\r\n\x1b]+)(?=\r\x1b)", written)
    assert re.match(r"run step 0/\d  [█░]{12} \d+%  left [\d.]+ s$", live[0]), live
    assert "\r\x1b[Kevaluating test.jsonl: pack 1 of " in written, "it moves while it evaluates as well"


def test_a_loss_has_the_same_digits_everywhere(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model)
    printed = must(train(job.config)).err
    evaluations = metrics(job.run, "eval")
    assert [float(loss) for loss in re.findall(r"^eval run step \d+ test.jsonl: loss (\d+\.\d{4})$", printed, re.M)] == \
        [round(line["loss"], 4) for line in evaluations], printed
    page = (job.run / "report.html").read_text()
    assert all(f"<td>{line['loss']:.4f}</td>" in page for line in evaluations), "the table of evaluations"


def test_verbose_and_quiet(tmp_path, token_model):
    jobs = [TokenJob(tmp_path / name, token_model) for name in ("verbose", "quiet", "pipe")]
    assert "resolved config" in on_terminal(jobs[0].config, "--verbose")
    quiet = [line for line in lines_left(on_terminal(jobs[1].config, "--quiet")) if line]
    assert len(quiet) == 1 and quiet[0].startswith("stage run done: 8 steps"), quiet
    piped = must(train(jobs[2].config, "--quiet")).err.splitlines()
    assert len(piped) == 1 and piped[0].startswith("stage run done: 8 steps"), piped


@pytest.mark.parametrize("asked", ["--check", "--plan"])
def test_a_check_or_plan_prints_its_result_and_configs_only_when_asked(tmp_path, token_model, asked):
    """In a pipe, where a run that begins prints its whole log, as well as on a terminal."""
    job = TokenJob(tmp_path, token_model)
    for printed in (must(train(job.config, asked)).err, on_terminal(job.config, asked)):
        assert "resolved config" not in printed and "sequence_len" not in printed and "steps" in printed, printed
    for printed in (must(train(job.config, asked, "--verbose")).err, on_terminal(job.config, asked, "--verbose")):
        assert "resolved config" in printed and "sequence_len: 64" in printed, printed


def test_color_by_choice(tmp_path, token_model):
    job = TokenJob(tmp_path, token_model, save_steps=1000)  # a warning: beyond the end
    assert "\x1b[" not in on_terminal(job.config, "--check", env={"NO_COLOR": "1"}).replace("\x1b[K", "")
    assert "\x1b[" in must(train(job.config, "--color", "always", "--set", "output_dir=a")).err
    assert "\x1b[" not in must(train(job.config, "--set", "output_dir=b")).err


def test_resolved_config_runs_as_a_config(tmp_path, finished):
    must(train(finished.run / "resolved.yaml", "--set", f"output_dir={tmp_path / 'run'}"))
    assert metrics(tmp_path / "run", "step") == metrics(finished.run, "step")
    losses = [line["loss"] for line in metrics(finished.run, "eval")]
    assert [line["loss"] for line in metrics(tmp_path / "run", "eval")] == losses, "data sets keep the order, not the name"
