"""What the micro-batches of one step share and what they do not: dropout masks, and the divisor of the loss."""
import pytest

from run_folders import metrics
from shori_programs import in_parallel, must, train
from small_jobs import Job, token_lines

# The rate is so small that losses and gradients of all steps are nearly those of the first adapter.
STILL = {"learning_rate": 1e-6, "weight_decay": 0.0, "bf16": False, "num_epochs": 1, "sample_packing": False, "save_steps": 1000,
         "max_grad_norm": 1e8, "datasets": [{"path": "data.jsonl", "type": "tokenized"}]}


def steps_of(folder, model, lines, **settings):
    folder.mkdir()
    (folder / "data.jsonl").write_text("".join(lines))
    job = Job(folder, model, **{**STILL, **settings})
    must(train(job.config))
    return metrics(job.run, "step")


def test_each_micro_batch_has_masks_of_its_own(tmp_path, token_model):
    """The same sample twice in a step: with the same masks its gradient is that of one, with others it is not."""
    line = token_lines(1, 3)

    def norm(name, copies, dropout):
        (step,) = steps_of(tmp_path / name, token_model, [line] * copies, gradient_accumulation_steps=copies, lora_dropout=dropout)
        return step["grad_norm"]

    assert norm("plain-2", 2, 0.0) == pytest.approx(norm("plain-1", 1, 0.0), rel=1e-5)
    once, twice = norm("dropout-1", 1, 0.5), norm("dropout-2", 2, 0.5)
    assert twice < 0.98 * once, "independent noise of two masks averages out"


@pytest.mark.parametrize("compat", ["none", "axolotl-2024"])
def test_a_short_step(tmp_path, token_model, compat):
    """Three micro-batches where a step takes four. As Axolotl did it, each one's mean is divided by four; else each target counts the same."""
    lines = token_lines(3, 5, lengths=(40, 33, 21)).splitlines(keepends=True)

    def work(accumulation):
        return accumulation, steps_of(tmp_path / str(accumulation), token_model, lines, lora_dropout=0.0, compat=compat,
                                      gradient_accumulation_steps=accumulation)

    steps = dict(in_parallel(work, [1, 4]))
    alone = [(step["loss"], step["targets"]) for step in steps[1]]
    (short,) = steps[4]
    mean_of_means = sum(loss for loss, _ in alone) / 4
    by_target = sum(loss * targets for loss, targets in alone) / sum(targets for _, targets in alone)
    assert short["loss"] == pytest.approx(mean_of_means if compat == "axolotl-2024" else by_target, rel=1e-3)
