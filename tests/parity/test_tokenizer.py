"""Token ids against the sentencepiece package on the same tokenizer.model: random text of every kind."""
import json
import os
import random

import pytest
import sentencepiece
from parity_support import run_tool

TOKENIZER = os.environ["SHORI_TOKENIZER"]
WORDS = ["the", "Konrad", "▀", "▄", "\n", " ", "  ", "\t", "'", "“", "”", ":", "...", "—", "é", "ß", "日本語", "한국어", "🙂",
         "👩‍👩‍👧", "\u00a0", "\u200b", "\u0301", "0", "42", "</s>", "<s>", "<0x0A>", "[INST]", "▁", "\r\n", "Ω", "naïve",
         "\ufeff", "\u2028"]


def random_text(source, kind):
    length = source.randrange(0, 200)
    if kind == "words":
        return source.choice(["", " "]).join(source.choice(WORDS) for _ in range(length))
    if kind == "ascii":
        return "".join(chr(source.randrange(32, 127)) for _ in range(length))
    if kind == "dialogue":
        names = ["Delfador", "Li’sar"]
        lines = [f'{source.choice(names)}: "{" ".join(source.choices(WORDS, k=12))}"' for _ in range(9)]
        return "▀" + "\n".join(lines) + "▄"
    # Any Unicode character that is not a surrogate.
    points = [point for point in (source.randrange(1, 0x110000) for _ in range(length)) if not 0xD800 <= point < 0xE000]
    return "".join(map(chr, points))


@pytest.mark.parametrize("kind", ["words", "ascii", "dialogue", "unicode"])
def test_ids_equal_sentencepiece(kind):
    source = random.Random(kind)
    texts = [random_text(source, kind) for _ in range(300)]
    ours = json.loads(run_tool("encode", TOKENIZER, text=json.dumps(texts)))
    processor = sentencepiece.SentencePieceProcessor(model_file=TOKENIZER)
    for text, ids in zip(texts, ours, strict=True):
        assert ids == processor.encode(text), repr(text)


# Ids as a model may draw them: characters cut anywhere, control pieces, several spaces.
def test_texts_equal_sentencepiece():
    source = random.Random("ids")
    lists = [[source.choice([source.randrange(32000), source.randrange(259), 28705, 13]) for _ in range(source.randrange(0, 30))]
             for _ in range(2000)]
    processor = sentencepiece.SentencePieceProcessor(model_file=TOKENIZER)
    for ids, text in zip(lists, json.loads(run_tool("decode", TOKENIZER, text=json.dumps(lists))), strict=True):
        assert text == processor.decode(ids), ids
