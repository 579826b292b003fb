"""shori-chat --serve over a tiny model: ids and texts are those of SentencePiece and transformers."""
import collections
import concurrent.futures
import json
import socket

import openai
import pytest
import sentencepiece
import torch
import transformers

from chat_servers import CHAT, HTTP, SILLYTAVERN, Chat, events, request
from shori_programs import TOKENIZER, Running


@pytest.fixture(scope="module")
def served(text_model):
    """shori-chat over a tiny model in fp32."""
    with Chat(text_model, "--context", 256, "--base-type", "f32", "--threads", 1) as running:
        yield running
        done = running.stop()
        assert done.code == 0, repr(done)


def test_a_model_is_served_with_its_tokenizer(served, text_model):
    model = HTTP.get(served.url + "/v1/models").json()["data"][0]
    assert model["id"] == "shori-" + text_model.name and model["meta"] == {"n_ctx": 256, "n_vocab": 32000}
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(TOKENIZER))
    for text in ["▀message\nReimu: \"Hm…\"▄\n", "", " ", "日本語 👩‍🚀"]:
        assert served.post("/tokenize", {"content": text}).json()["tokens"] == pieces.encode(text)
        ids = served.post("/tokenize", {"content": text, "add_special": True}).json()["tokens"]
        assert ids == [1, *pieces.encode(text)]
        assert served.post("/detokenize", {"tokens": ids[1:]}).json()["content"] == (" " + text if text else "")


def test_greedy_replies_are_those_of_transformers(served, text_model):
    network = transformers.AutoModelForCausalLM.from_pretrained(text_model, dtype=torch.float32).eval()
    for text in ["▀message\nReimu:", "The boat goes home"]:
        ids = served.post("/tokenize", {"content": text, "add_special": True}).json()["tokens"]
        expected = network.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False, eos_token_id=[2, 30213, 30374])
        expected = [i for i in expected[0].tolist()[len(ids):] if i not in (2, 30213, 30374)]
        settings = {"n_predict": 20, "temperature": 0, "return_tokens": True}
        for prompt in [text, ids]:
            done = served.post("/completion", {"prompt": prompt, **settings}).json()
            assert done["tokens"] == expected and done["tokens_evaluated"] == len(ids)
            assert (done["stop_type"] == "limit") == (len(expected) == 20)


def test_streams_seeds_and_choices(served):
    client = openai.OpenAI(base_url=served.url + "/v1", api_key="none", max_retries=0)

    def texts(stream=False, **options):
        done = client.completions.create(model="any", prompt="▀message\nReimu:", max_tokens=12, temperature=1.5, stream=stream, **options)
        if not stream:
            return [choice.text for choice in done.choices]
        whole = collections.defaultdict(str)
        for part in done:
            whole[part.choices[0].index] += part.choices[0].text
        return list(whole.values())
    two = texts(seed=7, n=2)
    assert len(set(two)) == 2, "choices have draws of their own"
    assert texts(seed=7, n=2) == two == texts(stream=True, seed=7, n=2)
    assert texts(seed=7) == two[:1] and texts(seed=8) != two[:1]
    assert texts() != texts(), "without a seed each request has another one"


def test_stop_strings(served):
    body = {"prompt": "The boat", "n_predict": 30, "temperature": 0}
    text = served.post("/completion", body).json()["content"]
    middle = len(text) // 2
    word = text[middle:middle + 4]
    for stream in [False, True]:
        answer = served.post("/completion", body | {"stop": ["never to be seen", word], "stream": stream})
        parts = [json.loads(part) for part in events(answer.text)] if stream else [answer.json()]
        assert "".join(part["content"] for part in parts) == text[:text.index(word)].rstrip()
        assert parts[-1]["stop_type"] == "word" and parts[-1]["stopping_word"] == word


def test_characters_are_sent_whole(served):
    """Hot random text is mostly bytes and rare characters."""
    answer = served.post("/completion", {"prompt": "x", "n_predict": 150, "temperature": 50, "seed": 3, "ignore_eos": True,
                                         "stream": True})
    parts = [json.loads(part) for part in events(answer.content.decode())]
    whole = served.post("/completion", {"prompt": "x", "n_predict": 150, "temperature": 50, "seed": 3, "ignore_eos": True})
    assert "".join(part["content"] for part in parts) == whole.json()["content"]
    assert whole.json()["tokens_predicted"] == 150 or whole.json()["stop_type"] == "word"


def test_a_model_is_served_to_many(served):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: served.post("/completion", SILLYTAVERN | {"stream": i % 2 == 0}), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert served.post("/completion", {"prompt": "x " * 300}).json()["error"]["n_ctx"] == 256


def test_a_reply_of_a_model_ends_with_its_client(served):
    with served.connect() as connection:
        connection.sendall(request({"prompt": "x", "ignore_eos": True, "stream": True, "temperature": 50}))
        connection.recv(100)
    assert served.program.wait_for(r"POST /completion 200.*cancelled")


def test_what_cannot_be_served_is_refused_before_the_model_is_loaded(text_model, tmp_path):
    def refused(*options):
        outcome = Running(CHAT, tmp_path / "no-model", *options).finish()
        assert outcome.code == 2, repr(outcome)
        return outcome
    assert refused("--serve", "0.0.0.0:0").errors == ["E0116"]
    assert refused("--serve", "host").errors == ["E0116"]
    assert refused("--serve", "0", "--api-key-file", tmp_path / "none").errors == ["E0108"]
    (tmp_path / "empty").write_text("\n# a comment\n")
    assert refused("--serve", "0", "--api-key-file", tmp_path / "empty").errors == ["E0116"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = refused("--serve", taken.getsockname()[1])
    assert outcome.errors == ["E0120"] and "another program listens there" in outcome.err
    refused("--serve", "0", "--temp", "1")


def test_a_key_opens_a_model_to_other_machines(text_model, tmp_path):
    (tmp_path / "key").write_text("correct-horse\n")
    (tmp_path / "key").chmod(0o644)
    with Chat(text_model, "--context", 64, "--api-key-file", tmp_path / "key", address="0.0.0.0:0") as server:
        assert HTTP.get(server.url + "/props").status_code == 401
        assert HTTP.get(server.url + "/props", headers={"Authorization": "Bearer correct-horse"}).status_code == 200
        done = server.stop()
        assert done.code == 0 and done.codes == ["W0102"], repr(done)
