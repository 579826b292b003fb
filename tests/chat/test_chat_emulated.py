"""Generation on the emulated device: `shori-chat --device cuda` by script and as a server, and samples while training."""
import json

import pytest

from chat_servers import Chat
from run_folders import metrics
from shori_programs import BIN, TOKENIZER, must, run, train
from small_jobs import Job, make_model, scenes

CHAT, TRAIN = BIN / "shori-chat-emulated", BIN / "shori-train-emulated"
PROMPT = '▀description\nAya\nA captain.▄\n▀message\nBen: "the boat"▄\n▀message (length: tiny)\nAya:'
LONG = PROMPT.replace("captain", "captain" + " who goes to the river" * 20)  # more than a chunk of a prompt


def make_job(folder, model, **settings):
    scenes(folder / "data", 6, 3)
    for name, text in (("prompt.txt", PROMPT), ("long.txt", LONG)):
        (folder / name).write_text(text)
    return Job(folder, model, **{"datasets": [{"path": "data", "type": "blockml"}], "sequence_len": 160, "lora_r": 4,
                                 "learning_rate": 0.01, "bf16": True, **settings})


@pytest.fixture(scope="module")
def job(tmp_path_factory, text_model):
    job = make_job(tmp_path_factory.mktemp("chat"), text_model, num_epochs=4)
    must(train(job.config))
    return job


def reply(job, prompt, *options):
    done = must(run(CHAT, job.run, "--prompt-file", job.folder / prompt, "--seed", 5, "--threads", 1, "--json", "--max-tokens", 8,
                    *options))
    return json.loads(done.out)


@pytest.mark.parametrize(("base_type", "prompt"), [("nf4", "prompt.txt"), ("nf4", "long.txt"), ("bf16", "prompt.txt")])
def test_greedy_replies_are_those_of_the_cpu(job, base_type, prompt):
    """Both compute in bf16 and differ by the order of sums: the logits are further apart than that after these prompts."""
    device, cpu = (reply(job, prompt, "--temp", 0, "--base-type", base_type, "--device", name) for name in ("cuda", "cpu"))
    assert device == cpu and device["tokens"] > 2, (device, cpu)
    assert device["prompt_tokens"] > 128 or prompt != "long.txt"


def test_a_device_is_served(job):
    with Chat(job.run, "--device", "cuda", "--context", 256, "--threads", 1, program=CHAT) as server:
        for temperature in (0, 1.5):
            body = {"prompt": PROMPT, "n_predict": 8, "temperature": temperature, "seed": 5}
            answers = [server.post("/completion", body).json()["content"] for _ in range(2)]
            expected = reply(job, "prompt.txt", "--device", "cuda", "--preset", "alternative-1", "--temp", temperature, "--min-p", 0,
                             "--freq-pen", 0)
            assert answers[0] == answers[1] and answers[0].strip() == expected["text"].strip(), (answers, expected)
        done = server.stop()
        assert done.code == 0 and "GPU: CUDA emulator" in done.err, repr(done)


def test_samples_while_training_on_a_device(tmp_path, text_model):
    """Training does not notice them."""
    runs = []
    for name, samples in (("plain", {}), ("sampled", {"sample_steps": 1, "sample_prompts": ["prompt.txt"]})):
        (tmp_path / name).mkdir()
        job = make_job(tmp_path / name, text_model, max_steps=1, sequence_len=80, gradient_accumulation_steps=1, device="emulated",
                       **samples)
        must(run(TRAIN, job.config))
        runs.append(metrics(job.run))
    samples = [line for line in runs[1] if line["type"] == "sample"]
    assert [line["step"] for line in samples] == [0, 0, 0, 1, 1, 1] and all(line["text"] for line in samples)
    ends = [next(line["adapter_sha256"] for line in lines if line["type"] == "end") for lines in runs]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(("options", "model", "code", "exit_code"), [
    (("--base-type", "f32"), (), "E0116", 2),
    ((), ("--hidden", 48, "--heads", 4, "--kv-heads", 2), "E0406", 5),
], ids=["fp32", "a shape"])
def test_what_a_device_cannot_do_is_refused(tmp_path, text_model, options, model, code, exit_code):
    (tmp_path / "prompt.txt").write_text(PROMPT)
    base = make_model(tmp_path / "odd", "--tokenizer", TOKENIZER, *model) if model else text_model
    done = must(run(CHAT, base, "--device", "cuda", "--prompt-file", tmp_path / "prompt.txt", *options), exit_code)
    assert set(done.errors) == {code}, repr(done)
