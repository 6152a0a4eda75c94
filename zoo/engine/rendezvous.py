"""Meeting the processes that a launcher started: who they are, where, and who has not come."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store

from zoo.devices import accelerator
from zoo.errors import UserError

_PLACE = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher says to a process that it starts, in the environment."""

_SECONDS_IN_SILENCE = 3.0
_SECONDS_BETWEEN_LOOKS = 0.1

_UNSET = "if nobody started this one among several, `unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT`"


class MeetingError(UserError):
    """The processes of a run did not find each other."""


@dataclass(frozen=True)
class Place:
    """Which of `size` processes this one is, and where they meet.

    `agent` where the launcher keeps the store, and not the first process.
    """

    rank: int
    size: int
    host: str
    port: int
    agent: bool = False
    restarts: str = "0"

    @property
    def address(self) -> str:
        """As it is written."""
        return f"{self.host}:{self.port}"


def is_worker() -> bool:
    """Whether a launcher has started this process."""
    return "RANK" in os.environ or "WORLD_SIZE" in os.environ


def rank() -> int:
    """This process's number among those that a launcher started; 0 where it is alone.

    Raises:
        MeetingError: the launcher's variables are not whole.
    """
    return read_place(os.environ).rank if is_worker() else 0


_NO_LIMIT = timedelta(days=30)
"""For a collective: the watchdog finds who hangs, and knows who is slow and alive."""


def join(
    seconds: float, say: Callable[[str], None], *, alone: bool = False
) -> tuple[int, Store | None]:
    """Joins the other processes, where a launcher started this one among several.

    They are waited for so many seconds, and `say` is given a line if that takes a while. With
    `alone` a single process makes a group of its own, as DeepSpeed needs. Returns the number of
    processes, and a store that they share if there are others.

    Raises:
        MeetingError: they did not come, or the launcher's variables are not whole.
    """
    place = read_place(os.environ) if is_worker() else Place(0, 1, "", 0)
    if dist.is_initialized():
        return place.size, None
    backend = _backend()
    if place.size > 1:
        store = meet(place, seconds, say)
        dist.init_process_group(
            backend, store=PrefixStore("torch", store), rank=place.rank,
            world_size=place.size, timeout=_NO_LIMIT,
        )  # fmt: skip
        return place.size, store
    if alone:
        os.environ.setdefault("LOCAL_RANK", "0")
        own = torch._C._distributed_c10d.HashStore()
        dist.init_process_group(backend, store=own, rank=0, world_size=1)
    return place.size, None


def _backend() -> str:
    """Gloo for what is on the host, and what torch knows for the accelerator's."""
    here = accelerator()
    own = None if here is None else dist.Backend.default_device_backend_map.get(here.type)
    return "gloo" if here is None or own is None else f"cpu:gloo,{here.type}:{own}"


def least(number: int) -> int:
    """The least of all processes' numbers."""
    numbers = torch.tensor([number])
    if dist.is_initialized():
        dist.all_reduce(numbers, dist.ReduceOp.MIN)
    return int(numbers)


def leave() -> None:
    """Leaves the process group, if in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def read_place(environment: Mapping[str, str]) -> Place:
    """What the launcher said.

    Raises:
        MeetingError: some of it is missing or is no number in its range.
    """
    missing = [name for name in _PLACE if not environment.get(name)]
    if missing:
        there = [name for name in _PLACE if environment.get(name)]
        raise MeetingError(
            f"the environment has {', '.join(there)} and lacks {', '.join(missing)}, which a "
            f"launcher sets together; start with torchrun or `zoo train`, or {_UNSET}"
        )
    size = _number(environment, "WORLD_SIZE", 1, 1 << 20)
    return Place(
        _number(environment, "RANK", 0, size - 1),
        size,
        environment["MASTER_ADDR"],
        _number(environment, "MASTER_PORT", 1, 65535),
        agent=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        restarts=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _number(environment: Mapping[str, str], name: str, least: int, most: int) -> int:
    given = environment[name]
    if not given.isdecimal() or not least <= int(given) <= most:
        raise MeetingError(
            f"the environment's {name} is {given!r}, not a number from {least} to {most}; start "
            f"with torchrun or `zoo train`, or {_UNSET}"
        )
    return int(given)


def meet(place: Place, seconds: float, say: Callable[[str], None]) -> Store:
    """A store that all processes have come to; `say` is given a line where one is waited for.

    Raises:
        MeetingError: they did not come within so many seconds, or the port is taken.
    """
    until = time.monotonic() + seconds
    with _say_later(f"waiting for process 0 at {place.address}", say):
        store = _open_store(place, seconds)
    store.set(f"here/{place.rank}", "")
    here, said = store.add("here", 1), time.monotonic() + _SECONDS_IN_SILENCE
    while here < place.size:
        now = time.monotonic()
        if now > until:
            raise MeetingError(_who_is_missing(place, store, seconds))
        if now > said:
            of = f"{place.size - here} of {place.size} processes"
            say(f"waiting for {of} at {place.address}")
            said = until
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        here = store.add("here", 0)
    return store


def _open_store(place: Place, seconds: float) -> Store:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    first = place.rank == 0 and not place.agent
    try:
        store = TCPStore(
            place.host, place.port, None, first,
            timeout=timedelta(seconds=seconds), wait_for_workers=False,
        )  # fmt: skip
    except dist.DistError as error:
        if first:
            why = "the port is taken" if "EADDRINUSE" in str(error) else str(error).splitlines()[0]
            raise MeetingError(
                f"process 0 cannot open {place.address}: {why}; choose another MASTER_PORT "
                "(torchrun --master-port)"
            ) from error
        raise MeetingError(
            f"process {place.rank} of {place.size} found no process 0 at {place.address} within "
            f"{seconds:g} s; is it running there, and is the port open? {_UNSET}"
        ) from error
    return PrefixStore(f"zoo/{place.restarts}", store)


def _who_is_missing(place: Place, store: Store, seconds: float) -> str:
    gone = [str(rank) for rank in range(place.size) if not store.check([f"here/{rank}"])]
    which = f"process{'es' if len(gone) > 1 else ''} {', '.join(gone[:10])}"
    more = ", ..." if len(gone) > 10 else ""
    return (
        f"{len(gone)} of {place.size} processes did not come to {place.address} within "
        f"{seconds:g} s: {which}{more}; start the same command on every node, or {_UNSET}"
    )


@contextmanager
def _say_later(line: str, say: Callable[[str], None]) -> Iterator[None]:
    """Says it if the block, which cannot look itself, takes longer."""
    timer = threading.Timer(_SECONDS_IN_SILENCE, say, [line])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
