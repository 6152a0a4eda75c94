"""Random numbers by name: keyed, stateless, equal on every device and for any number of processes.

Every draw is a pure function of (seed, purpose, epoch, key, label), so a run has no generator state
to save, an image gets the same noise whichever process makes it, and a resumed run draws what it
would have drawn. Nothing else in the project draws random numbers.

A row's generator is Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"),
made for streams that a key names, here 128 bits of a hash of the row's name: no two rows are equal
by chance. torch's on the CPU keeps 32 bits of a seed: of 100,000 rows two would be.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray
from torch import Tensor

from zoo.devices import CPU, generators_in_use, host_memory, is_accelerator, send

VERSION = 2
"""Of which numbers a name gives, as checkpoints say it: 1 were torch's, by 32 bits of the name."""


_LOW = 2**64 - 1


def derive(*parts: object) -> int:
    """A 63-bit seed from anything with a stable `str`, the same on every machine."""
    return _hash(parts, bits=64) >> 1


def _hash(parts: tuple[object, ...], *, bits: int) -> int:
    text = "\x1f".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=bits // 8).digest(), "little")


@dataclass(frozen=True)
class Draws:
    """Random numbers for some rows, one independent stream a row.

    `keys` name the rows over all processes. Numbers are drawn on the CPU in float32 and moved to
    `device`: 0.8 ms for the 65k values of an SD3 latent. Asking twice gives the same numbers; `at`
    gives others.
    """

    seed: int
    purpose: str
    epoch: int
    keys: Int[Tensor, " rows"]
    device: torch.device | str = "cpu"
    labels: tuple[object, ...] = ()
    ahead: "_Ahead | None" = field(default=None, repr=False, compare=False)

    def normal(self, shape: tuple[int, ...] = ()) -> Float[Tensor, "rows *shape"]:
        """Standard normal numbers, of `shape` for each row."""
        return self._draw(np.random.Generator.standard_normal, shape, "normal")

    def uniform(self, shape: tuple[int, ...] = ()) -> Float[Tensor, "rows *shape"]:
        """Uniform numbers in [0, 1), of `shape` for each row."""
        return self._draw(np.random.Generator.random, shape, "uniform")

    def permutation(self, n: int) -> Int[Tensor, "rows n"]:
        """A random order of 0 to n - 1 for each row."""
        return self.at("permutation").uniform((n,)).argsort(dim=1, stable=True)

    def at(self, label: object) -> "Draws":
        """The same rows' numbers under another name: a solver's step, say."""
        return replace(self, labels=(*self.labels, label))

    def take(self, index: Int[Tensor, " taken"]) -> "Draws":
        """The draws of some of the rows."""
        return replace(self, keys=self.keys[index.to(self.keys.device)], ahead=None)

    def in_turn(self, parts: Sequence[Int[Tensor, " _"]]) -> Iterator["Draws"]:
        """The draws of some rows after those of others, each as `take` gives them.

        On the way to an accelerator what one part asks for is drawn for the next in a thread, while
        the host queues the rest of the part.
        """
        if not is_accelerator(torch.device(self.device)):
            yield from map(self.take, parts)
            return
        ready: dict[_Name, Future[Tensor]] = {}
        taken = [self.take(part) for part in parts]
        following = [part.keys for part in taken[1:]]
        with ThreadPoolExecutor(1) as thread:
            for part, keys in zip_longest(taken, following):
                ahead = _Ahead(thread, part.keys, keys, ready)
                yield replace(part, ahead=ahead)
                ready = ahead.coming

    def _draw(
        self, draw: Callable[..., object], shape: tuple[int, ...], kind: str
    ) -> Float[Tensor, "rows *shape"]:
        name = (self.seed, self.purpose, self.epoch, *self.labels, kind)
        # Not where the rows were renamed since, as by their groups.
        ahead = self.ahead if self.ahead is not None and self.ahead.keys is self.keys else None
        out = None if ahead is None else ahead.ask(name, draw, shape, self.device)
        if out is None:
            out = _fill(host_memory((len(self.keys), *shape), self.device), name, self.keys, draw)
        return send(out, self.device)


_Name = tuple[object, ...]


def _fill(
    out: Float[Tensor, "rows *shape"],
    name: _Name,
    keys: Int[Tensor, " rows"],
    draw: Callable[..., object],
) -> Float[Tensor, "rows *shape"]:
    """With the numbers of a name and of each row's key."""
    numbers = out.numpy()
    for row, key in enumerate(keys.tolist()):
        # numpy asks a seed sequence for the key; given the key itself it seeks entropy, for longer.
        named = cast(np.random.SeedSequence, _Key((*name, key)))  # numpy's types know no other
        generator = np.random.Generator(np.random.Philox(named))
        numbers[row] = draw(generator, out.shape[1:], dtype=np.float32)
    return out


@dataclass
class _Ahead:
    """What one part of the rows asks for is drawn for the part after it."""

    thread: ThreadPoolExecutor
    keys: Int[Tensor, " rows"]
    """Of this part; that very tensor."""
    following: Int[Tensor, " rows"] | None
    """The keys of the part after it."""
    ready: dict[_Name, Future[Tensor]]
    """What is drawn, or being drawn, of this one."""
    coming: dict[_Name, Future[Tensor]] = field(default_factory=dict)

    def ask(
        self,
        name: _Name,
        draw: Callable[..., object],
        shape: tuple[int, ...],
        device: torch.device | str,
    ) -> Float[Tensor, "rows *shape"] | None:
        """This part's numbers, if the part before it has asked for as many."""
        if self.following is not None and (*name, shape) not in self.coming:
            # Made here, as a thread of its own would be on the first device.
            out = host_memory((len(self.following), *shape), device)
            self.coming[*name, shape] = self.thread.submit(_fill, out, name, self.following, draw)
        drawn = self.ready.pop((*name, shape), None)
        return None if drawn is None else drawn.result()


class _Key(ISeedSequence):
    """The key of a Philox, for a name."""

    def __init__(self, parts: tuple[object, ...]) -> None:
        self._key = _hash(parts, bits=128)

    def generate_state(self, n_words: int, dtype: object = np.uint32) -> NDArray[np.uint64]:
        """Its two words, the low one first."""
        return np.array((self._key & _LOW, self._key >> 64), dtype=np.uint64)


def order(n: int, *, seed: int, purpose: str, epoch: int = 0) -> Int[Tensor, " n"]:
    """A random order of 0 to n - 1, the same on every process.

    Built-in data sets are put in order by it, and stay what they are: it is of `VERSION` 1 still.
    Its 32 bits are enough, for a purpose asks for one an epoch and not for one an image.
    """
    name = (seed, purpose, epoch, "permutation", "uniform", 0)
    one = torch.Generator(CPU).manual_seed(derive(*name))
    return torch.rand(n, generator=one, device=CPU).argsort(stable=True)


def generator(seed: int, purpose: str) -> torch.Generator:
    """A generator of torch for code that asks for one, on the CPU: one for all of a purpose."""
    return torch.Generator(CPU).manual_seed(derive(seed, purpose))


@contextmanager
def borrowed(seed: int, purpose: str) -> Iterator[None]:
    """Seeds torch's global generator for code that cannot be given draws, and puts it back after.

    PEFT's initialisation and third-party modules use it.
    """
    # All devices is the default, which would open a context on each GPU of the machine.
    kind, used = generators_in_use()
    with torch.random.fork_rng(devices=used, device_type=kind):
        torch.manual_seed(derive(seed, purpose))
        yield
