"""How many cases an attack has, what each draws from, and what is odd in data and in bytes."""

import copy
import logging
import math
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

PART = float(os.environ.get("ZOO_ATTACK", "0.01"))
"""Of the full goal."""

SEED = os.environ.get("ZOO_ATTACK_SEED", "0")

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 0.0, -0.5, 0.3,
    1e308, math.nan, math.inf, -math.inf, "", " ", "null", "a", "a" * 300, "a\0b", "\ud800", "..",
    "/dev/null", "/", "~", "$HOME", "$NO_SUCH", "größer ✓", "1e-4", "\x1b[2J", "a\nb", [], {}, [[]],
    {"name": "x"}, {"": 1}, {"name": None}, ["a", "a"], [{}], [None] * 3, "builtin:digits/train",
    "nft", "euler", "digit", "cpu", "auto", "tensors",
]  # fmt: skip


SECONDS = float(os.environ.get("ZOO_ATTACK_SECONDS", "inf"))
"""After so many an attack takes no further case: for the full goal in parts."""

FIRST = int(os.environ.get("ZOO_ATTACK_FIRST", "0"))
"""The number of the first case."""


def part_of(goal: int) -> int:
    """How many cases of a full goal."""
    return max(3, math.ceil(goal * PART))


def cases(goal: int) -> Iterator[int]:
    """The numbers of the cases, at least three; how many were taken is logged at the end."""
    start, numbers = time.monotonic(), range(FIRST, FIRST + part_of(goal))
    for number in numbers:
        if time.monotonic() - start > SECONDS:
            logging.getLogger(__name__).warning("cases %d to %d", FIRST, number - 1)
            return
        yield number
    logging.getLogger(__name__).warning("cases %d to %d", FIRST, numbers[-1])


def draw_of(kind: str, number: int) -> random.Random:
    """What a case draws from."""
    return random.Random(f"{SEED} {kind} {number}")


def require_none(faults: Mapping[int, str]) -> None:
    """Fails with what was found, by the number of its case."""
    if faults:
        lines = [f"{number}: {what[:500]}" for number, what in list(faults.items())[:50]]
        pytest.fail("\n".join([f"{len(faults)} faults", *lines]), pytrace=False)


class HangError(BaseException):
    """It took too long."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises HangError inside after so long of computing, or six times as long by the clock.

    Other processes may have the cores.
    """

    def stop(number: int, frame: object) -> None:
        raise HangError(f"over {seconds} s")

    clocks = {signal.SIGPROF: (signal.ITIMER_PROF, 1), signal.SIGALRM: (signal.ITIMER_REAL, 6)}
    before = {number: signal.signal(number, stop) for number in clocks}
    for clock, factor in clocks.values():
        signal.setitimer(clock, factor * seconds)
    try:
        yield
    finally:
        for clock, _ in clocks.values():
            signal.setitimer(clock, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def mutated_bytes(data: bytes, draw: random.Random) -> bytes:
    """Another text: cut short, with bits turned, pieces gone, doubled, or put in."""
    start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    end = min(end, start + draw.choice([1, 4, 64, len(data)]))
    piece = data[start:end]
    match draw.randrange(8):
        case 0:
            return data[:start]
        case 1:
            turned = bytearray(data)
            for _ in range(draw.choice([1, 1, 5])):
                turned[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            return bytes(turned)
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:end] + piece + data[end:]
        case 4:
            return data[:start] + bytes(len(piece)) + data[end:]
        case 5:
            return data[:start] + draw.randbytes(draw.choice([1, 8, 100])) + data[end:]
        case 6:
            odd = draw.choice(
                [b"{", b"]" * 99, b"[" * 9999, b"\n", b": ", b"- ", b"&a *a", b"9" * 5000]
            )
            return data[:start] + odd + data[start:]
        case _:
            return data + draw.choice([b"\0" * 16, b"\n\n{}", b"x", data])


def mutated(tree: Any, draw: random.Random) -> Any:
    """A copy of data with one to three of its parts changed."""
    whole = {"": copy.deepcopy(tree)}
    for _ in range(draw.choice([1, 1, 2, 3])):
        if whole:
            _change(whole, draw)
    return whole.get("")


def _change(tree: Any, draw: random.Random) -> None:
    places = list(_places(tree))
    parent, key = draw.choice(places)
    match draw.randrange(7):
        case 0 | 1 | 2:
            parent[key] = draw.choice(ODD)
        case 3:
            del parent[key]
        case 4:
            other, place = draw.choice(places)
            parent[key] = copy.deepcopy(other[place])
        case 5:
            parent[key] = [parent[key]]
        case _:
            if isinstance(parent, dict):
                parent[draw.choice(["x", "name", "", "a.b", "label", key * 2])] = parent[key]
            else:
                parent.append(parent[key])


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Where every part of it is, as a container and a key."""
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])
