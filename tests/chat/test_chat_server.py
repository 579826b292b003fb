"""The server of shori-chat: what clients get, what hostile ones get, and that nothing is left of either.

It runs over a model that is a clock (fake_chat_server.cpp), and its limits are short."""
import collections
import concurrent.futures
import contextlib
import http.client
import json
import socket
import threading
import time

import openai
import pytest

from chat_servers import CONTEXT, FAKE, HTTP, SILLYTAVERN, Server, events, read_answer, request
from shori_programs import Running


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running
        assert running.program.process.poll() is None, "it answers to the end"
        done = running.stop()
        assert done.code == 0, repr(done)


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def test_a_client_of_openai(client):
    model = client.models.list().data[0].id
    assert "shori" in model
    done = client.completions.create(model=model, prompt="x" * 10, max_tokens=3, seed=5, temperature=0)
    assert (done.choices[0].text, done.choices[0].finish_reason) == ("0é 1é 2é ", "length")
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (11, 3), "BOS counts"
    assert client.completions.create(model=model, prompt=[1, 2, 3], max_tokens=1).usage.prompt_tokens == 3
    assert client.completions.create(model=model, prompt="<s>abc", max_tokens=1).usage.prompt_tokens == 4, "one BOS"
    several = client.completions.create(model=model, prompt="x", max_tokens=2, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]


def test_a_client_of_openai_reads_a_stream(client):
    parts = list(client.completions.create(model="any", prompt="x", max_tokens=3, n=2, stream=True,
                                           stream_options={"include_usage": True}))
    for index in range(2):
        choices = [part.choices[0] for part in parts if part.choices and part.choices[0].index == index]
        assert "".join(choice.text for choice in choices) == "0é 1é 2é "
        assert [choice.finish_reason for choice in choices] == [None] * 3 + ["length"]
    assert parts[-1].choices == [] and parts[-1].usage.completion_tokens == 6
    assert len({part.id for part in parts}) == 1


def test_a_client_of_openai_sees_what_is_wrong(client):
    for field, value in [("temperature", -1), ("n", 99), ("best_of", 2), ("echo", True), ("logit_bias", {"5": -100})]:
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(model="any", prompt="x", **{field: value})
        assert refused.value.param == field
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="any", prompt="x" * CONTEXT)
    assert refused.value.code == "context_length_exceeded"


def test_a_client_that_chats_hears_what_is_served(server, client):
    with pytest.raises(openai.NotFoundError, match="/v1/completions") as refused:
        client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "x"}])
    assert "chat completions are not served" in str(refused.value)
    assert "nothing is at this path" in server.post("/v1/chat", {}).text


def test_what_sillytavern_asks_when_it_connects(server):
    assert "shori" in HTTP.get(server.url + "/v1/models").json()["data"][0]["id"]
    props = HTTP.get(server.url + "/props").json()
    assert props["default_generation_settings"]["n_ctx"] == CONTEXT and props["total_slots"] == 1
    assert "/" not in props["model_path"] and "chat_template" in props
    assert HTTP.get(server.url + "/health").json() == {"status": "ok"}
    assert HTTP.get(server.url + "/slots").json()[0]["is_processing"] is False
    assert server.post("/tokenize", {"content": "abc"}).json() == {"tokens": [97, 98, 99]}
    pieces = server.post("/tokenize", {"content": "é", "add_special": True, "with_pieces": True}).json()["tokens"]
    assert [piece["piece"] for piece in pieces] == ["", [0xc3], [0xa9]]
    assert server.post("/detokenize", {"tokens": [97, 98]}).json() == {"content": "ab"}


