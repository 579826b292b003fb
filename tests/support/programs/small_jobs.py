"""Small models, data and configs for tests: a run of a few steps takes about a second."""
import copy
import json
import os
import pathlib
import random
import shutil
import sys

import pytest

from shori_programs import SOURCE, TOKENIZER

sys.path.insert(0, str(SOURCE / "scripts"))
import make_tiny_model  # noqa: E402

STAGES = ["low", "mid", "high", "top", "top-pg13"]

# Both optimizer paths (32-bit and 8-bit states), dropout, accumulation with a partial last window, evaluation.
SETTINGS = {
    "sequence_len": 64,
    "lora_dropout": 0.1,
    "gradient_accumulation_steps": 2,
    "num_epochs": 2,
    "learning_rate": 0.004,
    "weight_decay": 0.05,
    "train_on_inputs": True,
    "device": "cpu",
    "threads": 1,
}


def make_model(folder, *options):
    make_tiny_model.main(["--out", str(folder), *map(str, options)])
    return folder


def copy_folder(source, target):
    """A copy whose files are links: only folders and names are new. Rewrite files with replace_file()."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def replace_file(path, content):
    """New content without touching other names of the same file."""
    data = content if isinstance(content, bytes) else content.encode()
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def other_tokenizer(model):
    """The bytes of a tokenizer.model with one more field, which readers skip: the same pieces, another file."""
    return model + b"\xa0\x06\x01"


def token_lines(count, seed, lengths=(40, 20), vocab=512, letters=24):
    """`tokenized` samples that can be learnt: each id mostly decides the next one, few ids are used at all."""
    source, lines = random.Random(seed), []
    for number in range(count):
        ids = [1]
        while len(ids) < lengths[number % len(lengths)]:
            step = 7 if source.random() < 0.9 else source.randrange(letters)
            ids.append(3 + (ids[-1] * 5 + step) % letters)
        lines.append(json.dumps({"input_ids": [min(i, vocab - 1) for i in ids]}))
    return "\n".join(lines) + "\n"


def yaml_text(settings):
    """Values are JSON, which YAML reads as well; rates `a -> b` have no quotes."""
    def text(value):
        return value if isinstance(value, str) and "->" in value else json.dumps(value)
    return "".join(f"{key}: {text(value)}\n" for key, value in settings.items() if value is not ...)


def write_config(path, **settings):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml_text(settings), encoding="utf-8")
    return path


class Job:
    """A folder with a config, its data and its run folder."""

    def __init__(self, folder, model, **settings):
        self.folder, self.model = pathlib.Path(folder), model
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run = self.folder / "run"
        self.settings = {"base_model": str(model), "output_dir": "run", **SETTINGS, **settings}
        self.config = self.folder / "job.yaml"
        self.write()

    def write(self, **changes):
        """Writes the config; `...` as a value leaves a key out."""
        self.settings = {key: value for key, value in {**self.settings, **changes}.items() if value is not ...}
        write_config(self.config, **self.settings)
        return self

    def copy(self, folder):
        """The same job in another folder, its run included."""
        shutil.copytree(self.folder, folder)
        copied = copy.copy(self)
        copied.folder = pathlib.Path(folder)
        copied.run, copied.config = copied.folder / self.run.name, copied.folder / self.config.name
        return copied


class TokenJob(Job):
    """Eight steps over tokenized data, evaluated every third step."""

    def __init__(self, folder, model, samples=14, held_out=3, seed=1, lengths=(40, 20), held_out_lengths=(40, 20), **settings):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train.jsonl").write_text(token_lines(samples, seed, lengths))
        entries = {"datasets": [{"path": "train.jsonl", "type": "tokenized"}]}
        if held_out:
            (folder / "test.jsonl").write_text(token_lines(held_out, seed + 1000, held_out_lengths))
            entries["test_datasets"] = [{"path": "test.jsonl", "type": "tokenized"}]
            entries["eval_steps"] = 3
        super().__init__(folder, model, **{**entries, **settings})


def scene(title, messages, speakers=("Aya", "Ben")):
    """A canonical BlockML conversation."""
    text = f"▀title\n{title}▄\n▀tags\ntest, small▄\n"
    for number, message in enumerate(messages):
        text += f"▀message\n{speakers[number % len(speakers)]}: \"{message}\"▄\n"
    return text


def scenes(folder, count, seed):
    """`count` short conversations of words that repeat."""
    folder.mkdir(parents=True, exist_ok=True)
    source = random.Random(seed)
    words = ["the boat", "a lamp", "the river", "tonight", "goes home", "is late", "and waits", "is here"]
    for number in range(count):
        messages = [" ".join(source.choices(words, k=4)) for _ in range(source.randint(1, 3))]
        (folder / f"scene-{number:02}.blockml").write_text(scene(f"Scene {number}", messages), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def token_model(tmp_path_factory):
    """512 ids, no tokenizer: for data of type `tokenized`."""
    return make_model(tmp_path_factory.mktemp("models") / "tokens", "--vocab", 512)


@pytest.fixture(scope="session")
def narrow_model(tmp_path_factory):
    """As `token_model`, with narrow MLPs: for the emulator, whose time goes into their products."""
    return make_model(tmp_path_factory.mktemp("models") / "narrow", "--vocab", 512, "--intermediate", 96)


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    """32,000 ids and the real tokenizer: for BlockML."""
    return make_model(tmp_path_factory.mktemp("models") / "text", "--tokenizer", TOKENIZER)
