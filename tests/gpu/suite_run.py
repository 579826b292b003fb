"""What the parts of the GPU suite share: programs with a deadline, the report that is flushed after each step, the GPU."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
WHOLE_REPORT = "suite.json"
LOG = "suite.log"
MOST_LOG_BYTES = 8 << 20


class Skipped(Exception):
    """A part, or a step of one, that cannot run here; the text says why."""


class Failed(Exception):
    pass


class Outcome:
    def __init__(self, code, seconds, output, timed_out):
        self.code, self.seconds, self.output, self.timed_out = code, seconds, output, timed_out

    @property
    def ending(self):
        if self.timed_out:
            return "ran out of time"
        if self.code < 0:
            return f"crashed ({signal.Signals(-self.code).name})"
        return f"ended with exit {self.code}"

    @property
    def said(self):
        """The last words of a program that failed."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return " | ".join(lines[-4:])[-600:]


class Suite:
    def __init__(self, programs, out, work, emulated, seconds, scale=1.0):
        self.programs, self.out, self.work, self.emulated = programs, out, work, emulated
        self.end = time.monotonic() + seconds
        self.scale = scale  # of all budgets inside a part
        self.gpu = {} if emulated else gpu_facts()
        self.reason = None  # why the programs cannot use it
        self.part_end = self.end
        out.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        self.log = (out / LOG).open("ab")
        self.report = {"format": "shori-gpu-suite/1", "parts": {}}
        if (out / WHOLE_REPORT).is_file():  # of an earlier call with other parts
            self.report["parts"] = json.loads((out / WHOLE_REPORT).read_text())["parts"]

    # ---- Report

    def flush(self):
        """The whole report in one move, so that a call cut short leaves what was measured."""
        temporary = self.out / (WHOLE_REPORT + ".new")
        temporary.write_text(json.dumps(self.report, indent=1) + "\n")
        temporary.replace(self.out / WHOLE_REPORT)

    def say(self, text):
        line = f"[gpu suite {time.strftime('%H:%M:%S')}] {text}"
        print(line, flush=True)
        self._write_log(line + "\n")

    def _write_log(self, text):
        if self.log.tell() < MOST_LOG_BYTES:
            self.log.write(text.encode(errors="replace"))
            self.log.flush()

    # ---- Programs

    def program(self, name):
        """A program of the build: in a try without a GPU its twin on the emulator."""
        twins = {"shori-train": "shori-train-emulated", "ops_gpu_test": "ops_emulated_test",
                 "model_gpu_test": "model_emulated_test", "kernel_bench": "kernel_bench_emulated"}
        path = self.programs / (twins.get(name, name) if self.emulated else name)
        if not path.is_file():
            raise Skipped(f"{path.name} is not in {self.programs}")
        return path

    def left(self):
        return min(self.end, self.part_end) - time.monotonic()

    def environment(self):
        """For programs that test: where nvidia-smi lists a GPU, one that cannot be opened is a failure and not a reason to skip."""
        return {"SHORI_EXPECT_GPU": "1"} if self.gpu else {}

    def run(self, command, seconds=None, check=False, env=None, enough=None):
        """Runs until the end or the deadline, whichever is first; then its whole process group is ended. A program that did
        `enough` gets a SIGTERM and ends by itself."""
        limit = min(self.left(), seconds if seconds is not None else 1e9)
        if limit < 2:
            raise Skipped("no time left")
        command = [str(word) for word in command]
        self._write_log(f"\n$ {' '.join(command)}\n")
        begun, timed_out = time.monotonic(), False
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**os.environ, **(env or {})}, start_new_session=True)
        output = None
        while output is None:
            used = time.monotonic() - begun
            try:
                output = process.communicate(timeout=max(0.0, min(limit - used, 0.5 if enough else limit)))[0]
            except subprocess.TimeoutExpired:
                if time.monotonic() - begun >= limit:
                    timed_out = True
                    os.killpg(process.pid, signal.SIGKILL)
                    output = process.communicate()[0]
                elif enough and enough():
                    process.terminate()
                    enough = None
        text = output.decode(errors="replace")
        seconds = time.monotonic() - begun
        self._write_log(text + f"\n[exit {process.returncode}, {seconds:.1f} s]\n")
        outcome = Outcome(process.returncode, seconds, text, timed_out)
        if check and (timed_out or outcome.code != 0):
            raise Failed(f"{pathlib.Path(command[0]).name}: " + (f"stopped after {seconds:.0f} s" if timed_out else
                                                                 f"exit {outcome.code}: {outcome.said}"))
        return outcome

    def python(self, script, *arguments, **options):
        return self.run([sys.executable, pathlib.Path(__file__).parent / script, *arguments], **options)

    # ---- The GPU

    def no_gpu_reason(self):
        """None where the programs can use a GPU, else their own words. A GPU that was not there does not come."""
        if self.emulated or self.reason:
            return self.reason
        outcome = self.run([self.program("ops_gpu_test"), "--gtest_filter=DeviceLayer.KnowsTheCard"], env=self.environment())
        if outcome.code != 0 or "[  PASSED  ] 1 test." not in outcome.output:
            found = re.search(r"no device: (.*)", outcome.output)
            self.reason = found[1] if found else f"DeviceLayer.KnowsTheCard {outcome.ending}: {outcome.said}"
        return self.reason


def gpu_facts():
    """What nvidia-smi says of the first GPU; empty where it says nothing."""
    fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    try:
        text = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"], check=True,
                              capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(fields.split(","), (word.strip() for word in text.splitlines()[0].split(","))))


class MemoryWatch:
    """Most memory of the GPU in use while it is open, in bytes above what was in use at its begin; null without a GPU."""

    def __enter__(self):
        self.first, self.most, self.closing = self._used(), None, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.thread.join()

    def _watch(self):
        while self.first is not None and not self.closing.wait(0.3):
            used = self._used()
            if used is not None:
                self.most = max(self.most or 0, used - self.first)

    @staticmethod
    def _used():
        try:
            text = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"],
                                  check=True, capture_output=True, text=True, timeout=30).stdout
            return int(text.split()[0]) << 20
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return None