@pytest.mark.parametrize("path", ["/completion", "/completions"])
def test_what_sillytavern_sends(server, path):
    done = server.post(path, SILLYTAVERN).json()
    assert done["content"] == "".join(f"{i}é " for i in range(6))
    assert done["stop"] is True and done["stop_type"] == "limit" and done["tokens_predicted"] == 6
    assert done["generation_settings"]["min_p"] == 0.07 and done["generation_settings"]["repeat_last_n"] == 2048
    samplers = done["generation_settings"]["samplers"]
    assert samplers.index("temperature") == 1, "the main preset has temperature first"

    streamed = server.post(path, SILLYTAVERN | {"stream": True})
    assert streamed.headers["content-type"] == "text/event-stream"
    parts = [json.loads(part) for part in events(streamed.text)]
    assert "".join(part["content"] for part in parts) == done["content"]
    assert [part["stop"] for part in parts] == [False] * 5 + [True]
    assert [part["tokens_predicted"] for part in parts] == [1, 3, 4, 5, 6, 6], "tokens, not parts"
    assert parts[-1]["stop_type"] == "limit"


def test_the_end_of_a_stream_of_openai(server):
    parts = events(server.post("/v1/completions", SILLYTAVERN | {"stream": True, "n": 1, "best_of": 1}).text)
    assert parts[-1] == "[DONE]"
    assert json.loads(parts[-2])["choices"][0]["finish_reason"] == "length"


def test_a_prompt_that_does_not_fit(server):
    refused = server.post("/completion", {"prompt": "x" * (CONTEXT - 1)})
    error = refused.json()["error"]
    assert refused.status_code == 400 and error["type"] == "exceed_context_size_error"
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (CONTEXT, CONTEXT)
    full = server.post("/completion", {"prompt": "x" * (CONTEXT - 3)}).json()
    assert full["tokens_predicted"] == 2 and full["truncated"] is True


BAD_BODIES = {
    "nothing": b"", "no JSON": b"{", "a list": b"[]", "two values": b"{}{}", "not UTF-8": b'{"prompt": "\xff"}',
    "deep": b'{"prompt":' + b"[" * 100_000, "no prompt": b"{}", "text for a number": b'{"prompt":"x","temperature":"1"}',
    "mixed": b'{"prompt":["x",1]}', "an id too large": b'{"prompt":[257]}', "a number too large": b'{"prompt":"x","seed":1e300}',
    "many values": b'{"prompt":[' + b"1," * 500_000 + b"1]}", "twice": b'{"prompt":"x","prompt":"y"}',
}


@pytest.mark.parametrize("path", ["/completion", "/v1/completions"])
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_bodies(server, path, body):
    refused = server.post(path, body)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    assert ("param" in error) or path == "/completion"


