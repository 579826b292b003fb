"""The same bytes whatever the number of threads, the folder, the language, the time zone or the mask of the user."""
import hashlib
import os
import pathlib
import shutil

import pytest

from run_folders import final_state, tensor_state
from shori_programs import in_parallel, must, train
from small_jobs import Job, TokenJob, scenes

# Without the key `threads` there is one thread a core. All that must not matter at once is one case: it costs one run a kind of job
# instead of seven.
SURROUNDINGS = {
    "all cores": {},
    "one core": {"cores": 1},
    "one thread": {"threads": 1},
    "two threads": {"threads": 2},
    "three threads": {"threads": 3},
    "five threads": {"threads": 5},
    "plain locale": {"env": {"LC_ALL": "C"}},
    "other folder, locale, time zone, home, temporary folder, terminal, mask and priority": {
        "cwd": "/", "umask": 0o077, "nice": 19,
        "env": {"LC_ALL": "de_DE.UTF-8", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr", "TZ": "Pacific/Kiritimati",
                "HOME": "/nonexistent", "TMPDIR": "/nonexistent", "COLUMNS": "10", "TERM": "dumb"}},
}


def surroundings_of(options):
    def setup():
        os.umask(options.get("umask", 0o022))
        os.nice(options.get("nice", 0))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.get("cores")])
    return {"cwd": options.get("cwd"), "env": options.get("env"), "setup": setup}


def train_everywhere(make_job, tmp_path):
    def work(name):
        options = SURROUNDINGS[name]
        job = make_job(tmp_path / name.split(",")[0].replace(" ", "-"), threads=options.get("threads", ...)).write()
        must(train(job.config, **surroundings_of(options)))
        # A checkpoint records the config, and so the key `threads`: then only its tensors are the same.
        return name, tensor_state(job.run) if "threads" in options else final_state(job.run), tensor_state(job.run)

    results = in_parallel(work, SURROUNDINGS)
    _, whole, tensors = results[0]
    for name, state, _ in results:
        assert state == (tensors if "threads" in SURROUNDINGS[name] else whole), name


@pytest.mark.parametrize("bf16", [True, False])
def test_tokenized_run(tmp_path, token_model, bf16):
    train_everywhere(lambda folder, **keys: TokenJob(folder, token_model, bf16=bf16, **keys), tmp_path)


# The adapter of a machine with AMX, computed in plain loops on any machine. The digests are of this program; that its loops add
# as the instructions do is proved by unit/cpu/product_test.cpp, and the ops in their order by unit/ops.
TILES = {"SHORI_OPS": "reference", "SHORI_CPU_ISA": "amx"}
TILE_ADAPTERS = {True: "e9666b9f0a443d73b92ade61b284cfa30478eb3ee8614287e2acaf11bd65fe81",
                 False: "2a3f17a00d441733d3b1ecb5b4e6e68a0a75c93ae26a499b62697c0c1292c0be"}


@pytest.mark.parametrize("bf16", [True, False])
def test_golden_adapter_of_tiles(tmp_path, token_model, bf16):
    runs = {f"{threads} threads": {"threads": threads, "env": TILES} for threads in (1, 2, 3, 5)}
    if "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text():
        runs["the instructions"] = {"threads": 2, "env": {"SHORI_CPU_ISA": "amx"}}

    def work(name):
        job = TokenJob(tmp_path / name.replace(" ", "-"), token_model, bf16=bf16, threads=runs[name]["threads"]).write()
        must(train(job.config, env=runs[name]["env"]))
        return name, hashlib.sha256((job.run / "adapter/adapter_model.safetensors").read_bytes()).hexdigest()

    digests = dict(in_parallel(work, runs))
    if not bf16:  # no tiles: products of the library on such a machine
        digests.pop("the instructions", None)
    assert digests == dict.fromkeys(digests, TILE_ADAPTERS[bf16])


def test_text_run(tmp_path, text_model):
    scenes(tmp_path / "scenes", 10, 8)

    def make_job(folder, **keys):
        shutil.copytree(tmp_path / "scenes", folder / "scenes")
        return Job(folder, text_model, datasets=[{"path": "scenes/", "type": "blockml"}], val_set_size=2,
                   sequence_len=256, gradient_accumulation_steps=1, num_epochs=1, **keys)

    train_everywhere(make_job, tmp_path)


def test_seed_decides(tmp_path, token_model):
    states = []
    for seed in (42, 43):
        job = TokenJob(tmp_path / str(seed), token_model, **{"seed": 1})
        job.write(seed=seed)
        must(train(job.config))
        states.append(final_state(job.run)["adapter/adapter_model.safetensors"])
    assert states[0] != states[1]


@pytest.mark.parametrize("env", [{}, TILES], ids=["library", "tiles"])
def test_saved_activations_do_not_matter(tmp_path, token_model, env):
    """Saving more of the forward pass saves time; what is recomputed instead has the same bits."""
    states = {}
    for memory, says in {"recompute": "layers recomputed", "keep_attention": "with the attention kept", "keep": "kept whole",
                         "auto": "kept whole"}.items():
        job = TokenJob(tmp_path / memory, token_model, activation_memory=memory).write()
        outcome = must(train(job.config, env=env))
        assert says in outcome.err, outcome.err
        states[memory] = tensor_state(job.run)
    assert all(state == states["recompute"] for state in states.values())
