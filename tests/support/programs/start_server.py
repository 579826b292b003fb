"""Starts a program over and over without loading it each time: start_server.c says how."""
import array
import atexit
import collections
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

    def run(self, command, cwd, variables, timeout, text):
        """(exit code, stdout, stderr) of one start, as of subprocess.run()."""
        given, out, err = (os.fdopen(os.memfd_create(name), "w+b") for name in ("stdin", "stdout", "stderr"))
        with given, out, err:
            given.write(text)
            given.seek(0)
            words = [str(cwd), str(len(command)), *command, *(f"{name}={value}" for name, value in variables.items())]
            request = b"".join(os.fsencode(word) + b"\0" for word in words)
            files = array.array("i", [given.fileno(), out.fileno(), err.fileno()])
            self.mine.settimeout(timeout)
            self.mine.sendmsg([struct.pack("=I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            self.mine.sendall(request)
            child = self.answer()
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


@functools.cache
def can_start(program):
    """False without a C compiler, and for a program that takes no other library first, as one with sanitizers."""
    if library() is None:
        return False
    try:
        StartServer(program, dict(os.environ)).close()
    except ConnectionError:
        return False
    return True


idle, lock = collections.defaultdict(list), threading.Lock()


@atexit.register
def close_all():
    for server in (server for servers in idle.values() for server in servers):
        server.close()


def run(program, arguments, cwd, variables, timeout, text=b""):
    """One start by an idle server of this program and these variables, or by a new one."""
    key = (str(program), *sorted((name, value) for name, value in variables.items() if is_read_while_loading(name)))
    with lock:
        server = idle[key].pop() if idle[key] else None
    server = server or StartServer(program, variables)
    try:
        result = server.run([str(program), *arguments], cwd or os.getcwd(), variables, timeout, text)
    except BaseException:
        server.close()
        raise
    with lock:
        idle[key].append(server)
    return result
