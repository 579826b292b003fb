"""Every key of the class `numeric` reaches what it decides: with another value the adapter is another one. The table has a row for each key that
`--help-keys` lists, so a new key without one is noticed."""
import json
import re

import pytest

from run_folders import adapter_values
from shori_programs import in_parallel, must, train
from small_jobs import Job, scene, token_lines

TOKENS = {"sequence_len": 64, "lora_dropout": 0.1, "learning_rate": 0.004, "weight_decay": 0.05, "num_epochs": 2,
          "gradient_accumulation_steps": 2, "datasets": [{"path": "data.jsonl", "type": "tokenized"}]}
TEXT = {"sequence_len": 256, "learning_rate": 0.004, "num_epochs": 2, "lora_dropout": 0.0, "gradient_accumulation_steps": 1,
        "train_on_inputs": False, "datasets": [{"path": "scenes/", "type": "blockml"}]}
YAML = {**TEXT, "train_on_inputs": True, "datasets": [{"path": "chat.yaml", "type": "blockml_yaml"}]}
LONG = {**TEXT, "excess_length_strategy": "split", "sequence_len": 64, "train_on_inputs": True}
COMPAT = {**TOKENS, "compat": "axolotl-2024"}
LINEAR = {**TOKENS, "lr_scheduler": "linear"}
PART = {**TOKENS, "lora_target_linear": False, "lora_target_modules": ["q_proj"]}
AUTO = {**YAML, "blockml": {"default_length": "auto"}}

# Key -> the settings of two runs that differ in this key. `blockml.x` stands in its mapping.
ROWS = {
    "val_set_size": (TOKENS, {"val_set_size": 1, "allow_overlap": True}),
    "adapter": (TOKENS, {"adapter": "lora", "load_in_4bit": False}),
    "load_in_4bit": (TOKENS, {"adapter": "lora", "load_in_4bit": False}),  # each value of one needs that of the other
    "lora_r": (TOKENS, {"lora_r": 8}),
    "lora_alpha": (TOKENS, {"lora_alpha": 32}),
    "lora_dropout": (TOKENS, {"lora_dropout": 0.3}),
    "lora_target_linear": (TOKENS, {"lora_target_linear": False, "lora_target_modules": ["q_proj"]}),
    "lora_target_modules": (PART, {"lora_target_modules": ["v_proj"]}),
    "sequence_len": (TOKENS, {"sequence_len": 128}),
    "sample_packing": (TOKENS, {"sample_packing": False}),
    "excess_length_strategy": (LONG, {"excess_length_strategy": "drop"}),
    "skip_samples": (TOKENS, {"skip_samples": ["data.jsonl:2"]}),
    "dedupe": (TOKENS, {"dedupe": True}),
    "train_on_inputs": (TEXT, {"train_on_inputs": True}),
    "roles_to_train": (TEXT, {"roles_to_train": ["title", "message"]}),
    "train_on_eos": (TEXT, {"train_on_eos": "none"}),
    "micro_batch_size": (TOKENS, {"micro_batch_size": 2}),
    "gradient_accumulation_steps": (TOKENS, {"gradient_accumulation_steps": 1}),
    "num_epochs": (TOKENS, {"num_epochs": 3}),
    "max_steps": (TOKENS, {"max_steps": 1}),
    "learning_rate": (TOKENS, {"learning_rate": 0.005}),
    "lr_scheduler": (TOKENS, {"lr_scheduler": "cosine"}),
    "warmup_steps": (LINEAR, {"warmup_steps": 2}),
    "weight_decay": (TOKENS, {"weight_decay": 0.2}),
    "max_grad_norm": (TOKENS, {"max_grad_norm": 0.001}),
    "adam_beta1": (TOKENS, {"adam_beta1": 0.5}),
    "adam_beta2": (TOKENS, {"adam_beta2": 0.9}),
    "adam_epsilon": (TOKENS, {"adam_epsilon": 0.001}),
    "bf16": (TOKENS, {"bf16": False}),
    "seed": (TOKENS, {"seed": 7}),
    "compat": (TOKENS, {"compat": "axolotl-2024"}),
    "axolotl_step_estimate": (COMPAT, {"axolotl_step_estimate": True}),
    "blockml.eos": (TEXT, {"blockml": {"eos": "never"}}),
    "blockml.bos": (TEXT, {"blockml": {"bos": False}}),
    "blockml.train_on_speaker": (TEXT, {"blockml": {"train_on_speaker": False}}),
    "blockml.repeat_scenario": (LONG, {"blockml": {"repeat_scenario": True}}),
    "blockml.default_length": (YAML, {"blockml": {"default_length": "huge"}}),
    "blockml.length_buckets": (AUTO, {"blockml": {"default_length": "auto", "length_buckets": {"nano": 1}}}),
    "blockml.length_unit": (AUTO, {"blockml": {"default_length": "auto", "length_unit": "chars"}}),
}
ELSEWHERE = {
    "adam_zero_gradient_guard": "acts where a second moment is exactly 0, which these runs do not have: unit tests of AdamW",
    "matmul": "chooses kernels of a GPU, of which a CPU has none: test_matmul.py on the emulated device",
    "pad_to_sequence_len": "ids of padding, which no result depends on: test_padding_changes_nothing",
    "optimizer_state": "needs a run to begin from: test_resume.py, test_optimizer_state_is_carried",
}


