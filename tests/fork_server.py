"""Forks processes that have imported already what every run imports, which is most of its start.

python -m tests.fork_server ADDRESS [deepspeed]

It says when it is ready. Who asks connects to the address (see `tests.forked`), and the process
that does what was asked ends with the connection at the latest. The server ends with its stdin. It
has one thread and computes nothing, so what it forks is as good as new.
"""

import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests import forked

MOST = 1 << 18
"""Bytes of a question; a socket keeps one together."""
_MOST_DESCRIPTORS = 8
END = struct.Struct("i")
"""How a process ended, as `os.waitpid` has it."""


@dataclass(frozen=True)
class Asked:
    """A module to run as `python -m` does, its arguments, environment and working directory.

    `inherited` are the descriptors that it has besides the standard ones.
    """

    module: str
    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    inherited: list[int]


class Server:
    """Answers each question with the process's id, and tells later how it ended."""

    def __init__(self, address: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listening.bind(f"\0{address}")
        self._listening.listen()
        self._woken, self._waker = socket.socketpair()
        self._running: dict[int, socket.socket] = {}

    def serve(self) -> Asked:
        """Returns in the processes that are forked alone: each does what was asked."""
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            own = [sys.stdin, self._woken, self._listening]
            ready, _, _ = select.select([*own, *self._running.values()], [], [])
            if sys.stdin in ready:
                self._end(list(self._running))
                os._exit(0)
            if self._woken in ready:
                self._woken.recv(MOST)
                self._tell_ends()
            self._end([pid for pid, asking in self._running.items() if asking in ready])
            if self._listening in ready:
                asking, _ = self._listening.accept()
                said, given, _, _ = socket.recv_fds(asking, MOST, _MOST_DESCRIPTORS)
                pid = os.fork()
                if not pid:
                    asked = Asked(**json.loads(said))
                    self._leave(asking, dict(zip([0, 1, 2, *asked.inherited], given, strict=True)))
                    return asked
                for descriptor in given:
                    os.close(descriptor)
                self._running[pid] = asking

    def _tell_ends(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._running.pop(pid) as asking, suppress(BrokenPipeError):
                asking.send(END.pack(status))

    def _end(self, processes: list[int]) -> None:
        """Of these, nobody waits for the end any more."""
        for pid in processes:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._running.pop(pid).close()

    def _leave(self, asking: socket.socket, given: dict[int, int]) -> None:
        """In a process that was just forked: nothing of the server's is left to it.

        `given` are its descriptors, by the numbers that they are to have.
        """
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        own = (self._listening, self._woken, self._waker)
        for each in (*own, *self._running.values()):
            each.close()
        with asking:
            asking.send(str(os.getpid()).encode())
        # Out of the way of the numbers first.
        moved = {number: fcntl.fcntl(had, fcntl.F_DUPFD, 200) for number, had in given.items()}
        for descriptor in given.values():
            os.close(descriptor)
        for number, descriptor in moved.items():
            os.dup2(descriptor, number)
            os.close(descriptor)


def become(asked: Asked) -> None:
    """As `python -m module arguments` goes on after its start."""
    os.environ.clear()
    os.environ.update(asked.environment)
    os.chdir(asked.cwd)
    sys.argv = [asked.module, *asked.arguments]
    sys.path[0] = asked.cwd
    added = asked.environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [path for path in added if path and path not in sys.path]
    runpy.run_module(asked.module, run_name="__main__", alter_sys=True)


class _Forking:
    """The module `subprocess`, but that other processes of `python -m` are forked too."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    @staticmethod
    def Popen(arguments: list[str], **options: Any) -> Any:  # noqa: N802
        # What lets a process live and die with this one is for `tests.processes.starting`.
        own = ("env", "stdin", "stdout", "stderr", "pass_fds")
        kept = {key: options.get(key) for key in own}
        if arguments[:2] != [sys.executable, "-m"]:
            return subprocess.Popen(arguments, **options)
        return forked.Forked(arguments[2:], **kept)


def _import_what_runs_import() -> None:
    # As `zoo.cli.main.run` has them: they are read at the import.
    for library in ("TRANSFORMERS", "DIFFUSERS", "HF_HUB"):
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import peft  # noqa: F401
    import sklearn.datasets
    import sklearn.svm  # noqa: F401
    from diffusers import AutoencoderKL, SD3Transformer2DModel  # noqa: F401

    import zoo.cli.train
    import zoo.compare.process
    import zoo.plan.preflight
    import zoo.run.tracker
    import zoo.training.loop

    zoo.engine.launch.subprocess = _Forking()
    zoo.compare.process.subprocess = _Forking()


def _import_deepspeed() -> None:
    import torch

    from zoo.engine.zero_options import ZeroOptions, require_valid

    require_valid(ZeroOptions(0), torch.device("cpu"))
    # What `deepspeed.initialize` imports itself.
    import deepspeed.runtime.zero.muon.muon_optimizer
    import deepspeed.runtime.zero.stage3
    import deepspeed.runtime.zero.stage_1_and_2  # noqa: F401


def main() -> None:
    """Imports, serves, and becomes what was asked."""
    address, *more = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_what_runs_import()
    if more:
        _import_deepspeed()
    assert os.listdir("/proc/self/task") == [str(os.getpid())], "a fork would lose its threads"
    gc.collect()
    gc.freeze()  # so that collecting does not copy what is shared
    become(Server(address).serve())


if __name__ == "__main__":
    main()
