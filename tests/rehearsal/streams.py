"""Streams of the pretend device: what two of them do to one memory must be in order.

Every operation computes at once. A clock a stream tells of which others it has waited for, and
what was last done to a memory is kept with it: an operation that another stream would overtake on
a real device raises. What one thread of the host has waited for is held to be known to all.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

_lock = threading.RLock()
_local = threading.local()
_overtaken: list[str] = []
"""What was found where nothing can be raised: told by the next operation."""
_streams: "list[Stream]" = []
_finished: "dict[Stream, int]" = {}
"""Of each stream, how many operations the host has waited for."""


class Stream:
    """A queue of the device: `done` operations are in it, of which it has `seen` others' so far."""

    def __init__(self, device: Any = None) -> None:
        self.done = 0
        self.seen: dict[Stream, int] = {}
        _streams.append(self)

    def wait_event(self, event: "Event") -> None:
        """What is queued from now on comes after what the event was recorded after."""
        with _lock:
            _learn(self.seen, event.seen)

    def comes_after(self, other: "Stream", tick: int) -> bool:
        """Whether what is queued here now waits for an operation there."""
        return other is self or max(self.seen.get(other, 0), _finished.get(other, 0)) >= tick


class Event:
    """A place in a stream's queue. Between two of them there is no time."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.seen: dict[Stream, int] = {}

    def record(self, stream: Stream | None = None) -> None:
        """It is here from now on."""
        stream = stream or current()
        self.seen = {**stream.seen, stream: stream.done}

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: "Event") -> float:
        return 0.0


class _Touched:
    """What was done to a memory; kept with its storage, and gone with it."""

    def __init__(self, owner: Stream) -> None:
        self.owner, self.tick = owner, owner.done
        self.writer = owner
        self.readers: dict[Stream, int] = {}
        self.recorded: set[Stream] = set()

    def __del__(self) -> None:
        touched = {**self.readers, self.writer: self.tick}
        for stream, tick in touched.items():
            if stream not in self.recorded and not self.owner.comes_after(stream, tick):
                _overtaken.append("memory is given away while another stream uses it")


DEFAULT = Stream()


def current() -> Stream:
    """The stream on which this thread queues."""
    found: Stream = getattr(_local, "stream", DEFAULT)
    return found


@contextmanager
def on(stream: Stream) -> Iterator[None]:
    """Inside, this thread queues on that stream."""
    before, _local.stream = current(), stream
    try:
        yield
    finally:
        _local.stream = before


def queue(read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]) -> None:
    """Queues an operation on this thread's stream; raises where another may overtake it."""
    with _lock:
        if _overtaken:
            raise RuntimeError(_overtaken.pop())
        here = current()
        here.done += 1
        for tensor in read:
            touched = _touched(tensor)
            if not here.comes_after(touched.writer, touched.tick):
                raise RuntimeError("a stream reads what another may not have written yet")
            touched.readers[here] = here.done
        for tensor in written:
            touched = _touched(tensor)
            before = {**touched.readers, touched.writer: touched.tick}
            if not all(here.comes_after(stream, tick) for stream, tick in before.items()):
                raise RuntimeError("a stream writes what another may still be using")
            touched.writer, touched.tick, touched.readers = here, here.done, {}


def settle(everything: bool = False) -> None:
    """The host has waited for this thread's stream, or for all that was queued."""
    with _lock:
        here = current()
        _learn(_finished, {**here.seen, here: here.done})
        if everything:
            _learn(_finished, {stream: stream.done for stream in _streams})


def own(tensor: torch.Tensor) -> None:
    """What an operation returned is written by it, unless it is a view of what was there."""
    with _lock:
        _touched(tensor)


def require_order() -> None:
    """Raises what the last operations were to tell."""
    queue([], [])


def forget() -> None:
    """Says nothing of what was given away until now."""
    _overtaken.clear()


def record(tensor: torch.Tensor, stream: Stream) -> None:
    """The memory is not given away before what is queued on that stream is done."""
    with _lock:
        _touched(tensor).recorded.add(stream)


def _touched(tensor: torch.Tensor) -> _Touched:
    storage: Any = tensor.untyped_storage()
    if not hasattr(storage, "touched"):
        storage.touched = _Touched(current())
    found: _Touched = storage.touched
    return found


def _learn(seen: dict[Stream, int], more: dict[Stream, int]) -> None:
    for stream, tick in more.items():
        seen[stream] = max(seen.get(stream, 0), tick)