def test_padding_changes_nothing(tmp_path, token_model):
    """A pack of 64 ids and the same one filled up to 256."""
    values = []
    for name, pad in (("short", False), ("full", True)):
        write_data(tmp_path / name)
        settings = {**TOKENS, "sequence_len": 256, "sample_packing": False, "pad_to_sequence_len": pad}
        job = Job(tmp_path / name, token_model, **{"weight_decay": 0, **settings, "device": "cpu", "threads": 1})
        assert ("1,336 padding ids" in must(train(job.config)).err) == pad
        values.append(adapter_values(job.run))
    assert values[0] == values[1]


def numeric_keys():
    listing = must(train("--help-keys")).out
    return {key for key in re.findall(r"^(\S+): .*# numeric$", listing, re.M)}


def test_every_key_has_a_row():
    keys = {f"blockml.{key}" if f"blockml.{key}" in ROWS else key for key in numeric_keys()}
    assert keys == set(ROWS) | set(ELSEWHERE)


def write_data(folder):
    folder.mkdir(parents=True)
    lines = token_lines(5, 1).splitlines()
    (folder / "data.jsonl").write_text("\n".join([*lines, lines[0]]) + "\n")
    (folder / "scenes").mkdir()
    for number, words in enumerate(["the boat waits", "a lamp goes home", "tonight"]):
        text = "▀scenario\nthe river rises▄\n" + scene(f"Scene {number}", [
            f"{words} {place}" for place in ("here", "there", "below the old bridge", "once more")])
        (folder / "scenes" / f"{number}.blockml").write_text(text)
    (folder / "scenes" / "short.blockml").write_text("▀message\nAya: \"No.\"▄\n")
    (folder / "chat.yaml").write_text("characters:\n  aya: {name: Aya}\n  ben: {name: Ben}\nmessages:\n" + "".join(
        f"  - {{who: {who}, text: \"{text}\"}}\n" for who, text in (
            ("aya", "the boat waits here"), ("ben", "yes"), ("aya", "come and see the lamp"))))


class Runs:
    """One run for each set of settings, however many rows name it."""

    def __init__(self, folder, models):
        self.folder, self.models = folder, models

    def all(self, wanted):
        by_text = {json.dumps(settings, sort_keys=True): settings for settings in wanted}

        def work(text):
            settings, folder = by_text[text], self.folder / f"{abs(hash(text))}"
            write_data(folder)
            model = self.models["tokens" if settings["datasets"][0]["type"] == "tokenized" else "text"]
            job = Job(folder, model, **{"weight_decay": 0, **settings, "save_steps": 1000, "device": "cpu", "threads": 1})
            outcome = train(job.config)
            return text, adapter_values(job.run) if outcome.code == 0 else outcome

        return dict(in_parallel(work, by_text))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, token_model, text_model):
    wanted = [settings for base, change in ROWS.values() for settings in (base, {**base, **change})]
    found = Runs(tmp_path_factory.mktemp("runs"), {"tokens": token_model, "text": text_model}).all(wanted)

    def adapter_of(settings):
        result = found[json.dumps(settings, sort_keys=True)]
        assert isinstance(result, bytes), f"{settings}\n{result!r}"
        return result
    return adapter_of


@pytest.mark.parametrize("key", ROWS)
def test_it_changes_the_adapter(adapters, key):
    base, change = ROWS[key]
    assert adapters(base) != adapters({**base, **change}), "the values, not the header, which names the config"
