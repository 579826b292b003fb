"""Drawn ids against samplers written in NumPy from their definitions, over random logits."""
import json
import math
import os
import subprocess
from collections import Counter

import numpy
import pytest

NEUTRAL = {"temperature": 1.0, "temperature_last": False, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
           "presence_penalty": 0.0, "frequency_penalty": 0.0, "penalty_window": 2048, "mirostat": 0, "mirostat_tau": 5.0,
           "mirostat_eta": 0.1}
CASES = {
    "neutral": {},
    "main": {"min_p": 0.07, "presence_penalty": 0.4},
    "alternative 1": {"temperature": 2.45, "temperature_last": True, "min_p": 0.4, "frequency_penalty": 0.12},
    "alternative 1, temperature first": {"temperature": 2.45, "min_p": 0.4, "frequency_penalty": 0.12},
    "alternative 2": {"mirostat": 2, "mirostat_tau": 2.9, "mirostat_eta": 0.019},
    "mirostat, hot": {"mirostat": 2, "mirostat_tau": 1.5, "mirostat_eta": 0.5, "temperature": 1.7, "presence_penalty": 9.0},
    "top-k": {"top_k": 20, "temperature": 0.8},
    "top-p": {"top_p": 0.9},
    "top-p of nearly all": {"top_p": 0.999, "temperature": 1.5, "temperature_last": True},
    "all": {"temperature": 1.3, "top_k": 200, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.2,
            "presence_penalty": 0.3, "frequency_penalty": -0.2, "penalty_window": 40},
    "all, temperature last": {"temperature": 1.3, "temperature_last": True, "top_k": 200, "top_p": 0.8, "min_p": 0.02,
                              "repetition_penalty": 0.9, "presence_penalty": -0.3, "frequency_penalty": 0.2,
                              "penalty_window": -1},
    "greedy": {"temperature": 0.0, "repetition_penalty": 1.5, "penalty_window": 5},
}
SEED, REPLY, ROWS = 0x123456789ABCDEF, 3, 60


def philox(key, counter):
    low, high = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = ((second >> 32) ^ counter[1] ^ low, second & 0xFFFFFFFF, (first >> 32) ^ counter[3] ^ high, first & 0xFFFFFFFF)
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return counter


def uniform(token):
    words = philox(SEED, (token, REPLY, 0, 0x53414D50))
    return ((words[0] << 32 | words[1]) >> 11) * 2.0**-53


def penalized(logits, context, settings):
    window = settings["penalty_window"]
    logits = logits.copy()
    for index, count in Counter(context if window < 0 else context[-window:]).items():
        rate = numpy.float32(settings["repetition_penalty"])
        logits[index] = logits[index] * rate if logits[index] <= 0 else logits[index] / rate
        logits[index] -= numpy.float32(count) * numpy.float32(settings["frequency_penalty"]) + numpy.float32(settings["presence_penalty"])
    return logits


def softmax(logits):
    powers = numpy.exp(logits.astype(numpy.float64) - float(logits[0]))
    return powers / powers.sum()


def ordered(ids, logits):
    """Logit descending, id ascending."""
    order = numpy.lexsort((ids, -logits))
    return ids[order], logits[order]


def apply(step, ids, logits, settings):
    keep = len(ids)
    if step == "temperature":
        if settings["temperature"] <= 0:
            return ids[:1], logits[:1]
        return ordered(ids, logits / numpy.float32(settings["temperature"]))
    if step == "top_k" and settings["top_k"] > 0:
        keep = settings["top_k"]
    if step == "top_p" and settings["top_p"] < 1:
        keep = 1 + int((numpy.cumsum(softmax(logits)) < float(numpy.float32(settings["top_p"]))).sum())
    if step == "min_p" and settings["min_p"] > 0:
        keep = int((logits >= logits[0] + numpy.float32(math.log(numpy.float32(settings["min_p"])))).sum())
    return ids[:keep], logits[:keep]


def draw(ids, probabilities, u):
    at = min(int((numpy.cumsum(probabilities) <= u).sum()), len(ids) - 1)
    return int(ids[at]), probabilities[at]


def expected(settings, context, rows):
    mu, drawn = 2 * float(numpy.float32(settings["mirostat_tau"])), []
    for token, row in enumerate(rows):
        u = uniform(token)
        if settings["mirostat"]:
            ids, logits = apply("temperature", *ordered(numpy.arange(len(row)), row), settings)
            probabilities = softmax(logits)
            over = numpy.flatnonzero(-numpy.log2(probabilities) > mu)
            keep = max(int(over[0]), 1) if len(over) else len(ids)
            chosen, probability = draw(ids[:keep], probabilities[:keep] / probabilities[:keep].sum(), u)
            mu -= float(numpy.float32(settings["mirostat_eta"])) * (-math.log2(probability) - float(numpy.float32(settings["mirostat_tau"])))
        else:
            steps = ["top_k", "top_p", "min_p"]
            steps.insert(3 if settings["temperature_last"] else 0, "temperature")
            ids, logits = ordered(numpy.arange(len(row)), penalized(row, context + drawn, settings))
            for step in steps:
                ids, logits = apply(step, ids, logits, settings)
            chosen, _ = draw(ids, softmax(logits), u)
        drawn.append(chosen)
    return drawn


def make_job(name):
    random = numpy.random.RandomState(len(name))
    # Rounded, so that many are equal.
    rows = (random.randn(ROWS, 2000) * 3).round(1).astype(numpy.float32)
    context = random.randint(0, 2000, 100).tolist() * 2
    return {"settings": NEUTRAL | CASES[name], "seed": SEED, "reply": REPLY, "context": context, "logits": rows.tolist()}


@pytest.fixture(scope="module")
def drawn():
    """By name of the case, from one start of the tool. Not by parity_support, which takes ten seconds to load PyTorch."""
    tool = os.path.join(os.environ["SHORI_BIN_DIR"], "parity_tool")
    jobs = json.dumps([make_job(name) for name in CASES])
    done = subprocess.run([tool, "sample"], input=jobs, capture_output=True, text=True, check=True)
    return dict(zip(CASES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_drawn_ids_equal_numpy(name, drawn):
    job = make_job(name)
    assert drawn[name] == expected(job["settings"], job["context"], numpy.array(job["logits"], numpy.float32))
