"""shori-data stats and split against SentencePiece and plain Python; copies between train and evaluation; tokenized data
that the next start takes over."""
import fcntl
import html
import json
import math
import random
import re
import shutil
import xml.etree.ElementTree

import pytest
import sentencepiece

from run_folders import final_state
from shori_programs import BIN, TOKENIZER, must, run, train
from small_jobs import Job, copy_folder, replace_file, scene, scenes

DATA = BIN / "shori-data"
HINTS = "nano micro tiny short medium long massive huge enormous".split()
ROLES = "title tags lore scenario description message ooc inst".split()
SEGMENT = re.compile(r"▀(\w+)(?: \(length: (\w+)\))?\n(.*?)▄\n|\[INST\] (.*?) \[/INST\]\n", re.S)

PIECES = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))


def tokens(text):
    return len(PIECES.encode(text))


def data(*args, **options):
    return run(DATA, *args, **options)


def commas(number):
    return f"{number:,}"


def rounded(numerator, denominator, digits):
    """Half to even on the exact quotient."""
    scaled, rest = divmod(numerator * 10 ** digits, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and scaled % 2):
        scaled += 1
    return f"{scaled // 10 ** digits:,}.{scaled % 10 ** digits:0{digits}}"


class Corpus:
    """Random canonical conversations; every figure from the text itself."""
    WORDS = ["lantern", "the", "river", "is", "cold", "she", "said", "and", "waits", "for", "boat", "naïve", "…", "夜",
             "_hm_", "*thud*", "**no**", "😀", "''word''", "tonight"]

    def __init__(self, seed, count):
        self.source = random.Random(seed)
        self.texts = [self.conversation() for _ in range(count)]

    def words(self, most):
        return " ".join(self.source.choices(self.WORDS, k=self.source.randint(1, most)))

    def message(self):
        hint = self.source.choice([""] * 3 + [f" (length: {word})" for word in HINTS])
        speaker = self.source.choice(["Aya: ", "Momiji:\n", "Old Tam: ", ""])
        return f"▀message{hint}\n{speaker}{self.words(self.source.choice([5, 40, 400]))}▄\n"

    def conversation(self):
        text = "".join(f"▀{role}\n{self.words(12)}▄\n" for role in ("title", "tags", "lore", "scenario")
                       if self.source.random() < 0.6)
        for name in self.source.sample(["Aya", "Momiji", "Old Tam"], self.source.randint(0, 3)):
            text += f"▀description\n{name}\n{self.words(20)}▄\n"
        if self.source.random() < 0.4:
            text += f"[INST] {self.words(8)} [/INST]\n"
        for _ in range(self.source.randint(1, 12)):
            extra = self.source.random()
            if extra < 0.1:
                text += f"▀ooc\n{self.words(8)}▄\n"
            elif extra < 0.2:
                text += f"[INST] {self.words(8)} [/INST]\n"
            elif extra < 0.3:
                text += f"▀title\n{self.words(4)}▄\n▀tags\n{self.words(3)}▄\n"
            elif extra < 0.4:
                text += f"▀description\n{self.source.choice(['Aya', 'Cirno'])}\n{self.words(9)}▄\n"
            text += self.message()
        return text

    def segments(self, text):
        assert "".join(match[0] for match in SEGMENT.finditer(text)) == text
        return [(match[1] or "inst", match[2], match[3] if match[1] else match[4], match[0])
                for match in SEGMENT.finditer(text)]

    @staticmethod
    def split_speaker(body):
        found = re.match(r"([^\n:]{1,64}):[ \n]", body)
        return (found[1], body[found.end():]) if found else ("", body)

    def messages(self):
        return [(hint, *self.split_speaker(body)) for text in self.texts
                for role, hint, body, _ in self.segments(text) if role == "message"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    corpus = Corpus(7, 60)
    corpus.folder = tmp_path_factory.mktemp("corpus")
    (corpus.folder / "some.jsonl").write_text(
        "".join(json.dumps({"text": text, "category": "high"}) + "\n" for text in corpus.texts[:40]))
    for number, text in enumerate(corpus.texts[40:]):
        (corpus.folder / f"{number:02}.blockml").write_text(text, encoding="utf-8")
    return corpus


def text_tokens(text):
    """Of a text after a line end, where no dummy prefix is added."""
    return len(PIECES.encode("\n" + text)) - len(PIECES.encode("\n"))


def message_lengths(corpus):
    lengths = []
    for text in corpus.texts:
        for role, _, body, _ in corpus.segments(text):
            if role == "message":
                name, rest = corpus.split_speaker(body)
                # The space after `Name:` plays the dummy prefix.
                lengths.append(tokens(rest) if body.startswith(f"{name}: ") and name else text_tokens(rest))
    return lengths


def test_the_cards_lines_byte_for_byte(corpus):
    texts = corpus.texts
    unique = [tokens(text) for text in texts]
    expected = (f"Total conversations: {commas(len(texts))}\n"
                f"User message count: {commas(len(corpus.messages()))} messages\n"
                f"Total unique tokens: {commas(sum(unique))} tokens\n"
                f"Longest conversation: {commas(max(unique) + 2)} tokens\n"
                f"Size of the training data: {rounded(sum(len(t.encode()) for t in texts), 10 ** 6, 1)} MB\n")
    assert must(data("stats", corpus.folder, "--card")).out == expected
    printed = must(data("stats", corpus.folder))
    assert printed.out.startswith(f"Conversations: {commas(len(texts))}\nMessages: {commas(len(corpus.messages()))}\n"
                               f"Tokens: {commas(sum(unique))}\n"
                               f"Longest conversation: {commas(max(unique))} tokens\nSize: "), printed.out
    assert all(line == line.rstrip() for line in printed.out.split("\n"))
    longest = max(unique) + 2
    assert f"\nLongest sample: {commas(longest)} of 16,384 tokens, {commas(16384 - longest)} spare\n" in printed.out
    messages = len(corpus.messages())
    assert f"\nTokens per message: {rounded(sum(unique), messages, 1)}\n" in printed.out
    size = sum(len(text.encode()) for text in texts)
    assert f"\nBytes per token: {rounded(size, sum(unique), 2)}\n" in printed.out
    below = sum(length < 300 for length in message_lengths(corpus))
    assert f"\nMessages below 300 tokens: {rounded(100 * below, messages, 1)} %\n" in printed.out


def test_json_has_every_figure(corpus):
    figures = json.loads(must(data("stats", corpus.folder, "--json")).out)
    lengths = sorted(message_lengths(corpus))
    segments = [segment for text in corpus.texts for segment in corpus.segments(text)]
    assert {row["role"]: row["blocks"] for row in figures["roles"]} == \
        {role: sum(segment[0] == role for segment in segments) for role in ROLES}
    sample_tokens = {row["role"]: row["sample_tokens"] for row in figures["roles"]}
    assert sum(sample_tokens.values()) == figures["unique_tokens"]  # all but BOS and EOS
    first = sum(text.startswith("▀lore") for text in corpus.texts)  # the dummy prefix belongs to the first block
    assert sample_tokens["lore"] == first + sum(text_tokens(whole) for role, _, _, whole in segments if role == "lore")
    hints = [hint or "none" for hint, _, _ in corpus.messages()]
    assert figures["hints"] == {name: hints.count(name) for name in ["none", *HINTS]}
    assert figures["emoji"] == sum(text.count("😀") for text in corpus.texts)
    lengths_shown = figures["message_lengths"]
    assert lengths_shown["total"] == sum(lengths) and lengths_shown["count"] == len(lengths)
    for percent in (5, 25, 50, 75, 90, 95, 99):
        assert lengths_shown[f"p{percent}"] == lengths[math.ceil(percent * len(lengths) / 100) - 1]
    assert (lengths_shown["min"], lengths_shown["max"]) == (lengths[0], lengths[-1])
    histogram = [(bin["from"], bin["below"], bin["count"]) for bin in lengths_shown["histogram"]]
    assert histogram == [(low, low + 20, sum(low <= n < low + 20 for n in lengths)) for low in range(0, 600, 20)] + \
        [(600, None, sum(n >= 600 for n in lengths))]
    for name in ("Aya", "Momiji", "Old Tam", ""):
        row = next(row for row in figures["characters"] if row["character"] == name)
        assert row["messages"] == sum(speaker == name for _, speaker, _ in corpus.messages())
    categories = {row["category"]: (row["conversations"], row["tokens"]) for row in figures["categories"]}
    assert categories == {"high": (40, sum(map(tokens, corpus.texts[:40]))), "": (20, sum(map(tokens, corpus.texts[40:])))}
    ledger = figures["ledger"]["total"]
    assert ledger["unique"] == figures["unique_tokens"]
    assert ledger["tokens_in"] == ledger["unique"] + 2 * len(corpus.texts) == ledger["tokens_packed"]
    bounds = [sorted(lengths)[math.ceil(k * len(lengths) / 9) - 1] for k in range(1, 9)]
    printed = figures["equal_count_bounds"]
    assert all(a < b for a, b in zip(printed, printed[1:]))
    assert all(mine >= quantile for mine, quantile in zip(printed, bounds))
    assert printed[-1] == bounds[-1]


def check_picture(root, lengths):
    """Bars count every message, fill the width up to 99 of 100 messages, and the marks stand at the quantiles."""
    svg = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{svg}title").text == f"Message lengths of {commas(len(lengths))} messages"
    bars = [bar.find(f"{svg}title").text for bar in root.iter(f"{svg}rect") if bar.find(f"{svg}title") is not None]
    counted = 0
    for bar in bars:
        low, high, count = re.fullmatch(r"([\d,]+)(?: to ([\d,]+)| (?:and more))? tokens: ([\d,]+)", bar).groups()
        low, high = int(low.replace(",", "")), int(high.replace(",", "")) if high else (10**9 if "more" in bar else int(low))
        assert int(count.replace(",", "")) == sum(low <= n <= high for n in lengths), bar
        counted += int(count.replace(",", ""))
    assert counted == len(lengths) and 3 <= len(bars) <= 32
    for name, share in (("25 %", 0.25), ("median", 0.5), ("75 %", 0.75), ("95 %", 0.95)):
        value = sorted(lengths)[math.ceil(share * len(lengths)) - 1]
        assert any(mark.text == f"{name}: {commas(value)} tokens" for mark in root.iter(f"{svg}title")), name


@pytest.mark.parametrize("longest", [3, 40, 900, 9000])
def test_picture_fits_the_data(tmp_path, longest):
    texts = ["▀message\n" + " ".join(["word"] * (1 + longest * i // 20)) + "▄\n" for i in range(20)]
    (tmp_path / "a.blockml").write_text("".join(texts), encoding="utf-8")
    must(data("stats", tmp_path / "a.blockml", "--svg", tmp_path / "a.svg", "--sequence-len", 1 << 20))
    root = xml.etree.ElementTree.fromstring((tmp_path / "a.svg").read_text())
    check_picture(root, [1 + longest * i // 20 for i in range(20)])


def test_page_has_the_figures(corpus, tmp_path):
    page = tmp_path / "page.html"
    printed = must(data("stats", corpus.folder, "--html", page)).out
    text = page.read_text(encoding="utf-8")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "") and "<script" not in text
    seen = html.unescape(re.sub(r"<[^>]+>", " ", text))
    for line in printed.splitlines()[:5]:
        assert line in seen, line
    for name in {speaker for _, speaker, _ in corpus.messages() if speaker}:
        assert name in seen, name
    hostile = tmp_path / "h.blockml"
    hostile.write_text("▀message\n<script>x: \"Hi\"▄\n", encoding="utf-8")
    must(data("stats", hostile, "--html", page))
    assert "<script" not in page.read_text(encoding="utf-8")


def test_tables_lengths_and_picture(corpus, tmp_path):
    picture = tmp_path / "lengths.svg"
    printed = must(data("stats", corpus.folder, "--by", "character", "--svg", picture)).out
    names = [speaker for _, speaker, _ in corpus.messages()]
    assert re.search(rf"^  Old Tam +\d+ +{names.count('Old Tam')} +[\d,]+$", printed, re.M)
    root = xml.etree.ElementTree.fromstring(picture.read_text())
    lengths = message_lengths(corpus)
    check_picture(root, lengths)
    printed = must(data("stats", corpus.folder, "--lengths", "--length-unit", "words")).out
    words = sorted(len(text.split()) for _, _, text in corpus.messages())
    assert "Message lengths in words:" in printed and f"minimum {words[0]}, " in printed and f"maximum {commas(words[-1])}\n" in printed
    assert re.search(r"length_unit: words\n  length_buckets: \{nano: \d+, .*huge: \d+\}", printed)


@pytest.mark.parametrize("budget", [700, 1100])
def test_split_keeps_every_unit_whole_and_every_part_within(corpus, tmp_path, budget):
    out = tmp_path / "parts"
    sources = tmp_path / "sources"
    sources.mkdir()
    # Only what can be cut: no message with what belongs to it above the budget.
    chosen = {}
    for number, text in enumerate(corpus.texts):
        (sources / "one.blockml").write_text(text, encoding="utf-8")
        if data("split", sources / "one.blockml", "--budget", budget, "--out", tmp_path / f"try{number}").code == 0:
            chosen[f"c{number}"] = text
    (sources / "one.blockml").unlink()
    (sources / "all.jsonl").write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in chosen.items()))
    assert len(chosen) > 20
    must(data("split", sources / "all.jsonl", "--budget", budget, "--out", out))
    files = {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()}
    cut = 0
    for name, text in chosen.items():
        if tokens(text) + 2 <= budget:
            assert files.pop(f"{name}.blockml") == text
            continue
        count = int(next(re.search(r"-of-(\d+)", file)[1] for file in files if file.startswith(f"{name}.1-of-")))
        parts = [files.pop(f"{name}.{k}-of-{count}.blockml") for k in range(1, count + 1)]
        cut += 1
        assert all(tokens(part) + 2 <= budget for part in parts)
        messages = [[segment for segment in corpus.segments(part) if segment[0] in ("message", "ooc")] for part in parts]
        assert all(messages)
        assert [s for part in messages for s in part] == \
            [s for s in corpus.segments(text) if s[0] in ("message", "ooc")]
        known = [segment[3] for segment in corpus.segments(text)]
        assert all(segment[3] in known for part in parts for segment in corpus.segments(part))
        scenario = [s[3] for s in corpus.segments(text) if s[0] == "scenario"]
        assert all(s not in part for s in scenario for part in parts[1:])
    assert cut > 5 and not files


SCENE = ("▀title\nA strange incident▄\n▀tags\nbarrier, danmaku▄\n▀description\nReimu\n**Name:** Reimu▄\n"
         '▀message (length: tiny)\nReimu: "Hmm..."▄\n[INST] Marisa is bored. [/INST]\n'
         '▀message\nMarisa: _Ugh._ "Boring."▄\n'
         '▀title\nThe shrine at night▄\n▀message\nReimu: "It is quiet."▄\n'
         '▀description\nCirno\n**Name:** Cirno▄\n▀message\nCirno: "Eye am the strongest!"▄\n'
         '▀message\nReimu: "No."▄\n')


@pytest.mark.parametrize("budget, lengths", [(148, [148]), (147, [136, 53]), (120, [108, 68]), (110, [108, 68]), (100, [84, 82]),
                                             (90, [84, 82])])
def test_split_of_the_worked_example(tmp_path, budget, lengths):
    (tmp_path / "scene.blockml").write_text(SCENE, encoding="utf-8")
    must(data("split", tmp_path / "scene.blockml", "--budget", budget, "--out", tmp_path / "out"))
    parts = sorted((tmp_path / "out").iterdir())
    assert [tokens(part.read_text(encoding="utf-8")) + 2 for part in parts] == lengths
    if budget == 100:
        assert parts[1].read_text(encoding="utf-8").startswith(
            "▀title\nThe shrine at night▄\n▀description\nReimu\n**Name:** Reimu▄\n▀message\nReimu:")
    if budget == 110:
        assert parts[1].read_text(encoding="utf-8").startswith(
            "▀title\nThe shrine at night▄\n▀description\nReimu\n**Name:** Reimu▄\n▀description\nCirno\n")


def test_split_never_overwrites_and_leaves_nothing_after_a_problem(tmp_path):
    source, out = tmp_path / "scene.blockml", tmp_path / "out"
    source.write_text(SCENE, encoding="utf-8")
    refused = data("split", source, "--budget", 60, "--out", out)
    assert (refused.code, refused.codes) == (3, ["E0305"]) and not out.exists()
    assert "scene.blockml:10:1" in refused.err and "66 ids (+6)" in refused.err
    must(data("split", source, "--budget", 100, "--out", out))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = must(data("split", source, "--budget", 100, "--out", out))
    assert "files that existed with the same content: 2" in again.out
    other = data("split", source, "--budget", 110, "--out", out)
    assert (other.code, other.codes) == (2, ["E0807", "E0807"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    broken = tmp_path / "broken.blockml"
    broken.write_text("▀message\nnot closed", encoding="utf-8")
    failed = data("split", source, broken, "--budget", 100, "--out", tmp_path / "none")
    assert (failed.code, failed.codes) == (3, ["E0301"]) and not (tmp_path / "none").exists()


def test_parts_of_one_conversation_on_both_sides_are_refused(tmp_path, text_model):
    (tmp_path / "scene.blockml").write_text(SCENE, encoding="utf-8")
    must(data("split", tmp_path / "scene.blockml", "--budget", 100, "--out", tmp_path / "train"))
    (tmp_path / "eval").mkdir()
    shutil.move(tmp_path / "train/scene.2-of-2.blockml", tmp_path / "eval")
    job = Job(tmp_path, text_model, sequence_len=128, datasets=[{"path": "train"}], test_datasets=[{"path": "eval"}])
    refused = train(job.config, "--check")
    assert (refused.code, refused.errors) == (3, ["E0307"])
    assert f"{tmp_path}/eval/scene.2-of-2.blockml = {tmp_path}/train/scene.1-of-2.blockml (the same conversation)" in refused.err


def test_copies_between_train_and_evaluation(tmp_path, text_model):
    scenes(tmp_path / "data", 6, 3)
    (tmp_path / "test").mkdir()
    copied = (tmp_path / "data/scene-02.blockml").read_text(encoding="utf-8")
    (tmp_path / "test/copy.blockml").write_text(copied.replace("Scene 2", "Another title").upper().replace(
        "▀TITLE", "▀title").replace("▀TAGS", "▀tags").replace("▀MESSAGE", "▀message"), encoding="utf-8")
    job = Job(tmp_path, text_model, sequence_len=128, num_epochs=1, datasets=[{"path": "data"}],
              test_datasets=[{"path": "test"}])
    for outcome in (train(job.config, "--check"), train(job.config), data("check", job.config)):
        assert (outcome.code, outcome.errors) == (3, ["E0307"]), repr(outcome)
        assert f"{tmp_path}/test/copy.blockml = {tmp_path}/data/scene-02.blockml (exact)" in outcome.err + outcome.out
    assert not job.run.exists()
    job.write(allow_overlap=True)
    printed = must(train(job.config))
    assert printed.codes == ["E0307"] and "warning[E0307]" in printed.err


def test_dedupe_trains_the_first_of_each(tmp_path, text_model):
    scenes(tmp_path / "data", 4, 3)
    shutil.copy(tmp_path / "data/scene-01.blockml", tmp_path / "data/scene-99.blockml")
    job = Job(tmp_path, text_model, sequence_len=128, num_epochs=1, datasets=[{"path": "data"}])
    printed = must(train(job.config, "--check"))
    assert printed.codes == ["W0301"] and f"{tmp_path}/data/scene-99.blockml = {tmp_path}/data/scene-01.blockml (exact)" in printed.err
    job.write(dedupe=True)
    printed = must(train(job.config))
    assert printed.codes == []
    report = json.loads((job.run / "data_report.json").read_text())["total"]
    assert report["samples"] == 4 and report["dropped_duplicate"] > 0
    assert report["tokens_in"] == report["tokens_packed"] + report["dropped_duplicate"]


def test_the_second_start_takes_the_tokenized_data(tmp_path, text_model):
    scenes(tmp_path / "data", 8, 5)
    job = Job(tmp_path, text_model, sequence_len=128, num_epochs=1, datasets=[{"path": "data"}])
    checked = must(train(job.config, "--check"))
    assert "data tokenized (no cache yet)\n" in checked.err
    assert not (tmp_path / ".prepared").exists()  # --check writes nothing
    first = must(train(job.config))
    assert "data tokenized (no cache yet)\n" in first.err and "tokenized data kept in " in first.err
    kept = list((tmp_path / ".prepared").iterdir())
    assert len(kept) == 1
    expected = final_state(job.run)
    assert "prepared data taken from " in must(train(job.config, "--check")).err
    shutil.rmtree(job.run)
    # Anything that the data follows from makes it again; nothing else does.
    assert "prepared data taken" in must(train(job.config, "--plan", "--set", "learning_rate=0.001")).err
    changed = must(train(job.config, "--plan", "--set", "train_on_inputs=false"))
    assert "data tokenized (train_on_inputs changed)\n" in changed.err
    second = must(train(job.config))
    assert "prepared data taken from " in second.err and "data tokenized" not in second.err
    assert final_state(job.run) == expected
    text = (tmp_path / "data/scene-03.blockml").read_text(encoding="utf-8")
    (tmp_path / "data/scene-03.blockml").write_text(text.replace('"▄', '!"▄', 1), encoding="utf-8")
    outcome = train(job.config)
    assert outcome.code != 0 and "E0508" in outcome.codes  # the run in the folder is of other data
    assert '("data/scene-03.blockml" changed)' in outcome.err
    # Damage is seen and repaired.
    shutil.rmtree(job.run)
    (tmp_path / "data/scene-03.blockml").write_text(text, encoding="utf-8")
    damaged = bytearray(kept[0].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    kept[0].write_bytes(damaged)
    damage = must(train(job.config)).err
    assert "data tokenized (the cache is damaged)\n" in damage and "tokenized data kept in " in damage
    assert final_state(job.run) == expected


@pytest.mark.parametrize("mistake", ["data of a later stage", "unknown stage", "length of a later stage", "no folder"])
def test_a_start_that_is_refused_keeps_nothing(tmp_path, text_model, mistake):
    for name in ("low", "high"):
        scenes(tmp_path / name, 4, 1)
    stages = [{"name": name, "learning_rate": 0.002, "datasets": [{"path": name}]} for name in ("low", "high")]
    if mistake == "data of a later stage":
        (tmp_path / "high/scene-03.blockml").write_text("▀message\nnot closed")
    if mistake == "length of a later stage":
        stages[1]["num_epochs"] = 0
    job = Job(tmp_path, text_model, sequence_len=128, num_epochs=1, learning_rate=..., output_dir="runs", stages=stages)
    options = ["--only", "nothere"] if mistake == "unknown stage" else []
    if mistake == "no folder":
        (tmp_path / "runs").write_text("a file where the folder should be")
    outcome = train(job.config, *options)
    assert outcome.code not in (0, 70) and outcome.errors, repr(outcome)
    assert not (tmp_path / ".prepared").exists(), repr(outcome)


@pytest.mark.parametrize("trouble, code", [("in use", "E0501"), ("NaN in the base", "E0210")])
def test_a_start_that_is_refused_late_keeps_nothing(tmp_path, text_model, trouble, code):
    scenes(tmp_path / "data", 4, 1)
    model = copy_folder(text_model, tmp_path / "m")
    weights = (model / "model.safetensors").read_bytes()
    job = Job(tmp_path, model, sequence_len=128, num_epochs=1, datasets=[{"path": "data"}])
    job.run.mkdir()
    with open(job.run / "run.lock", "w") as lock:
        if trouble == "in use":
            fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            replace_file(model / "model.safetensors", weights[:-4] + b"\xff\xff\xff\xff")
        outcome = train(job.config)
    assert outcome.errors == [code], repr(outcome)
    assert not (tmp_path / ".prepared").exists(), repr(outcome)
    replace_file(model / "model.safetensors", weights)
    assert "tokenized data kept in " in must(train(job.config)).err


def test_the_folder_of_tokenized_data_can_be_named(tmp_path, text_model):
    job = Job(tmp_path / "job", text_model, sequence_len=128, num_epochs=1, datasets=[{"path": "one.blockml"}],
              dataset_prepared_path="../kept")
    (tmp_path / "job/one.blockml").write_text(scene("One", ["here", "there"]), encoding="utf-8")
    must(train(job.config))
    assert len(list((tmp_path / "kept").iterdir())) == 1 and not (tmp_path / "job/.prepared").exists()
