#!/usr/bin/env python3
"""Reading, tokenizing and packing 18 MB of BlockML: ours, sentencepiece, and transformers' fast tokenizer.

  build/deps/venv/bin/python tests/bench/data_against_tokenizers.py
  build/deps/venv/bin/python tests/bench/data_against_tokenizers.py --megabytes 1 --rounds 1        (a short try)

Needs scripts/setup.sh --tests and a build of shori-train and shori_bench; --bin names its folder.

The corpus is made from the BlockML files below --dialogue (build/quickstart/data, where scripts/quickstart.sh or
scripts/fetch_dialogue.sh puts them), or where there are none from configs/quickstart/data: conversations of 4 to 48 KB
whose blocks are drawn at random, with words exchanged, so that no two are alike; one file each, the same files in every
run. All is read from the page cache.

  ours, N threads            read, parse, hash, encode, mask and account (load_datasets), then the plan and all packs of
                             an epoch
  our tokenizer alone        Tokenizer::encode of texts in memory, one thread. Against the sentencepiece library in one
                             process: shori_bench --benchmark_filter=data_encode_against_library
  sentencepiece              its Python package, EncodeAsIds of each text in memory, one thread
  fast tokenizer, N threads  transformers' PreTrainedTokenizerFast over tokenizer.json: read, encode all texts in one
                             call, first-fit packing into arrays of ids, labels and positions. It neither parses nor
                             masks nor accounts.

tokenizer.json is made from tokenizer.model: BPE with byte fallback, merges by score, Prepend and Replace as normalizer.
Its ids of all texts are compared with sentencepiece's once; differences are counted and shown. Each measurement is a
process of its own, all in turn in every round; medians of the rounds.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import sys
import time

import bench_report

HOME = bench_report.WORK / "data"
CORPUS, TOKENIZER_JSON = HOME / "corpus", HOME / "tokenizer.json"
CAPACITY = 16384
BLOCK = re.compile(r"▀(\w+)[^▄]*▄")


def source_blocks(dialogue):
    """role -> blocks of that role in the dialogue there is, and where it lies."""
    for folder in (dialogue, bench_report.SOURCE / "configs/quickstart/data"):
        blocks = {}
        for path in sorted(folder.glob("*/*.blockml")):
            for match in BLOCK.finditer(path.read_text(encoding="utf-8")):
                blocks.setdefault(match[1], []).append(match[0])
        if blocks.get("message"):
            return blocks, str(folder)
    sys.exit("There is no dialogue in configs/quickstart/data.")


def exchange_words(block, words, source):
    """The block with about every eighth lower-case word replaced by one of the others."""
    head, _, body = block.partition("\n")
    return head + "\n" + re.sub(r"\b[a-z]{3,}\b",
                                lambda match: source.choice(words) if source.random() < 0.125 else match[0], body)


def make_corpus(dialogue, megabytes):
    blocks, folder = source_blocks(dialogue)
    words = sorted({word for block in blocks["message"] for word in re.findall(r"\b[a-z]{3,}\b", block)})
    source, size = random.Random(11), 0
    shutil.rmtree(CORPUS, ignore_errors=True)
    CORPUS.mkdir(parents=True)
    while size < megabytes * 1_000_000:
        wanted = int(4000 * 12 ** source.random())
        text = "\n".join(source.choice(blocks[role]) for role in ("title", "tags") if role in blocks) + "\n"
        while len(text.encode()) < wanted:
            text += exchange_words(source.choice(blocks["message"]), words, source) + "\n"
        data = text.encode()
        (CORPUS / f"{len(list(CORPUS.iterdir())):05}.blockml").write_bytes(data)
        size += len(data)
    return folder, size, len(list(CORPUS.iterdir()))


def make_tokenizer_json():
    """A fast tokenizer that gives sentencepiece's ids: each pair of pieces that joins to a piece is a merge, those with
    the best score first."""
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(bench_report.TOKENIZER))
    pieces = [processor.IdToPiece(number) for number in range(processor.GetPieceSize())]
    ids = {piece: number for number, piece in enumerate(pieces)}
    scored = []
    for number, piece in enumerate(pieces):
        halves = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
        known = [(left, right) for left, right in halves if left in ids and right in ids]
        known.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        scored += [(processor.GetScore(number), pair) for pair in known]
    scored.sort(key=lambda item: -item[0])
    special = [{"id": number, "content": pieces[number], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for number in range(3)]
    TOKENIZER_JSON.write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "pre_tokenizer": None,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": ids, "merges": [list(pair) for _, pair in scored]}}), encoding="utf-8")


def read_texts():
    return [path.read_text(encoding="utf-8") for path in sorted(CORPUS.iterdir())]


def fast_tokenizer():
    import transformers
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER_JSON))


def count_differences():
    """Texts to which the fast tokenizer gives other ids than sentencepiece."""
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(bench_report.TOKENIZER))
    texts = read_texts()
    encoded = fast_tokenizer()(texts, return_attention_mask=False)["input_ids"]
    print(sum(processor.EncodeAsIds(text) != ids for text, ids in zip(texts, encoded)))


def pack_rows(samples):
    """First-fit decreasing with a limit on the rows that are still looked at, then one set of arrays a row."""
    import numpy
    rows, room = [], []
    for sample in sorted(samples, key=len, reverse=True):
        row = next((number for number in range(max(0, len(rows) - 64), len(rows)) if room[number] >= len(sample)), None)
        if row is None:
            rows.append([])
            room.append(CAPACITY)
            row = len(rows) - 1
        rows[row].append(sample)
        room[row] -= len(sample)
    packs = []
    for row in rows:
        ids = numpy.concatenate([numpy.asarray(sample, dtype=numpy.int32) for sample in row])
        positions = numpy.concatenate([numpy.arange(len(sample), dtype=numpy.int32) for sample in row])
        packs.append((ids, numpy.where(positions > 0, ids, -100), positions))
    return packs


def measure_fast_tokenizer():
    tokenizer = fast_tokenizer()
    begun = time.perf_counter()
    texts = read_texts()
    encoded = tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
    loaded = time.perf_counter()
    packs = pack_rows([[1, *ids, 2] for ids in encoded])
    ended = time.perf_counter()
    print(json.dumps({"seconds": ended - begun, "load_seconds": loaded - begun, "pack_seconds": ended - loaded,
                      "tokens": int(sum(len(ids) for ids, _, _ in packs))}))


def measure_sentencepiece():
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(bench_report.TOKENIZER))
    texts, count = read_texts(), 0
    begun = time.perf_counter()
    for text in texts:
        count += len(processor.EncodeAsIds(text))
    print(json.dumps({"seconds": time.perf_counter() - begun, "tokens": count}))


PARTS = {"fast": measure_fast_tokenizer, "sentencepiece": measure_sentencepiece,
         "tokenizer.json": make_tokenizer_json, "compare": count_differences}


def run_self(part, threads=1):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": str(threads > 1).lower()}
    return json.loads(bench_report.run([sys.executable, __file__, "--part", part], env=environment).splitlines()[-1])


def run_bench(options, name):
    out = HOME / "shori_bench.json"
    environment = {**os.environ, "SHORI_BENCH_CORPUS": str(CORPUS), "SHORI_TOKENIZER": str(bench_report.TOKENIZER)}
    bench_report.run([options.bin / "shori_bench", f"--benchmark_filter=^{name}/", f"--benchmark_out={out}"],
                     env=environment)
    (result,) = json.loads(out.read_text())["benchmarks"]
    keys = ("load_seconds", "pack_seconds", "tokens")
    return {"seconds": result["real_time"] / 1000, **{key: result[key] for key in keys if key in result}}


def measure(options):
    parts = {
        "ours, 1 thread": lambda: run_bench(options, "data_prepare/1"),
        "our tokenizer alone": lambda: run_bench(options, "data_encode_only"),
        "ours, 2 threads": lambda: run_bench(options, "data_prepare/2"),
        "sentencepiece": lambda: run_self("sentencepiece"),
        "fast tokenizer, 1 thread": lambda: run_self("fast"),
        "fast tokenizer, 2 threads": lambda: run_self("fast", 2),
    }
    results = {name: [] for name in parts}
    for round_number in range(options.rounds):
        for name, part in parts.items():
            print(f"round {round_number + 1} of {options.rounds}: {name}", file=sys.stderr)
            results[name].append(part())
    return results


def show(report):
    size, medians = report["corpus"]["bytes"], report["results"]
    ours = medians["ours, 2 threads"]["seconds"]
    rows = []
    for name, result in medians.items():
        seconds = result["seconds"]
        parts = [f"{result[key]:.2f}" if key in result else "" for key in ("load_seconds", "pack_seconds")]
        rows.append([name, f"{seconds:.2f}", f"{size / 1e6 / seconds:.2f}", *parts, f"{seconds / ours:.2f}"])
    bench_report.print_table(["", "seconds", "MB/s", "reading, encoding", "packing", "ours (2) is x faster"],
                             rows)
    corpus = report["corpus"]
    print(f"{corpus['texts']} texts, {size / 1e6:.1f} MB, made from {corpus['source']}; the fast tokenizer gives other "
          f"ids for {corpus['texts_with_other_ids']} of them")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bench_report.add_common_options(parser)
    parser.add_argument("--megabytes", type=float, default=18)
    parser.add_argument("--dialogue", type=pathlib.Path, default=bench_report.SOURCE / "build/quickstart/data")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = parse_options()
    if options.part:
        return PARTS[options.part]()
    report = bench_report.describe(options.bin, ["sentencepiece", "tokenizers", "transformers"])
    source, size, texts = make_corpus(options.dialogue, options.megabytes)
    bench_report.run([sys.executable, __file__, "--part", "tokenizer.json"])
    different = int(bench_report.run([sys.executable, __file__, "--part", "compare"]).split()[-1])
    report["corpus"] = {"source": source, "bytes": size, "texts": texts, "texts_with_other_ids": different}
    report["runs"] = measure(options)
    report["results"] = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                         for name, runs in report["runs"].items()}
    show(report)
    bench_report.finish(report, options.out, "data_against_tokenizers.json")
    return None


if __name__ == "__main__":
    main()
