"""The presets for SillyTavern, by what the program makes of their fields, and the prompts that come out."""
import hashlib
import json

import pytest
import sentencepiece

import sillytavern
from run_folders import file_sha256, snapshot
from shori_programs import TOKENIZER, export, must

WORDS = ["nano", "micro", "tiny", "short", "medium", "long", "massive", "huge", "enormous"]
VALUES = {"user": "Marisa", "char": "Reimu", "persona": "**Name:** Marisa", "description": "**Name:** Reimu", "wiBefore": "Gensokyo.",
          "scenario": "They meet."}
ONE_TO_ONE = [("Reimu", '"Hmm..."'), ("Marisa", '"Ooohh!"'), ("Reimu", "_Ugh._"), ("Marisa", '"Ze!"')]
GROUP = [("Chen", '"Nya?"'), ("Yukari", '"Hm."'), ("Marisa", '"Ooohh!"'), (None, "Yukari's personality: proud, haughty"),
         ("Yukari", '"Boring."')]
JAILBREAK = "[INST] Write a safe conversation suitable for all audiences. Don't be vulgar or sexually explicit. [/INST]"
# What the import button of SillyTavern knows a file by.
RECOGNIZED = {"instruct": {"name", "input_sequence", "output_sequence"}, "context": {"name", "story_string"},
              "sysprompt": {"name", "content"}, "TextGen Settings": {"temp", "top_k", "top_p", "rep_pen"}}
ORDER = ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("presets") / "sillytavern"
    must(export("sillytavern", "--out", out))
    return out


def load(folder, name):
    text = (folder / name).read_text(encoding="utf-8")
    assert text.endswith("}\n") and "\r" not in text
    return json.loads(text)


def presets(folder):
    context, system = load(folder, "context/BlockML.json"), load(folder, "sysprompt/BlockML - reverse jailbreak.json")
    return context, load(folder, "instruct/BlockML.json"), {**VALUES, "system": system["content"]}


def test_golden_prompts(folder):
    context, instruct, values = presets(folder)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
    for chat, size, ids, digest in (
            (ONE_TO_ONE, 387, 141, "25c41a49d5e44d66799bc63e73fb73decfbf104e620858cd2bcd06ce519e9de1"),
            (GROUP, 440, 161, "7d433c1efff228725fb61328e7920bce1b8b833bd5b121182ef53aabcb0a7c5f")):
        text = sillytavern.prompt(context, instruct, values, chat, "Reimu")
        assert hashlib.sha256(text.encode()).hexdigest() == digest, text
        assert (len(text.encode()), len(pieces.encode(text))) == (size, ids)


def test_nine_lengths(folder):
    context, instruct, values = presets(folder)
    medium = sillytavern.prompt(context, instruct, values, GROUP, "Reimu")
    assert len(list((folder / "instruct").iterdir())) == len(WORDS)
    for word in WORDS:
        name = "BlockML" if word == "medium" else f"BlockML {word}"
        variant = load(folder, f"instruct/{name}.json")
        assert variant.pop("name") == name
        text = sillytavern.prompt(context, variant, values, GROUP, "Reimu")
        assert text == medium.replace("(length: medium)", f"(length: {word})")
        assert variant.keys() == instruct.keys() - {"name"}
        assert {key for key in variant if variant[key] != instruct[key]} <= {"last_output_sequence"}


def test_empty_fields_leave_nothing(folder):
    context, instruct, _ = presets(folder)
    names = {"user": "Marisa", "char": "Reimu"}
    assert sillytavern.prompt(context, instruct, names, [], "Reimu") == "▀message (length: medium)\nReimu:"
    parts = {"anchorBefore": ("▀title\nA▄", "▀title\nA▄\n"), "wiBefore": ("L", "▀lore\nL▄\n"),
             "description": ("D of {{char}}", "▀description\nReimu\nD of Reimu▄\n"),
             "personality": ("calm", "▀description\nReimu's personality: calm▄\n"), "persona": ("P", "▀description\nMarisa\nP▄\n"),
             "scenario": ("S", "▀scenario\nS▄\n"), "wiAfter": ("M", "▀lore\nM▄\n"), "system": ("[INST] x [/INST]", "[INST] x [/INST]\n"),
             "anchorAfter": ("Z", "Z\n")}
    for variable, (value, wanted) in parts.items():
        assert sillytavern.story(context, {**names, variable: value}) == wanted
    everything = {variable: value for variable, (value, _) in parts.items()}
    assert sillytavern.story(context, {**names, **everything}) == "".join(wanted for _, wanted in parts.values())


