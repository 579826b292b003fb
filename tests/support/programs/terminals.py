"""A program on a terminal of its own: what a person types and sees."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from shori_programs import PATIENCE, environment

ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\([A-Z]|\x0f")


class Terminal:
    def __init__(self, program, *args, cwd=None, env=None, size=(24, 80)):
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.process = subprocess.Popen([str(program), *map(str, args)], cwd=cwd, env=environment({"TERM": "xterm", **(env or {})}),
                                        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.raw, self.read_to = b"", 0

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text if isinstance(text, bytes) else text.encode())

    @property
    def text(self):
        """All that was shown, without the sequences that move the cursor."""
        return ESCAPES.sub(b"", self.raw).replace(b"\r", b"").decode(errors="replace")

    def _receive(self, deadline):
        ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"hung for {PATIENCE} seconds; shown:\n{self.text[-2000:]}"
        try:
            part = os.read(self.master, 65536)
        except OSError:  # the program has closed the terminal
            return False
        self.raw += part
        return bool(part)

    def wait_for(self, pattern):
        """The match of `pattern` in what is shown after what was waited for before."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = re.compile(pattern).search(self.text, self.read_to)
            if found:
                self.read_to = found.end()
                return found
            assert self._receive(deadline), f"ended without {pattern!r}; shown:\n{self.text[-2000:]}"

    def press(self, key):
        """Types a key and waits until the terminal has changed: an interrupt throws away what was typed and not yet read."""
        before = len(self.raw)
        self.type(key)
        deadline = time.monotonic() + PATIENCE
        while len(self.raw) == before:
            assert self._receive(deadline), f"ended; shown:\n{self.text[-2000:]}"

    def wait_for_editor(self):
        """Until single keys are read: a line that is typed sooner waits in the terminal."""
        deadline = time.monotonic() + PATIENCE
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the terminal stays in line mode"
            time.sleep(0.01)

    def finish(self):
        """The exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._receive(deadline):
            pass
        return self.process.wait(timeout=PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=PATIENCE)
        os.close(self.master)
