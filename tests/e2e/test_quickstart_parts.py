"""The scripts that the quick start is made of."""
import json
import re
import subprocess

import pytest

from shori_programs import PYTHON, SOURCE, must, train
from small_jobs import STAGES, make_model

CONVERTER = SOURCE / "scripts/wesnoth_to_blockml.py"
FALLBACK = SOURCE / "configs/quickstart/data"

CAMPAIGN = {
    "_main.cfg": '[campaign]\n id=test\n name= _ "The Test"\n[/campaign]\n',
    "utils/macros.cfg": '#define SAY WHO TEXT\n[message]\n speaker={WHO}\n message={TEXT}\n[/message]\n#enddef\n',
}
SCENARIO = """\
[scenario]
  id=NUMBER
  name= _ "Scene NUMBER"
  [story]
    [part]
      story= _ "Long ago."
    [/part]
  [/story]
  [side]
    id=Konrad
    name= _ "Konrad"
  [/side]
  [event]
    [message]
      speaker=Konrad
      message= _ "Who goes there? REPEATED"
    [/message]
    [message]
      speaker=narrator
      message= _ "Night falls. <i>Slowly</i> REPEATED"
    [/message]
    {SAY Konrad ( _ "He said ""no"" REPEATED")}
    [message]
      speaker=Konrad
      message= _ "$unit.name is gone"
    [/message]
  [/event]
[/scenario]
"""


def convert(*arguments):
    return subprocess.run([PYTHON, str(CONVERTER), *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def campaign(tmp_path):
    folder = tmp_path / "campaign"
    for name, text in CAMPAIGN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "scenarios").mkdir()
    for number in range(6):
        text = SCENARIO.replace("NUMBER", str(number)).replace("REPEATED", "again " * (number + 1))
        (folder / f"scenarios/{number:02}.cfg").write_text(text)
    return folder


def test_converter_writes_canonical_blockml_that_trains(tmp_path, campaign, text_model):
    out = tmp_path / "out"
    done = convert("--campaigns", campaign, "--out", out, "--held-out", 6)
    assert done.returncode == 0, done.stderr
    assert "6 conversations, 18 messages" in done.stdout
    assert "left out: texts with a variable or markup of the game: 6" in done.stdout
    files = sorted(out.glob("*/*.blockml"))
    assert len(files) == 6 and {path.parent.name for path in files} == {*STAGES, "held_out"}
    text = (out / "low/campaign-00.blockml").read_text()
    assert text == ('▀title\nScene 0▄\n▀tags\nThe Test▄\n▀lore\nLong ago.▄\n▀message\nKonrad: "Who goes there? again"▄\n'
                    "▀message\nNight falls. _Slowly_ again▄\n▀message\nKonrad: \"He said ''no'' again\"▄\n")
    assert convert("--check", out).returncode == 0
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps({"base_model": str(text_model), "output_dir": "run", "learning_rate": 0.001,
                                  "device": "cpu", "datasets": [{"path": "out/*/*.blockml", "type": "blockml"}]}))
    must(train(config, "--check"))


def test_conversion_twice_gives_the_same_bytes(tmp_path, campaign):
    for name in ("a", "b"):
        assert convert("--campaigns", campaign, "--out", tmp_path / name).returncode == 0
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).glob("*/*")} for name in "ab")
    assert first == second


MALFORMED = {
    "not UTF-8": b"\xff", "byte order mark": "\ufeff▀message\nA: x▄\n", "unclosed": "▀message\nA: x\n",
    "one-line form": "▀message A: x▄\n", "unknown role": "▀narration\nx▄\n▀message\nA: x▄\n",
    "unknown length": "▀message (length: midium)\nA: x▄\n", "white space inside": "▀message\n A: x▄\n",
    "blank line between": "▀title\nx▄\n\n▀message\nA: x▄\n", "no message": "▀title\nx▄\n", "empty": "",
    "control piece": "▀message\nA: <s>▄\n", "no final newline": "▀message\nA: x▄", "carriage return": "▀message\r\nA: x▄\n",
    "text between": "▀message\nA: x▄\nhello\n", "empty instruction": "[INST]  [/INST]\n▀message\nA: x▄\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_check_refuses_malformed_files(tmp_path, name):
    content = MALFORMED[name]
    (tmp_path / "good.blockml").write_text("▀message (length: tiny)\nA: x▄\n[INST] y [/INST]\n▀message\nB: z▄\n")
    assert convert("--check", tmp_path).returncode == 0
    (tmp_path / "bad.blockml").write_bytes(content if isinstance(content, bytes) else content.encode())
    done = convert("--check", tmp_path)
    assert done.returncode == 1 and "bad.blockml" in done.stderr and "good.blockml" not in done.stderr


def test_converter_refuses_folders_without_campaigns(tmp_path):
    done = convert("--campaigns", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 1 and "no campaign" in done.stderr
    assert convert("--check", tmp_path).returncode == 1, "nothing to check is a mistake"
    assert convert("--out", tmp_path).returncode == 2


def test_fallback_data_is_canonical_and_suits_the_quick_start(tmp_path, text_model):
    assert convert("--check", FALLBACK).returncode == 0
    config = SOURCE / "configs/quickstart/quickstart.yaml"
    text = config.read_text().replace("../../build/quickstart/data", str(FALLBACK))
    text = text.replace("../../build/quickstart/model", str(text_model))
    copied = tmp_path / "quickstart.yaml"
    copied.write_text(text.replace("../../build/quickstart/runs", str(tmp_path / "runs")))
    outcome = must(train(copied, "--check"))
    assert outcome.codes == [] and not (tmp_path / "runs").exists()
    for stage in STAGES:
        assert any(line.startswith(stage + " ") and line.endswith("to train") for line in outcome.err.splitlines())


SHIPPED = ["shori.yaml", "stage_low.yaml", "stage_mid.yaml", "stage_high.yaml", "stage_top.yaml", "stage_top_pg13.yaml"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_name_no_unknown_key(name):
    """Model, data and the adapter of the stage before are not there; nothing else is wrong with them."""
    text = (SOURCE / "configs" / name).read_text()
    missing = {"E0108", "E0315"} | ({"E0510"} if re.search(r"^init_from:", text, re.M) else set())
    outcome = must(train(SOURCE / "configs" / name, "--check"), 2)
    assert set(outcome.errors) - {"E0404"} == missing, repr(outcome)
    assert text.startswith("#")


def test_models_are_the_same_bytes_each_time(tmp_path):
    one, two = (make_model(tmp_path / name, "--vocab", 512, "--shards", 2) for name in ("one", "two"))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}
    other = make_model(tmp_path / "other", "--vocab", 512, "--shards", 2, "--seed", 1)
    assert (other / "model-00001-of-00002.safetensors").read_bytes() != \
        (one / "model-00001-of-00002.safetensors").read_bytes()
