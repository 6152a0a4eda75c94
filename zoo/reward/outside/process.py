"""A process of another Python that runs one reward: started, asked, ended.

The two talk over a socket pair that no other process can open, in the messages of
`zoo_reward_worker.wire`: JSON and the arrays' bytes, nothing unpickled. What the process prints
goes where this one's libraries print.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from zoo_reward_worker import PROTOCOL
from zoo_reward_worker.channel import Channel
from zoo_reward_worker.wire import Message, WireError, decode, encode

from zoo.errors import visible

_END_TIMEOUT = 10.0
"""Seconds for a process that has closed its connection to be gone."""
_LONGEST_LINE = 1 << 16
"""Bytes of a line that is passed on; what is longer becomes several."""
_MOST_ANSWERED = 1 << 30
"""Bytes of a message: scores are a few, the images of known answers some millions."""


class WorkerError(Exception):
    """A worker cannot start, has died, or says that its reward raised; in one line."""


class _Elsewhere(Exception):
    """The traceback in the worker, shown as the cause where tracebacks are shown."""

    def __str__(self) -> str:
        return f"in the worker:\n{self.args[0]}"


class Worker:
    """One reward in a process of another Python, which ends with this object."""

    def __init__(
        self,
        python: str,
        name: str,
        *,
        device: str,
        options: Mapping[str, Any],
        start_timeout: float,
    ) -> None:
        """Returns when the reward is built.

        Raises:
            WorkerError: it cannot be, or takes over `start_timeout` seconds.
        """
        self._what = f"the worker of '{name}' ({python})"
        self._words: deque[str] = deque(maxlen=20)
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [*command(python, name), "--fd", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is for zoo, which ends the worker in its own time.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            ours.close()
            raise no_python(python, error) from None
        finally:
            theirs.close()
        self._channel = Channel(ours)
        self._end = weakref.finalize(self, _end, self._process, self._channel)
        self._listener = threading.Thread(
            target=_listen, args=(self._process.stdout, self._words), daemon=True
        )
        self._listener.start()
        try:
            self._start(python, {"device": device, "options": dict(options)}, start_timeout)
        except WorkerError:
            self._end()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._end.alive and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process's number."""
        return self._process.pid

    def ask(self, message: Message) -> Message:
        """Sends a message and waits for the reply: until the worker ends, or `end` is called.

        Raises:
            WorkerError: the reward raised, or the worker died, or said what nobody asked for.
        """
        try:
            self._require_quiet()
            self._channel.send(encode(message))
            reply = decode(self._channel.receive(limit=_MOST_ANSWERED))
            self._require_quiet()
        except (EOFError, OSError) as error:
            raise WorkerError(f"{self._what} {self._fate()}") from error
        except WireError as error:
            self.end()
            raise WorkerError(f"{self._what} sent what is no message: {error}") from error
        if reply.header.get("kind") == "error":
            raise WorkerError(_error_text(reply)) from _Elsewhere(reply.header.get("traceback", ""))
        return reply

    def end(self) -> None:
        """Kills it, wherever it hangs; nothing that it holds is to be kept."""
        if self._process.poll() is None:
            self._process.kill()

    def _require_quiet(self) -> None:
        """A second reply to a question would be taken for the first one to the next."""
        if self._channel.has_more():
            raise WireError("it answers more than once, or before it is asked")

    def _start(self, python: str, asked: Mapping[str, Any], timeout: float) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(asked).encode())
            self._process.stdin.close()
            ready = decode(self._channel.receive(timeout=timeout, limit=_MOST_ANSWERED))
        except TimeoutError as error:
            raise WorkerError(f"{self._what} was not ready within {timeout:g} s") from error
        except WireError as error:
            raise WorkerError(f"{self._what} sent what is no message: {error}") from error
        except (EOFError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_TIMEOUT)
            self._listener.join(_END_TIMEOUT)
            raise WorkerError(why_not(python, self._words)) from error
        if ready.header.get("kind") == "error":
            said = f"{self._what} cannot build its reward: {_error_text(ready)}"
            raise WorkerError(said) from _Elsewhere(ready.header.get("traceback", ""))
        require_protocol(python, ready.header.get("protocol"))

    def _fate(self) -> str:
        """How it ended, and the last that it printed."""
        try:
            code = self._process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            return "closed its connection and goes on"
        self._listener.join(_END_TIMEOUT)
        said = f"; its last words: {self._words[-1]}" if self._words else ""
        if code == -signal.SIGKILL:
            return f"was killed (SIGKILL: perhaps by the kernel, for want of memory){said}"
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return how + said


def _error_text(reply: Message) -> str:
    return f"{reply.header.get('type')}: {reply.header.get('message')}"


def command(python: str, name: str) -> list[str]:
    """What runs a reward's worker, but for what it is to do."""
    # -I: neither this environment's PYTHONPATH nor the working directory may reach the other.
    return [python, "-I", "-m", "zoo_reward_worker", name]


def no_python(python: str, error: OSError | ValueError) -> WorkerError:
    """Says that a Python is none, or cannot be run."""
    why = error.strerror if isinstance(error, OSError) else error
    return WorkerError(
        f"the Python '{python}' cannot be run ({why}; the working directory is "
        f"{Path.cwd()}); make an environment: zoo env create PLUGIN"
    )


def why_not(python: str, said: Sequence[str]) -> str:
    """Why a Python has no worker or no such reward, from what it printed."""
    last = next((line.strip() for line in reversed(said) if line.strip()), "it says nothing")
    if "No module named zoo_reward_worker" in last:
        return (
            f"the Python '{python}' has no zoo-reward-worker; make its environment with "
            "`zoo env create PLUGIN`, or install zoo-reward-worker into it"
        )
    return f"the Python '{python}' cannot run the reward: {last}"


def require_protocol(python: str, protocol: object) -> None:
    """Refuses a worker that speaks otherwise.

    Raises:
        WorkerError: it does.
    """
    if protocol != PROTOCOL:
        raise WorkerError(
            f"the zoo-reward-worker of '{python}' speaks protocol {protocol} and this zoo "
            f"{PROTOCOL}; make its environment anew: zoo env create PLUGIN"
        )


def _listen(lines: IO[bytes], words: deque[str]) -> None:
    """Passes on what a worker prints, and keeps the last lines of it."""
    with lines:
        while line := lines.readline(_LONGEST_LINE):
            text = line.decode(errors="replace").rstrip()
            if text:
                words.append(text)
            sys.stderr.write(f"{visible(text)}\n")


def _end(process: "subprocess.Popen[bytes]", channel: Channel) -> None:
    channel.close()
    if process.poll() is None:
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
