"""Starts the server of shori-chat, over a model or over a clock, and asks it as clients do."""
import contextlib
import json
import socket

import httpx

from shori_programs import BIN, Running

FAKE = BIN / "fake_chat_server"
CHAT = BIN / "shori-chat"
HTTP = httpx.Client(timeout=60, trust_env=False)
CONTEXT = 1000  # of the clock; a byte is a token

# What SillyTavern 1.19 sends to llama.cpp with the card's main preset.
SILLYTAVERN = {
    "prompt": "▀message (length: medium)\nReimu:", "max_new_tokens": 6, "max_tokens": 6, "n_predict": 6, "num_predict": 6,
    "temperature": 1, "top_p": 1, "typical_p": 1, "typical": 1, "sampler_seed": -1, "seed": -1, "min_p": 0.07,
    "repetition_penalty": 1, "rep_pen": 1, "repeat_penalty": 1, "frequency_penalty": 0, "presence_penalty": 0.4,
    "top_k": 0, "skew": 0, "min_tokens": 0, "add_bos_token": True, "smoothing_factor": 0, "smoothing_curve": 1,
    "dry_allowed_length": 2, "dry_multiplier": 0, "dry_base": 1.75, "dry_sequence_breakers": "[\"\\n\", \":\"]",
    "dry_penalty_last_n": 0, "stopping_strings": ["▄"], "stop": ["▄"], "truncation_length": 8192, "ban_eos_token": False,
    "skip_special_tokens": True, "top_a": 0, "tfs": 1, "tfs_z": 1, "mirostat_mode": 0, "mirostat": 0, "mirostat_tau": 5,
    "mirostat_eta": 0.1, "custom_token_bans": "", "banned_strings": [], "api_type": "llamacpp",
    "api_server": "http://127.0.0.1:8080/", "xtc_threshold": 0.1, "xtc_probability": 0, "nsigma": 0, "top_n_sigma": 0,
    "rep_pen_range": 2048, "repetition_penalty_range": 2048, "repeat_last_n": 2048, "guidance_scale": 1,
    "negative_prompt": "", "grammar_string": "", "grammar": "", "ignore_eos": False, "rep_pen_slope": 1, "num_ctx": 8192,
    "samplers": ["penalties", "dry", "temperature", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc"],
    "logit_bias": [], "cache_prompt": True, "n_probs": 10,
}


class Server:
    def __init__(self, token_ms=0, prompt_ms=0, waiting=64, host="127.0.0.1", key=None):
        self._start(r"serving at port (\d+)", FAKE, host, 0, token_ms, prompt_ms, waiting, *([key] if key else []))

    def _start(self, ready, *command):
        self.program = Running(*command)
        self.port = int(self.program.wait_for(ready)[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.program.__exit__()

    def post(self, path, body, **options):
        return HTTP.post(self.url + path, **({"json": body} if isinstance(body, dict) else {"content": body}),
                          **options)

    def stop(self):
        self.program.signal(15)
        return self.program.finish()

    def connect(self, source=None):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=source and (source, 0))

    @contextlib.contextmanager
    def asked(self, data, finish=True):
        """A connection that has sent these bytes; with `finish` it has closed its end after them."""
        with self.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            if finish:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            yield connection

    def raw(self, data, finish=True):
        """Status and body of the answer to these bytes; None if there is none."""
        with self.asked(data, finish) as connection:
            return read_answer(connection)

    def raw_bytes(self, data, finish=True):
        """The answer to these bytes as it came, with its head."""
        with self.asked(data, finish) as connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def _status(self, name):
        with open(f"/proc/{self.program.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name))

    def memory(self):
        """MiB of memory that the process holds."""
        return self._status("VmRSS") / 1024

    def threads(self):
        return self._status("Threads")


def read_answer(connection):
    data = b""
    with contextlib.suppress(OSError):
        while chunk := connection.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else None


def events(text):
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def request(body, path="/completion", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "127.0.0.1", "Content-Length": len(data)} | {name.replace("_", "-"): text for name, text in headers.items()}
    head = "".join(f"{name}: {text}\r\n" for name, text in fields.items() if text is not None)
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data


class Chat(Server):
    def __init__(self, model, *options, address="0", program=CHAT):
        self._start(r"serving \S+ at http://\S+:(\d+)", program, model, "--serve", address, *options)
