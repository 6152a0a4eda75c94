"""Whole messages over a socket: 8 bytes, little-endian, for the length, then the bytes.

`multiprocessing.connection` does the same; reading a batch of images it takes four times as long.
"""

import select
import socket
import struct
import time
from typing import Optional

from zoo_reward_worker.wire import WireError

_LENGTH = struct.Struct("<Q")


class Channel:
    """One end of a socket that is connected already."""

    def __init__(self, connected: socket.socket) -> None:
        """Owns the socket from now on."""
        self._socket = connected

    def send(self, message: bytes) -> None:
        """Sends it whole.

        Raises:
            OSError: the other end is gone.
        """
        self._socket.sendall(_LENGTH.pack(len(message)))
        self._socket.sendall(message)

    def receive(self, *, timeout: Optional[float] = None, limit: Optional[int] = None) -> bytearray:
        """The next message, whole; waits for it, for `timeout` seconds where they are given.

        Raises:
            WireError: it has over `limit` bytes.
            TimeoutError: it is not there in time.
            EOFError: the other end is closed.
            OSError: the other end is gone.
        """
        until = None if timeout is None else time.monotonic() + timeout
        size: int = _LENGTH.unpack(self._exactly(_LENGTH.size, until))[0]
        if limit is not None and size > limit:
            raise WireError(f"a message of {size} bytes; allowed are {limit}")
        return self._exactly(size, until)

    def has_more(self) -> bool:
        """Whether bytes are there already that nobody has received; an end is none."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _exactly(self, count: int, until: Optional[float]) -> bytearray:
        data, got = bytearray(count), 0
        left = memoryview(data)
        while got < count:
            self._wait(until)
            num = self._socket.recv_into(left[got:])
            if num == 0:
                raise EOFError
            got += num
        return data

    def _wait(self, until: Optional[float]) -> None:
        """Returns when there is something to receive, or an end."""
        if until is None:
            return
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        if not waiting.poll(1000 * max(0.0, until - time.monotonic())):
            raise TimeoutError
