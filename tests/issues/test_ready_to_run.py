"""Programs that are installed run from anywhere; statistics speak plainly; categories may have any name. After the build the README's
commands were not found, and nothing said what to add to the PATH."""
import re
import shutil
import subprocess

import pytest

from shori_programs import BIN, SOURCE, must, run, train
from small_jobs import TokenJob, scene, token_lines, write_config


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix") / "with a space"
    subprocess.run([shutil.which("cmake"), "--install", str(BIN.parent), "--prefix", str(prefix)], check=True, capture_output=True)
    return prefix / "bin"


def test_installed_programs_run_without_anything_else(installed, tmp_path, token_model):
    assert sorted(path.name for path in installed.iterdir()) == ["shori-chat", "shori-data", "shori-export", "shori-train"]
    bare = {"PATH": f"{installed}:/usr/bin:/bin"}

    def call(*words):
        return subprocess.run(words, cwd=tmp_path, env=bare, capture_output=True, text=True, check=True).stdout

    for program in ("shori-chat", "shori-data", "shori-export", "shori-train"):
        assert re.match(rf"{program} \d", call(program, "--version"))
    TokenJob(tmp_path, token_model, samples=4, held_out=0, num_epochs=1)
    call("shori-train", "job.yaml")
    call("shori-export", "adapter", "run", "--out", "exported")
    assert (tmp_path / "exported/adapter_model.safetensors").is_file()


def test_the_line_for_the_path_is_where_people_look():
    line = 'export PATH="$PWD/build/release/bin:$PATH"'
    assert line in (SOURCE / "README.md").read_text() and "cmake --install build/release" in (SOURCE / "README.md").read_text()
    for script in ("setup.sh", "quickstart.sh"):
        assert re.search(r'export PATH="\$\w+/build/release/bin:\\\$PATH"', (SOURCE / "scripts" / script).read_text()), script


def test_set_up_keeps_the_output_of_sentencepiece_apart(tmp_path):
    """It is built while other packages are downloaded: in one log their lines were mixed. Here every program is a stub."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SOURCE / "scripts/setup.sh", tmp_path / "scripts")
    stubs, python = tmp_path / "stubs", tmp_path / "build/deps/venv/bin/python"
    for path, body in [(stubs / "dpkg-query", "echo installed"), (stubs / "apt-get", "true"), (stubs / "df", "printf 'x\\nx x x 99999\\n'"),
                       (python, 'echo "asked: $*"; [[ "$*" != *"download --no-deps --no-binary"* ]]')]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    done = subprocess.run(["bash", tmp_path / "scripts/setup.sh", "--no-cuda"], env={"PATH": f"{stubs}:/usr/bin:/bin"}, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and "The whole output is in build/deps/sentencepiece.log." in done.stderr, done
    logs = {name: (tmp_path / f"build/deps/{name}.log").read_text() for name in ("setup", "sentencepiece")}
    assert "asked: -m pip" in logs["setup"] and "sentencepiece" not in logs["setup"], logs
    assert "download --no-deps --no-binary sentencepiece" in logs["sentencepiece"] and "torch" not in logs["sentencepiece"], logs


def test_statistics_in_plain_words(tmp_path):
    (tmp_path / "a.blockml").write_text(scene("A", ["hello there", "yes", "so"]))
    plain = must(run(BIN / "shori-data", "stats", tmp_path)).out
    assert re.match(r"Conversations: 1\nMessages: 3\nTokens: \d+\nLongest conversation: \d+ tokens\nSize: ", plain), plain
    assert "User message count" not in plain and "unique" not in plain
    card = must(run(BIN / "shori-data", "stats", tmp_path, "--card")).out
    assert re.fullmatch(r"Total conversations: 1\nUser message count: 3 messages\nTotal unique tokens: \d+ tokens\n"
                        r"Longest conversation: \d+ tokens\nSize of the training data: 0\.0 MB\n", card), card


def test_the_longest_conversation_is_the_one_before_splitting(tmp_path, text_model):
    (tmp_path / "a.blockml").write_text(scene("A", [f"word {number} and more" for number in range(60)]))
    config = write_config(tmp_path / "c.yaml", base_model=str(text_model), output_dir="run", learning_rate=0.001, sequence_len=128,
                          excess_length_strategy="split", datasets=[{"path": "a.blockml"}])
    printed = must(run(BIN / "shori-data", "stats", config)).out
    longest = int(re.search(r"Longest conversation: ([\d,]+)", printed)[1].replace(",", ""))
    sample = int(re.search(r"Longest sample: ([\d,]+) of 128", printed)[1])
    assert longest > 128 >= sample


def test_categories_of_ones_own(tmp_path, token_model):
    for number, name in enumerate(("forum", "books", "best")):
        (tmp_path / f"{name}.jsonl").write_text(token_lines(4, number))

    def write(**changes):
        config = {"base_model": str(token_model), "output_dir": "runs", "sequence_len": 64, "device": "cpu", "threads": 1,
                  "learning_rate": "0.003 -> 0.002",
                  "datasets": [{"path": f"{name}.jsonl", "type": "tokenized", "category": name}
                               for name in ("forum", "books", "best")], **changes}
        return write_config(tmp_path / "c.yaml", **config)

    def stages(outcome):
        """In their order; the table of the end has them once more."""
        return list(dict.fromkeys(re.findall(r"^(forum|books|best) +\d", outcome.err, re.M)))

    outcome = must(train(write()))
    assert stages(outcome) == ["forum", "books", "best"]
    assert "has 2 rates for 3 categories: the last, 0.002, is the rate of books, best" in outcome.err
    assert all((tmp_path / "runs" / name / "done.json").is_file() for name in ("forum", "books", "best"))
    assert stages(must(train(write(output_dir="other", category_order=["best", "books", "forum"]), "--check"))) == [
        "best", "books", "forum"]
    refused = must(train(write(category_order=["best", "books"]), "--check"), 2)
    assert refused.errors == ["E0107"] and "not in the list: forum" in refused.err
    twice = must(train(write(category_order=["best", "books", "forum", "best"]), "--check"), 2)
    assert twice.errors == ["E0107"] and "`category_order` names `best` twice" in twice.err
    misspelt = must(train(write(datasets=[{"path": "best.jsonl", "type": "tokenized", "category": "hihg"}]), "--check"), 2)
    assert misspelt.errors == ["E0104"] and "`high`" in misspelt.err