VALID = b'{"prompt":"x","n_predict":1}'
HOSTILE = {
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "no version": (b"GET /health\r\nHost: 127.0.0.1\r\n\r\n", 400),
    "no colon": (b"GET /health HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n", 400),
    "folded": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n x: y\r\n\r\n", 400),
    "a NUL": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\0\r\n\r\n", 400),
    "two hosts": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n", 400),
    "half a head": (b"GET /health HTTP/1.1\r\nHost: 127", 400),
    "half a body": (request(b"{}", Content_Length=100), 400),
    "a long line": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
    "many lines": (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", 431),
    "two lengths": (request(VALID, Content_length=str(len(VALID))), 400),
    "a negative length": (request(b"{}", Content_Length="-2"), 400),
    "no number": (request(b"{}", Content_Length="2x"), 400),
    "huge": (request(b"{}", Content_Length="99999999999999999999"), 400),
    "too long": (request(b"{}", Content_Length=str(1 << 40)), 413),
    "chunks": (request(b"2\r\n{}\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked"), 411),
    "compressed": (request(b"{}", Content_Encoding="gzip"), 415),
    "a range": (b"GET /health HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-,1-,2-\r\n\r\n", 200),
    "no path": (b"GET /etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "upwards": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "upwards, encoded": (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "another method": (b"GET /completion HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "OPTIONS": (b"OPTIONS /completion HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "no host": (b"GET /props HTTP/1.1\r\n\r\n", 403),
    "no host in HTTP/1.0": (b"GET /props HTTP/1.0\r\n\r\n", 200),
    "the dot of the root": (b"GET /props HTTP/1.1\r\nHost: localhost.:80\r\n\r\n", 200),
    "another host after the port": (b"GET /props HTTP/1.1\r\nHost: 127.0.0.1:80@evil\r\n\r\n", 403),
}


@pytest.mark.parametrize(("data", "status"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_requests(server, data, status):
    assert server.raw(data)[0] == status
    assert server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200


@pytest.mark.parametrize("data", [b"GET /health HTTP/1.1\nHost: localhost\n\n", b"GET /health HTTP/1.1\r\nHost: localhost\n\n",
                                  b"GET /health HTTP/1.1\r\nHost: localhost\r\n\n"])
def test_lines_that_end_in_a_line_feed_alone(server, data):
    """The client waits for its answer: it gets one before the time for a head is over."""
    assert server.raw(data, finish=False)[0] == 400


def test_a_long_body_is_refused_while_it_is_sent(server):
    """Python's own client reads the answer only after it has sent everything."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/completion", b"x" * (20 << 20))
    answer = connection.getresponse()
    assert answer.status == 413 and b"bytes" in answer.read()


def test_a_body_that_waits_for_the_word(server):
    with server.connect() as connection:
        body = json.dumps({"prompt": "x", "n_predict": 1}).encode()
        connection.sendall(request(b"", Content_Length=len(body), Expect="100-continue"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert read_answer(connection)[0] == 200


def test_slow_clients(server):
    """One that says nothing, one that sends a byte now and then, one that stops inside the body."""
    def drip():
        with server.connect() as connection:
            with contextlib.suppress(OSError):
                for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"y" * 40:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
            return read_answer(connection)[0]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(lambda: server.raw(b"", finish=False)[0]), pool.submit(drip),
                   pool.submit(lambda: server.raw(request(b"{", Content_Length=100), finish=False)[0])]
        assert [answer.result() for answer in answers] == [408] * 3


def test_more_connections_than_are_served(server):
    """80 idle clients keep others out for as long as a head may take, no longer."""
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(80)]
        seen = set()
        while seen < {200, 503}:
            answer = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            seen.add(answer[0])
            assert answer[0] != 503 or b"too many" in answer[1]
        assert {read_answer(connection)[0] for connection in idle} <= {408, 503}
    assert server.threads() <= 90


def test_web_pages(server):
    def status(**headers):
        return server.raw(request({"prompt": "x", "n_predict": 1}, **headers), finish=False)
    assert status()[0] == 200
    for headers in [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:80"}, {"Origin": "http://evil.example"},
                    {"Origin": "null"}]:
        assert status(**headers)[0] == 403, headers
    assert not [name for name in HTTP.get(server.url + "/props").headers if name.startswith("access-control")]


def test_a_request_is_judged_before_its_body_is_read(server):
    """Who may not ask sends no body: the answer comes at once, where waiting for the body ends in 408."""
    def status(to, path="/completion", **headers):
        return to.raw(request(b"", path, Content_Length=2 << 20, **headers), finish=False)[0]
    assert status(server) == 408
    assert status(server, Host="evil.example") == 403
    assert status(server, Origin="http://evil.example") == 403
    with Server(key="correct-horse", host="0.0.0.0") as guarded:
        assert status(guarded, Authorization="Bearer correct-horse") == 408
        for headers in [{}, {"Authorization": "Bearer wrong"}, {"Expect": "100-continue"}, {"Content_Length": 1 << 40}]:
            data = request(b"", **{"Content_Length": 2 << 20} | headers)
            assert guarded.raw(data, finish=False)[0] == 401, headers
        assert status(guarded, "/health") == 401, "only without a body it needs no key"


def test_one_address_has_half_of_the_connections():
    """Idle clients at 127.0.0.1 do not keep one at 127.0.0.2 out; on loopback alone there is no such limit."""
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Server(key="correct-horse", host="0.0.0.0") as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(80)]
        with server.connect(source="127.0.0.2") as other:
            other.sendall(health)
            assert read_answer(other)[0] == 200
        answers = [read_answer(connection) for connection in idle]
        statuses = collections.Counter(status for status, _ in answers)
        assert set(statuses) == {408, 503} and statuses[408] >= 40, "half of them wait for a head"
        assert all(b"from this address" in body for status, body in answers if status == 503)
        for connection in idle:
            connection.close()
        assert any(server.raw(health)[0] == 200 for _ in range(500)), "those that have ended do not count"
    with Server() as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(60)]
        assert {read_answer(connection)[0] for connection in idle} == {408}


def test_keys():
    with Server(key="correct-horse", host="0.0.0.0") as server:
        body = {"prompt": "x", "n_predict": 1}
        for headers in [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "correct-horse"}, {"X-Api-Key": "wrong"},
                        {"Authorization": "Bearer correct-hors"}]:
            refused = server.post("/completion", body, headers=headers)
            assert refused.status_code == 401 and refused.json()["error"]["type"] == "authentication_error"
        for headers in [{"Authorization": "Bearer correct-horse"}, {"X-Api-Key": "correct-horse"}]:
            assert server.post("/completion", body, headers={"Host": "box.lan", **headers}).status_code == 200
        assert HTTP.get(server.url + "/health").status_code == 200
        assert HTTP.get(server.url + "/props").status_code == 401
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=server.url + "/v1", api_key="wrong").completions.create(model="any", prompt="x")
        done = server.stop()
        assert done.code == 0 and "correct" not in done.err, "keys are not logged"


def test_the_log_has_numbers_and_no_text():
    with Server() as server:
        server.post("/completion", {"prompt": "secret words", "n_predict": 3, "dry_multiplier": 1})
        server.post("/completion", {"prompt": 5})
        HTTP.get(server.url + "/secret%1b]0;")
        log = server.stop().err
        assert "POST /completion 200" in log and "prompt 13 tokens, reply 3" in log and "ignored: dry_multiplier" in log
        assert "POST /completion 400" in log
        assert "secret words" not in log and "\x1b" not in log


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("phase", ["prompt", "reply"])
def test_a_client_that_goes_away(stream, phase):
    """Its generation ends, and the next client is served at once."""
    with Server(token_ms=20, prompt_ms=100_000 if phase == "prompt" else 0) as server:
        with server.asked(request({"prompt": "x", "stream": stream}), finish=False):
            time.sleep(0.3)
        cancelled = server.program.wait_for(r"cancelled after (\d+)")
        assert int(cancelled[1]) < 900
        if phase == "reply":
            assert server.post("/completion", {"prompt": "x", "n_predict": 2}).status_code == 200


def test_a_client_that_goes_away_from_the_queue():
    with Server(token_ms=10) as server:
        running = threading.Thread(target=server.post, args=("/completion", {"prompt": "x", "n_predict": 100}))
        running.start()
        while not HTTP.get(server.url + "/slots").json()[0]["is_processing"]:
            time.sleep(0.01)
        with server.asked(request({"prompt": "x" * 10}), finish=False):
            time.sleep(0.2)
        assert server.post("/completion", {"prompt": "x", "n_predict": 1}).status_code == 200
        running.join()
        log = server.stop().err
        assert "POST /completion 499" in log and "cancelled after" not in log, log


@pytest.mark.parametrize("path", ["/completion", "/v1/completions"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_closes_its_end_gets_its_answer(stream, path):
    """It waits in the queue, for the prompt and for the reply as any other."""
    body = {"prompt": "x", "n_predict": 12, "max_tokens": 12, "stream": stream}
    with Server(token_ms=20, prompt_ms=400) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: server.raw(request(body, path)), range(2)))
        assert {status for status, _ in answers} == {200}
        lines = [line for _, answer in answers for line in answer.split(b"\r\n")]
        parts = [line for line in lines if b"11\xc3\xa9" in line or b"11\\u00e9" in line]
        assert len(parts) == 2, lines
        assert stream == any(line == b":\n\n" for line in lines), "comments between the events of a stream"


def test_a_client_of_http_1_0_gets_a_stream_without_chunks():
    with Server(prompt_ms=300) as server:
        for finish in (False, True):
            answer = server.raw_bytes(request({"prompt": "x", "n_predict": 3, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"), finish)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"Transfer-Encoding" not in head and b"Connection: close" in head
            parts = [json.loads(part) for part in events(body.decode()) if part != ":"]
            assert [part["stop"] for part in parts] == [False, False, False, True], answer


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_closes_its_end_and_goes_away(stream):
    with Server(prompt_ms=100_000) as server:
        with server.asked(request({"prompt": "x", "stream": stream})):
            time.sleep(0.5)
        assert server.program.wait_for("cancelled after 0")


@pytest.mark.parametrize(("data", "line"), [
    (request({"prompt": "x"}, Host="evil.example"), b"HTTP/1.1 403 Forbidden"),
    (request({"prompt": "x", "n_predict": 1}), b"HTTP/1.1 200 OK"),
], ids=["refused", "answered"])
def test_the_words_of_a_status(data, line):
    with Server(token_ms=20) as server:
        for finish in (False, True):
            answer = server.raw_bytes(data, finish)
            assert answer.startswith(line + b"\r\n"), answer


def test_a_client_that_does_not_read():
    """It holds the model for as long as a write may take, no longer."""
    with Server() as server, server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request({"prompt": "x", "stream": True, "n": 8, "max_tokens": 900}, "/v1/completions"))
        assert server.program.wait_for("cancelled after")
        assert server.post("/completion", {"prompt": "x", "n_predict": 1}).status_code == 200


def test_64_clients_at_once():
    with Server(token_ms=1) as server:
        base = server.memory()
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda i: server.post("/completion", {"prompt": "x" * 500, "n_predict": 3, "stream": i % 2 == 1}),
                                    range(64)))
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            assert "2é" in answer.text
        assert server.memory() - base < 64
        assert server.stop().code == 0


def test_the_queue_is_bounded():
    with Server(token_ms=20, waiting=2) as server:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: server.post("/completion", {"prompt": "x", "n_predict": 10}), range(16)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503} and statuses.count(200) >= 3
        busy = next(answer for answer in answers if answer.status_code == 503)
        assert int(busy.headers["retry-after"]) > 0 and busy.json()["error"]["type"] == "unavailable_error"


def test_memory_is_bounded():
    """Large bodies that are read, refused or given up do not stay."""
    with Server() as server:
        body = json.dumps({"prompt": "x" * 1_900_000}).encode()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: server.post("/completion", body).status_code, range(32)))
        assert set(statuses) == {400}
        assert server.memory() < 300
        assert server.stop().code == 0


@pytest.mark.parametrize("number", [2, 15])
def test_a_stop_ends_the_running_reply(number):
    with Server(token_ms=20) as server:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            streamed = pool.submit(server.raw, request({"prompt": "x", "stream": True}), False)
            time.sleep(0.3)
            waiting = pool.submit(server.raw, request({"prompt": "x"}), False)
            time.sleep(0.2)
            server.program.signal(number)
            done = server.program.finish()
            assert done.code == 0, repr(done)
            assert streamed.result()[0] == 200 and b'"stop":true' not in streamed.result()[1]
            assert waiting.result()[0] == 503


def test_a_port_in_use():
    with Server() as server:
        second = Running(FAKE, "127.0.0.1", server.port, 0, 0, 1).finish()
        assert second.code != 0 and "another program listens there" in second.err
