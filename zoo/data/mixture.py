"""Several sources of prompts together: how an epoch's groups are dealt over them.

Source i with the weight w_i has the share s_i = w_i / (the sum of all), so n s_i of an epoch's n
groups: rounded down or up, as one number u in [0, 1) says that is drawn for the epoch. With the
sums c_i = s_1 + ... + s_i it has as many groups as there are whole numbers k with
n c_(i-1) <= k + u < n c_i (systematic sampling): they are n in all, and on average n s_i.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import torch

from zoo import seeds
from zoo.data import prompts
from zoo.devices import CPU
from zoo.prompt import Prompt

_DIGITS = 9
"""After the point, to which parts are rounded: 0.1 + 0.2 is 0.3."""


@dataclass(frozen=True)
class Source:
    """Where prompts come from, by which weight, and the labels of what scores them; none: all.

    `loc` is where a recipe says it: `("data", "train")`, or `("data", "train", 0)` of several.
    """

    place: str
    loc: tuple[str | int, ...]
    weight: float = 1.0
    rewards: frozenset[str] | None = None
    tiny: str | None = None
    """What `--tiny` reads in its place, where it needs a network."""

    @property
    def shown(self) -> str:
        """As messages name it."""
        return ".".join(map(str, self.loc))

    @property
    def place_loc(self) -> tuple[str | int, ...]:
        """Where a recipe says its place."""
        return self.loc if len(self.loc) == 2 else (*self.loc, "source")

    def asks(self, label: str) -> bool:
        """Whether the reward of that label scores its images."""
        return self.rewards is None or label in self.rewards


@dataclass(frozen=True)
class Part:
    """The prompts of one source, and its weight."""

    prompts: Sequence[Prompt]
    weight: float = 1.0


@dataclass(frozen=True)
class Mixture:
    """The prompts of one source or of several."""

    parts: tuple[Part, ...]

    @property
    def prompts(self) -> list[Prompt]:
        """All, source by source."""
        return [prompt for part in self.parts for prompt in part.prompts]

    def dealt(self, num_groups: int, *, seed: int, epoch: int) -> list[int]:
        """How many of an epoch's groups each source has."""
        return deal([part.weight for part in self.parts], num_groups, seed=seed, epoch=epoch)

    def drawn(self, num_groups: int, *, seed: int, epoch: int) -> list[Prompt]:
        """The prompts of an epoch's groups, source by source: so each process has some of each."""
        sizes = self.dealt(num_groups, seed=seed, epoch=epoch)
        return [
            prompt
            for i, (part, size) in enumerate(zip(self.parts, sizes, strict=True))
            for prompt in prompts.drawn(part.prompts, size, seed=seed, epoch=epoch, source=i)
        ]


def deal(weights: Sequence[float], num_groups: int, *, seed: int, epoch: int) -> list[int]:
    """Groups by source: their shares of `num_groups` rounded down or up, which sum to it."""
    one = torch.zeros(1, dtype=torch.long, device=CPU)
    first = float(seeds.Draws(seed, "sources", epoch, one).uniform())
    total = math.fsum(weights)
    sums = [round(num_groups * each / total, _DIGITS) for each in accumulate(weights, initial=0.0)]
    return [math.ceil(high - first) - math.ceil(low - first) for low, high in pairwise(sums)]


def load(
    sources: Sequence[Source], read: Callable[[str], Sequence[Prompt]] = prompts.load
) -> Mixture:
    """Reads the sources; each prompt of one that names rewards knows which score its images.

    Raises:
        PromptError: a source cannot be read, or has no prompt.
    """
    return Mixture(tuple(Part(marked(read(s.place), s), s.weight) for s in sources))


def marked(found: Sequence[Prompt], source: Source) -> Sequence[Prompt]:
    """The prompts of a source, with the labels of the rewards that it names, if any."""
    if source.rewards is None:
        return found
    return [replace(prompt, judged_by=source.rewards) for prompt in found]
