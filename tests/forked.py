"""Processes that a server of this test session forks, as `subprocess` would have started them."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent

_ADDRESS = "ZOO_TESTS_FORK_SERVER"
"""The variable with the server's address, which processes that it forked ask too."""

# Other variables may be read when libraries are imported, which is over then. (Of that of caches
# huggingface_hub reads where its models are, and no command of the tests has any.)
_READ_LATER = {
    _ADDRESS, "COLUMNS", "PYTEST_CURRENT_TEST", "PYTHONPATH", "WANDB_MODE", "XDG_CACHE_HOME"
}  # fmt: skip


class Forked:
    """A process, the leader of a session of its own, with what is used of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdin: IO | int | None = None,
        stdout: IO | int | None = None,
        stderr: IO | int | None = None,
        pass_fds: Sequence[int] | None = None,
    ) -> None:
        """Starts `python -m ARGUMENTS` in the repository's root."""
        from tests.fork_server import MOST

        self.args = [sys.executable, "-m", *arguments]
        self.returncode: int | None = None
        environment = dict(os.environ if env is None else env)
        asked = {"module": arguments[0], "arguments": list(arguments[1:]),
                 "environment": environment, "cwd": str(ROOT),
                 "inherited": list(pass_fds or ())}  # fmt: skip
        self._asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MOST)
        self._asking.connect(f"\0{environment[_ADDRESS]}")
        with open(os.devnull) as nothing:
            out = _descriptor(stdout, 1, nothing)
            err = out if stderr == subprocess.STDOUT else _descriptor(stderr, 2, nothing)
            given = [_descriptor(stdin, 0, nothing), out, err, *(pass_fds or ())]
            socket.send_fds(self._asking, [json.dumps(asked).encode()], given)
            self.pid = int(self._answer())

    def poll(self) -> int | None:
        """Its exit code once it has ended; less than 0 is a signal."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end, so many seconds at most."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def leave(self) -> None:
        """It ends with this at the latest, and what is of its session."""
        self._asking.close()

    def _look(self, seconds: float | None) -> int | None:
        from tests.fork_server import END

        if self.returncode is None and select.select([self._asking], [], [], seconds)[0]:
            (status,) = END.unpack(self._answer())
            self.returncode = os.waitstatus_to_exitcode(status)
            self.leave()
        return self.returncode

    def _answer(self) -> bytes:
        answer = self._asking.recv(64)
        if not answer:
            raise RuntimeError("the fork server has ended")
        return answer


def _descriptor(given: IO | int | None, own: int, nothing: IO) -> int:
    if given is None:
        return own
    if given == subprocess.DEVNULL:
        return nothing.fileno()
    return given if isinstance(given, int) else given.fileno()


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    timeout: float,
    *,
    deepspeed: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m ARGUMENTS` to its end; `deepspeed`: that is imported already, too.

    Where a variable that libraries may read when they are imported differs from the server's, it is
    a process of its own.
    """
    if not _can_fork(environment):
        return subprocess.run(
            [sys.executable, "-m", *arguments], capture_output=True, text=True, env=environment,
            cwd=ROOT, timeout=timeout, check=False,
        )  # fmt: skip
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = start(arguments, environment, out, err, deepspeed=deepspeed)
        try:
            code = process.wait(timeout)
        finally:
            process.leave()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read())
    return subprocess.CompletedProcess(process.args, code, *said)


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    out: IO,
    err: IO,
    *,
    deepspeed: bool = False,
) -> Forked:
    """Starts `python -m ARGUMENTS`, forked: its environment must be much as the server's."""
    environment = {**environment, _ADDRESS: _server(deepspeed=deepspeed).address}
    return Forked(arguments, environment, subprocess.DEVNULL, out, err)


def _can_fork(environment: Mapping[str, str]) -> bool:
    if sys.platform != "linux":
        return False
    changed = dict(environment.items() ^ _server(deepspeed=False).environment.items())
    return changed.keys() <= _READ_LATER


class _Server:
    """`tests.fork_server`, which ends with this process; that with DeepSpeed is forked itself."""

    def __init__(self, *, deepspeed: bool) -> None:
        from tests.runs import clean_environment

        self.environment = clean_environment()
        self.address = f"zoo-tests-{os.getpid()}{'-deepspeed' if deepspeed else ''}"
        stdin, self._open = os.pipe()
        said, stdout = os.pipe()
        arguments = ["tests.fork_server", self.address]
        if deepspeed:
            environment = {**self.environment, _ADDRESS: _server(deepspeed=False).address}
            self._process: Forked | subprocess.Popen = Forked(
                [*arguments, "deepspeed"], environment, stdin, stdout
            )
        else:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments], env=self.environment, cwd=ROOT, stdin=stdin,
                stdout=stdout, start_new_session=True,
            )  # fmt: skip
        os.close(stdin)
        os.close(stdout)
        atexit.register(self._end)
        with open(said) as ready:
            if not ready.readline():
                raise RuntimeError("the fork server did not start; why is on stderr")

    def _end(self) -> None:
        os.close(self._open)
        self._process.wait()


@cache
def _server(*, deepspeed: bool) -> _Server:
    return _Server(deepspeed=deepspeed)
