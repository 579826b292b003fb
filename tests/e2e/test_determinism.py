"""The same bytes whatever the number of threads, the folder, the language, the time zone or the mask of the user."""
import os
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


def test_saved_activations_do_not_matter(tmp_path, token_model):
    """Saving more of the forward pass saves time; what is recomputed instead has the same bits."""
    states = {}
    for memory, says in {"recompute": "layers recomputed", "keep_attention": "with the attention kept", "keep": "kept whole",
                         "auto": "kept whole"}.items():
        job = TokenJob(tmp_path / memory, token_model, activation_memory=memory).write()
        outcome = must(train(job.config))
        assert says in outcome.err, outcome.err
        states[memory] = tensor_state(job.run)
    assert all(state == states["recompute"] for state in states.values())
