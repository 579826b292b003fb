"""Starts a program over and over without loading it each time: start_server.c says how."""
import array
import atexit
import collections
import contextlib
import functools
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading


@functools.cache
def library():
    """The compiled start_server.c, or None where there is no C compiler."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="start-server-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(folder / "start_server.so"),
                            str(pathlib.Path(__file__).with_suffix(".c"))], capture_output=True, check=False)
    return folder / "start_server.so" if built.returncode == 0 else None


def is_read_while_loading(name):
    """Variables that the loader, OpenMP, libtorch or the emulator read before main(): a server has those of its own start."""
    return name.startswith(("LD_", "OMP_", "GOMP_", "MKL_", "ATEN_", "TORCH_", "GLIBC_", "MALLOC_", "ASAN_", "UBSAN_", "SHORI_EMULATED_SUMS"))


class StartServer:
    def __init__(self, program, variables):
        self.mine, theirs = socket.socketpair()
        preload = " ".join(filter(None, [str(library()), variables.get("LD_PRELOAD")]))
        self.process = subprocess.Popen(
            [str(program)], env={**variables, "LD_PRELOAD": preload, "START_SERVER": str(theirs.fileno())},
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        theirs.close()
        self.answer()

    def answer(self):
        data = self.mine.recv(4, socket.MSG_WAITALL)
        if len(data) != 4:
            raise ConnectionError("the start server ended")
        return struct.unpack("=i", data)[0]

    def start(self, command, cwd, variables, files):
        """The process id of a start with these files as stdin, stdout and stderr. Its answer() is the wait status."""
        words = [str(cwd or os.getcwd()), str(len(command)), *command, *(f"{name}={value}" for name, value in variables.items())]
        request = b"".join(os.fsencode(word) + b"\0" for word in words)
        descriptors = array.array("i", [file.fileno() for file in files])
        self.mine.sendmsg([struct.pack("=I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        self.mine.sendall(request)
        return self.answer()

    def run(self, command, cwd, variables, timeout, text):
        """(exit code, stdout, stderr) of one start, as of subprocess.run()."""
        given, out, err = (os.fdopen(os.memfd_create(name), "w+b") for name in ("stdin", "stdout", "stderr"))
        with given, out, err:
            given.write(text)
            given.seek(0)
            self.mine.settimeout(timeout)
            child = self.start(command, cwd, variables, (given, out, err))
            try:
                status = self.answer()
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None
            out.seek(0)
            err.seek(0)
            return os.waitstatus_to_exitcode(status), out.read(), err.read()

    def close(self):
        self.mine.close()
        self.process.wait()


idle, lock = collections.defaultdict(list), threading.Lock()


@atexit.register
def close_all():
    for server in (server for servers in idle.values() for server in servers):
        server.close()


def key_of(program, variables):
    return (str(program), *sorted((name, value) for name, value in variables.items() if is_read_while_loading(name)))


def take(program, variables):
    """An idle server of this program and these variables, or a new one."""
    key = key_of(program, variables)
    with lock:
        server = idle[key].pop() if idle[key] else None
    return server or StartServer(program, variables)


def give_back(server, program, variables):
    with lock:
        idle[key_of(program, variables)].append(server)


@functools.cache
def can_start(program):
    """False without a C compiler, and for a program that takes no other library first, as one with sanitizers."""
    if library() is None:
        return False
    try:
        give_back(StartServer(program, dict(os.environ)), program, dict(os.environ))
    except ConnectionError:
        return False
    return True


def run(program, arguments, cwd, variables, timeout, text=b""):
    """One start, to its end."""
    server = take(program, variables)
    try:
        result = server.run([str(program), *arguments], cwd, variables, timeout, text)
    except BaseException:
        server.close()
        raise
    give_back(server, program, variables)
    return result


class Started:
    """A start that goes on, with what tests use of subprocess.Popen. Its stderr is a pipe, stdin and stdout are /dev/null."""

    def __init__(self, program, arguments, cwd, variables):
        self.server, self.key, self.returncode = take(program, variables), (program, variables), None
        reader, writer = os.pipe()
        self.stderr = os.fdopen(reader, "rb")
        with open(os.devnull, "r+b") as nothing, os.fdopen(writer, "wb") as err:
            self.server.mine.settimeout(None)
            self.pid = self.server.start([str(program), *arguments], cwd, variables, (nothing, nothing, err))

    def wait(self, timeout):
        if self.returncode is None:
            self.server.mine.settimeout(timeout)
            self.returncode = os.waitstatus_to_exitcode(self.server.answer())
            give_back(self.server, *self.key)
        return self.returncode

    def poll(self):
        with contextlib.suppress(BlockingIOError):
            self.wait(0)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)
