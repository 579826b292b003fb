"""The report as a browser shows it: numbers of metrics.jsonl, values by keyboard, no text that runs, any width, light and dark."""
import json
import re
import signal

import pytest

from made_runs import eval_line, made_run, sample_line, step_line
from run_folders import metrics
from shori_programs import BIN, must, run, start_train, train
from small_jobs import Job, TokenJob, copy_folder, scenes, token_lines, write_config
from weight_files import fill

# series -> points, of every chart of the page: what the browser has read, and whether each is drawn.
CHARTS = """[...document.querySelectorAll('figure')].filter(figure => figure.querySelector('.series')).map(figure => ({
  title: figure.querySelector('figcaption').textContent,
  series: Object.fromEntries([...figure.querySelectorAll('.series')].map(group => [group.dataset.name,
    group.dataset.points.split(' ').map(pair => pair.split(',').map(Number))])),
  drawn: [...figure.querySelectorAll('.series path')].every(path => path.getBoundingClientRect().width >= 0)}))"""
ROWS = """[...document.querySelectorAll('table.stages tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def of_steps(folder, key):
    return [[line["step"], line[key]] for line in metrics(folder, "step")]


def charts_of_stage(browser, number):
    """title -> series, of the charts of one stage."""
    charts, first = browser.run(CHARTS), 0
    starts = [i for i, chart in enumerate(charts) if chart["title"] == "Loss"]
    first, last = starts[number], [*starts, len(charts)][number + 1]
    return {chart["title"]: chart["series"] for chart in charts[first:last]}


def check_stage(browser, folder, number=0):
    charts = charts_of_stage(browser, number)
    assert charts["Loss"]["training"] == of_steps(folder, "loss")
    assert charts["Learning rate"]["learning rate"] == of_steps(folder, "learning_rate")
    assert charts["Gradient norm before clipping"]["gradient norm"] == of_steps(folder, "grad_norm")
    for dataset in {line["dataset"] for line in metrics(folder, "eval")}:
        lines = [line for line in metrics(folder, "eval") if line["dataset"] == dataset]
        assert charts["Loss"][f"held out: {dataset}"] == [[line["step"], line["loss"]] for line in lines]
    return charts


def test_page_of_a_run_that_was_interrupted(tmp_path, token_model, browser):
    job = TokenJob(tmp_path, token_model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 3 \(durable\)")
        running.signal(signal.SIGINT)
        running.finish()
    browser.open(job.run / "report.html")
    check_stage(browser, job.run)
    (row,) = browser.run(ROWS)
    last = metrics(job.run, "step")[-1]["step"]
    assert row[:3] == ["run", f"not finished, step {last} of 8", str(last)]
    assert row[3] == str(sum(line["tokens"] for line in metrics(job.run, "step")))


def test_page_of_a_run_whose_loss_was_not_finite(tmp_path, token_model, browser):
    """The steps before it are there, and the page says that the run is not finished."""
    model = copy_folder(token_model, tmp_path / "model")
    fill(model / "model.safetensors", 0x7F00, "model.norm.weight", "lm_head.weight")
    job = TokenJob(tmp_path / "job", model, held_out=0)
    assert must(train(job.config), 6).errors == ["E0601"]
    browser.open(job.run / "report.html")
    (row,) = browser.run(ROWS)
    assert row[:3] == ["run", "not finished, step 0 of 8", "0"] and browser.run(CHARTS) == []


def test_page_of_a_recipe(tmp_path, token_model, browser):
    for number, name in enumerate(("low", "high")):
        (tmp_path / f"{name}.jsonl").write_text(token_lines(8, number))
    stages = [{"name": name, "learning_rate": 0.002, "datasets": [{"path": f"{name}.jsonl", "type": "tokenized"}]}
              for name in ("low", "high")]
    config = write_config(tmp_path / "recipe.yaml", base_model=str(token_model), output_dir="runs", sequence_len=64, device="cpu",
                          threads=1, num_epochs=2, val_set_size=2, stages=stages)
    must(train(config))
    browser.open(tmp_path / "runs/report.html")
    for number, name in enumerate(("low", "high")):
        check_stage(browser, tmp_path / "runs" / name, number)
    rows = browser.run(ROWS)
    assert [row[:2] for row in rows] == [["low", "finished"], ["high", "finished"]]
    for row, name in zip(rows, ("low", "high"), strict=True):
        losses = [loss for _, loss in of_steps(tmp_path / "runs" / name, "loss")]
        assert row[4] == f"{losses[0]:.4f} to {losses[-1]:.4f}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, token_model):
    job = TokenJob(tmp_path_factory.mktemp("finished"), token_model)
    must(train(job.config))
    return job


def test_values_by_keyboard_scale_and_choice_of_series(finished, browser):
    browser.open(finished.run / "report.html")
    losses = of_steps(finished.run, "loss")
    browser.run("document.querySelector('figure svg').focus()")
    browser.press("ArrowRight")
    shown = browser.run("document.querySelector('figure .value').textContent")
    step, loss = next(([step, loss] for step, loss in losses if f"training at {step}: " in shown))
    assert abs(float(shown.split(f"training at {step}: ")[1].split(" ")[0]) - loss) < 1e-5
    before = browser.run("document.querySelector('.series path').getAttribute('d')")
    browser.run("document.querySelector('figure .tools input').click()")
    assert browser.run("document.querySelector('.series path').getAttribute('d')") != before, "the scale is logarithmic now"
    browser.run("document.querySelectorAll('figure .tools input')[1].click()")
    assert browser.run("getComputedStyle(document.querySelector('.series')).display") == "none"
    browser.check_quiet(finished.run / "report.html")


def test_light_and_dark_on_a_desk_and_a_phone(finished, browser):
    colors = {}
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)):
        browser.open(finished.run / "report.html", width, scheme)
        browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert browser.run(OVERFLOW) <= 0, "nothing sticks out to the right"
        colors[scheme] = browser.run("(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))")
    assert colors["light"][0] != colors["dark"][0] and colors["light"][1] != colors["dark"][1]


def test_hostile_text_does_not_run(tmp_path, finished, browser):
    hostile = "</script></pre></svg><script>window.hit=1</script><img src=x onerror=window.hit=2>\"'&javascript:window.hit=3"
    lines = [step_line(1, 1.5), eval_line(1, 1.0, hostile, **{hostile: 1.0}), sample_line(1, hostile, hostile, hostile)]
    folder = made_run(tmp_path / "run", finished.run, lines, stage=hostile, version=hostile,
                      memory_plan=[{"part": hostile, "bytes": 1}])
    must(train("--report", folder))
    browser.open(folder / "report.html")
    assert browser.run("[window.hit === undefined, document.scripts.length, document.images.length]") == [True, 1, 0]
    assert browser.run("document.querySelector('pre').textContent") == hostile
    assert charts_of_stage(browser, 0)["Loss"][f"held out: {hostile}"] == [[1, 1]]


def test_page_of_twenty_thousand_steps(tmp_path, finished, browser):
    losses = [2 + ((step * 7919) % 1009) / 1009 for step in range(1, 20_001)]
    folder = made_run(tmp_path / "run", finished.run, [step_line(i, loss) for i, loss in enumerate(losses, 1)])
    must(train("--report", folder))
    assert (folder / "report.html").stat().st_size <= 1_000_000
    browser.open(folder / "report.html", 390)
    points = charts_of_stage(browser, 0)["Loss"]["training"]
    assert all(losses[int(step) - 1] == loss for step, loss in points) and points[-1][0] == 20_000
    assert min(loss for _, loss in points) == min(losses) and max(loss for _, loss in points) == max(losses)


def test_message_lengths_and_memory(tmp_path, text_model, browser):
    """The picture has the messages that are trained, as shori-data counts them; the plan stands beside the peak."""
    scenes(tmp_path / "data", 8, 5)
    job = Job(tmp_path, text_model, datasets=[{"path": "data/", "type": "blockml"}], num_epochs=1, sequence_len=128)
    must(train(job.config))
    counted = json.loads(must(run(BIN / "shori-data", "stats", job.config, "--json")).out)["message_lengths"]
    browser.open(job.run / "report.html", scheme="dark")
    title = browser.run("document.querySelector('.lengths svg title').textContent")
    bars = browser.run("[...document.querySelectorAll('.lengths rect title')].map(each => each.textContent.split(' tokens: '))")
    lengths = json.loads((job.run / "data_report.json").read_text())["message_lengths"]
    lengths = dict(zip(lengths["tokens"], lengths["messages"], strict=True))
    assert {int(tokens): int(number) for tokens, number in bars if number != "0"} == lengths, "a bar for each length"
    assert title == f"Message lengths of {sum(lengths.values())} messages" and sum(lengths.values()) == counted["count"]
    assert sum(tokens * number for tokens, number in lengths.items()) == counted["total"], counted
    rows = browser.run("[...document.querySelectorAll('table.memory tbody tr')].map(row => [...row.cells].map(each => each.textContent))")
    numbers = {row[0]: int(row[2].replace(",", "")) for row in rows}
    peaks = [json.loads(line)["memory_peak_bytes"] for line in (job.run / "timing.jsonl").read_text().splitlines()]
    assert numbers.pop("measured: memory of the process at its peak") == max(peaks)
    plan = re.findall(r"(\S.{40,}) +([\d,]+) +[\d.]+ GiB$", (job.run / "train.log").read_text(), re.M)
    plan = {name.strip(): int(size.replace(",", "")) for name, size in plan}
    planned = numbers.pop("planned in total")
    assert planned == sum(numbers.values()) == plan.pop("sum") > 0 and len(numbers) > 3
    plan.pop("free now")
    assert numbers == plan, "part by part as the log has it"