def test_fields(folder):
    context, instruct, values = presets(folder)
    assert values["system"] == JAILBREAK
    assert load(folder, "sysprompt/BlockML - reverse jailbreak.json")["post_history"] == ""
    assert instruct["stop_sequence"] == "▄" and instruct["activation_regex"] == "/shori/i"
    assert instruct["names_behavior"] == "always" and instruct["names"] is instruct["names_force_groups"] is True
    for key in ("wrap", "sequences_as_stop_strings", "system_same_as_user", "skip_examples"):
        assert instruct[key] is False, key
    assert (context["story_string_position"], context["story_string_depth"], context["story_string_role"]) == (0, 1, 0)
    for key in ("use_stop_strings", "names_as_stop_strings", "trim_sentences", "single_line"):
        assert context[key] is False, key
    assert context["example_separator"] == context["chat_start"] == "" and context["name"] == instruct["name"] == "BlockML"


def test_every_file_is_recognized(folder):
    for kind, keys in RECOGNIZED.items():
        files = list((folder / kind).iterdir())
        assert files
        for path in files:
            preset = load(folder, path.relative_to(folder))
            assert keys <= preset.keys(), path
            assert kind == "TextGen Settings" or preset["name"] == path.stem
    master = load(folder, "BlockML.master.json")
    for section, name in (("instruct", "instruct/BlockML"), ("context", "context/BlockML"),
                          ("sysprompt", "sysprompt/BlockML - reverse jailbreak")):
        assert master[section] == load(folder, f"{name}.json")
    assert master["preset"] == {"name": "ShoriRP main", **load(folder, "TextGen Settings/ShoriRP main.json")}
    record = load(folder, "shori_export.json")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"shori_export.json"}
    assert len(names) == 1 + 1 + 9 + 1 + 3 + 1
    assert record["files"] == {name: file_sha256(folder / name) for name in names}


def test_samplers(folder):
    main, first, second = (load(folder, f"TextGen Settings/ShoriRP {name}.json") for name in ("main", "alternative 1", "alternative 2"))
    assert list(main) == list(first) == list(second) and len(main) == 56
    changed = {key for key in main if len({json.dumps(preset[key]) for preset in (main, first, second)}) > 1}
    assert changed == {"temp", "min_p", "presence_pen", "freq_pen", "mirostat_mode", "mirostat_tau", "mirostat_eta", "rep_pen_range",
                       "temperature_last", "samplers", "sampler_order"}
    keys = ("temp", "min_p", "presence_pen", "freq_pen", "mirostat_mode", "rep_pen_range", "temperature_last")
    assert [main[key] for key in keys] == [1, 0.07, 0.4, 0, 0, 2048, False]
    assert [first[key] for key in keys] == [2.45, 0.4, 0, 0.12, 0, 2048, True]
    assert [second[key] for key in keys] == [1, 0, 0, 0, 2, 0, True]
    assert (second["mirostat_tau"], second["mirostat_eta"]) == (2.9, 0.019)
    assert first["samplers"] == second["samplers"] == ORDER
    assert main["samplers"] == ["penalties", "dry", "temperature", *ORDER[2:-1]]
    assert first["sampler_order"] == [6, 0, 1, 3, 4, 2, 5] and main["sampler_order"] == [6, 5, 0, 1, 3, 4, 2]
    for preset in (main, first, second):
        assert preset["rep_pen_range"] or not (preset["presence_pen"] or preset["freq_pen"]), "the window would switch the penalties off"
        assert preset["add_bos_token"] is True and preset["ban_eos_token"] is False


def test_model_pattern_and_targets(folder, tmp_path):
    pattern = r'/^("my"\\|ünï).*$/i'
    must(export("sillytavern", "--out", tmp_path / "own", "--model-pattern", pattern))
    assert load(tmp_path / "own", "instruct/BlockML tiny.json")["activation_regex"] == pattern
    assert load(tmp_path / "own", "BlockML.master.json")["instruct"]["activation_regex"] == pattern
    before = snapshot(tmp_path)
    assert must(export("sillytavern", "--out", tmp_path / "own"), 2).errors == ["E0806"]
    assert must(export("sillytavern", "--out", tmp_path / "new", "--model-pattern", "a\nb"), 2).errors == ["E0116"]
    assert snapshot(tmp_path) == before
    must(export("sillytavern", "--out", tmp_path / "own", "--force"))
    assert snapshot(tmp_path / "own") == snapshot(folder) and (tmp_path / "own.old-1").is_dir()
