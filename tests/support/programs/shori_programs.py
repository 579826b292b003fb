"""Starts the shipped programs as a user does and keeps what they say."""
import concurrent.futures
import json
import os
import pathlib
import queue
import re
import resource
import signal
import subprocess
import threading
import time

import start_server

SOURCE = pathlib.Path(os.environ.get("SHORI_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[3]))
BIN = pathlib.Path(os.environ.get("SHORI_BIN_DIR", SOURCE / "build/release/bin"))
TOKENIZER = pathlib.Path(os.environ.get("SHORI_TOKENIZER", SOURCE / "build/deps/tokenizer/tokenizer.model"))
PYTHON = os.environ.get("SHORI_PYTHON", str(SOURCE / "build/deps/venv/bin/python"))
TRAIN = BIN / "shori-train"
EXPORT = BIN / "shori-export"

WORKERS = 2
PATIENCE = 240  # seconds until a program counts as hung; no test depends on how fast it is

SAVED = re.compile(r"saved step (\d+) \(durable\)")
RESUMED = re.compile(r"resumed at step (\d+) of")


class Outcome:
    """How a program ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def codes(self):
        """Error and warning codes in the order of their reports, from either form."""
        codes = [d["code"] for d in self.diagnostics]
        return codes or re.findall(r"^(?:error|warning)\[([EW]\d{4})\]", self.err, re.M)

    @property
    def errors(self):
        return [code for code in self.codes if code.startswith("E")]

    @property
    def diagnostics(self):
        """What --json-errors printed: one object per line."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith('{"code"')]

    @property
    def acknowledged(self):
        """The last step that the program called durable, or -1."""
        return max((int(step) for step in SAVED.findall(self.err)), default=-1)

    @property
    def resumed_at(self):
        found = RESUMED.search(self.err)
        return int(found[1]) if found else None


def environment(extra=None):
    return {**os.environ, **(extra or {})}


# Programs with libtorch, whose loading takes most of a short start.
SLOW_TO_LOAD = {"shori-train", "shori-export", "shori-chat", "shori-train-emulated", "shori-chat-emulated",
                "fake_chat_server"}


def has_start_server(program):
    return pathlib.Path(program).name in SLOW_TO_LOAD and start_server.can_start(program)


def run(program, *args, cwd=None, env=None, setup=None):
    if setup is None and has_start_server(program):
        code, out, err = start_server.run(program, [str(arg) for arg in args], cwd, environment(env), PATIENCE)
        return Outcome(code, out.decode(errors="replace"), err.decode(errors="replace"))
    done = subprocess.run([str(program), *map(str, args)], cwd=cwd, env=environment(env), timeout=PATIENCE,
                          stdin=subprocess.DEVNULL, capture_output=True, preexec_fn=setup, check=False)
    return Outcome(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def train(*args, **options):
    return run(TRAIN, *args, **options)


def export(*args, **options):
    return run(EXPORT, *args, **options)


def must(outcome, code=0):
    assert outcome.code == code, repr(outcome)
    return outcome


class Running:
    """A started program whose stderr can be awaited line by line."""

    def __init__(self, program, *args, cwd=None, env=None):
        if has_start_server(program):
            self.process = start_server.Started(program, [str(arg) for arg in args], cwd, environment(env))
        else:
            self.process = subprocess.Popen([str(program), *map(str, args)], cwd=cwd, env=environment(env),
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.lines, self.seen = queue.Queue(), []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.put(line.decode(errors="replace"))
        self.lines.put(None)

    def _next(self, deadline):
        try:
            line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"hung for {PATIENCE} seconds; the last lines:\n{''.join(self.seen[-20:])}") from None
        if line is None:
            self.lines.put(None)  # the end stays the end, however often it is asked for
        else:
            self.seen.append(line)
        return line

    def wait_for(self, pattern):
        """The match of the first coming line that `pattern` is found in; None when the program ends before."""
        deadline = time.monotonic() + PATIENCE
        while (line := self._next(deadline)) is not None:
            if found := re.search(pattern, line):
                return found
        return None

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def limit_file_size(self, size):
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def finish(self):
        deadline = time.monotonic() + PATIENCE
        while self._next(deadline) is not None:
            pass
        code = self.process.wait(timeout=PATIENCE)
        self.process.stderr.close()
        return Outcome(code, "", "".join(self.seen))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=PATIENCE)


def start_train(*args, **options):
    return Running(TRAIN, *args, **options)


def in_parallel(work, cases, workers=WORKERS):
    """Results of work(case), in the order of the cases; the first failure is raised."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, case) for case in cases]
        return [future.result() for future in futures]


def refused(job, code, exit_code=3):
    """A start that is refused before anything is written; the diagnostics."""
    outcome = must(train(job.config, "--json-errors"), exit_code)
    assert set(outcome.errors) == {code}, repr(outcome)
    assert not job.run.exists(), "nothing is made for a run that cannot begin"
    return outcome.diagnostics
