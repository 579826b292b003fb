"""kill -9 at random moments: no acknowledged step is lost, and the end has the bytes of an untouched run."""
import random
import signal
import time

from run_folders import check_nothing_half_written, checkpoints, final_state
from shori_programs import in_parallel, must, start_train, train
from small_jobs import TokenJob

CHAINS, KILLS = 10, 5


def wait_somehow(source, running, usual):
    """Three odds: anywhere in a run, soon after the start or a resume, or right after a step's acknowledgement."""
    mode = source.randrange(3)
    if mode == 0:
        time.sleep(source.uniform(0, usual))
    elif mode == 1:
        running.wait_for("begins|resumed at step")
        time.sleep(source.expovariate(50))
    else:
        for _ in range(source.randint(1, 4)):
            running.wait_for(r"saved step")


def test_fifty_kills(tmp_path, token_model):
    untouched = TokenJob(tmp_path / "untouched", token_model)
    begun = time.monotonic()
    must(train(untouched.config))
    usual = time.monotonic() - begun
    expected = final_state(untouched.run)

    def chain(seed):
        source, job, safe, kills = random.Random(seed), TokenJob(tmp_path / f"chain-{seed}", token_model), -1, 0
        while kills < KILLS:
            arguments = ["--resume"] if checkpoints(job.run) and not (job.run / "done.json").exists() else []
            with start_train(job.config, *arguments) as running:
                wait_somehow(source, running, usual)
                running.signal(signal.SIGKILL)
                outcome = running.finish()
            assert outcome.code in (0, -9), repr(outcome)
            if arguments and outcome.resumed_at is not None:
                assert outcome.resumed_at >= safe, repr(outcome)
            check_nothing_half_written(job.run)
            safe = max(safe, outcome.acknowledged)
            assert safe == -1 or max(checkpoints(job.run)) >= safe, f"step {safe} was acknowledged\n{outcome!r}"
            kills += 1
            if outcome.code == 0:  # it was done before the kill came: begin again
                assert final_state(job.run) == expected
                job, safe = TokenJob(tmp_path / f"chain-{seed}-{kills}", token_model), -1
        if not (job.run / "done.json").exists():
            must(train(job.config, *(["--resume"] if checkpoints(job.run) else [])))
        state = final_state(job.run)
        assert state == expected, {key for key in {*state, *expected} if state.get(key) != expected.get(key)}
        return kills

    assert sum(in_parallel(chain, range(CHAINS))) == CHAINS * KILLS
