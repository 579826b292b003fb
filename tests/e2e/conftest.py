import signal

import pytest

from browser import browser  # noqa: F401  fixtures
from run_folders import newest_checkpoint
from shori_programs import must, start_train, train
from small_jobs import TokenJob, narrow_model, text_model, token_model  # noqa: F401


@pytest.fixture(scope="module")
def untouched(tmp_path_factory, token_model):
    """A finished run of eight steps. Tests only read it."""
    job = TokenJob(tmp_path_factory.mktemp("untouched"), token_model)
    must(train(job.config))
    return job


@pytest.fixture(scope="module")
def half_way(tmp_path_factory, token_model):
    """A run stopped after a few of its steps. Tests work on copies."""
    job = TokenJob(tmp_path_factory.mktemp("half-way") / "job", token_model)
    with start_train(job.config) as running:
        assert running.wait_for(r"saved step 3 \(durable\)")
        running.signal(signal.SIGINT)
        assert running.finish().code == 75
    assert 3 <= newest_checkpoint(job.run).step < 8
    return job
