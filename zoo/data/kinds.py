"""Prompts of several kinds, split into those to train on and those to test with.

Order makes no other scene: "a cat and a dog" is held out where "a dog and a cat" is.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Annotated

from annotated_types import Ge

from zoo import seeds
from zoo.data.geneval_scenes import key
from zoo.errors import suggest
from zoo.prompt import Prompt, PromptError


def _none() -> Set[str]:
    return frozenset()


@dataclass(frozen=True, eq=False)
class Kinds:
    """The scenes of a task by kind, of which `tested` says how many each are tested with.

    `scenes` says how many there are of each kind, and makes the one of a number. `others` are
    digests of further scenes that are not trained on.
    """

    name: str
    """Of the task, in `builtin:NAME/train`."""
    scenes: Mapping[str, tuple[int, Callable[[int], Prompt]]]
    tested: Mapping[str, int]
    others: Callable[[], Set[str]] = _none

    def training(self, *, num: int, seed: int, tags: str) -> list[Prompt]:
        """So many prompts, of the kinds in `tags` in proportion to their weights, in a mixed order.

        A kind with fewer prompts than its part repeats them all equally often, give or take one.

        Raises:
            PromptError: there is no such kind, or none of its prompts is for training.
        """
        prompts: list[Prompt] = []
        tested = self._digests_of_tests() | self.others()
        for tag, part in parts(self._weights(tags), num).items():
            fresh = (p for p in self._draw(tag, seed, "train") if _digest(p) not in tested)
            pool = list(islice(fresh, part))
            if not pool and part:
                raise PromptError(
                    f"builtin:{self.name}/train has no prompts of '{tag}': all of them are tested "
                    "with; leave it out of tags"
                )
            prompts += islice(cycle(pool), part)
        order = seeds.order(len(prompts), seed=seed, purpose=f"{self.name} train")
        return [prompts[i] for i in order.tolist()]

    def held_out(
        self, *, num: Annotated[int, Ge(1)] | None = None, tags: str | None = None
    ) -> list[Prompt]:
        """The test prompts, kind by kind; or so many of them, or of some kinds alone.

        They are always the same ones: fewer are the first of each kind, in proportion.

        Raises:
            PromptError: there is no such kind, or there are not so many prompts.
        """
        source = f"builtin:{self.name}/test"
        if tags and ":" in tags:
            raise PromptError(
                f"{source} has kinds without weights, not '{tags}'; write tags=counting,..."
            )
        chosen = self._weights(tags) if tags else self.tested
        sizes = {tag: size for tag, size in self.tested.items() if tag in chosen}
        total = sum(sizes.values())
        if num is not None and num > total:
            raise PromptError(f"{source} has {total} prompts of {', '.join(sizes)}, not {num:,}")
        taken = parts(sizes, total if num is None else num)
        return [prompt for tag, part in taken.items() for prompt in self._test_pool(tag)[:part]]

    @cache  # noqa: B019  (there are two for as long as the process lives)
    def _test_pool(self, tag: str) -> list[Prompt]:
        distinct: dict[str, Prompt] = {}
        for prompt in self._draw(tag, 0, "test"):
            distinct.setdefault(_digest(prompt), prompt)
            if len(distinct) == self.tested[tag]:
                break
        return list(distinct.values())

    @cache  # noqa: B019
    def _digests_of_tests(self) -> Set[str]:
        return {_digest(prompt) for tag in self.tested for prompt in self._test_pool(tag)}

    def _draw(self, tag: str, seed: int, split: str) -> Iterator[Prompt]:
        size, make = self.scenes[tag]
        order = seeds.order(size, seed=seed, purpose=f"{self.name} {split} {tag}")
        return (make(i) for i in order.tolist())

    def _weights(self, tags: str) -> dict[str, int]:
        """`position:7,counting:5` by kind; a kind alone weighs 1."""
        weights: dict[str, int] = {}
        for each in tags.split(","):
            tag, colon, weight = (part.strip() for part in each.partition(":"))
            if tag not in self.tested:
                raise PromptError(
                    f"GenEval has no kind of prompts '{tag}'"
                    f"{suggest(tag, list(self.tested), 'allowed')}"
                )
            if tag in weights:
                raise PromptError(f"tags '{tags}': '{tag}' is written twice")
            if colon and not (weight.isdecimal() and len(weight) < 10):
                raise PromptError(
                    f"tags '{tags}': a weight is a whole number of 0 or more; write {tag}:5, say"
                )
            weights[tag] = int(weight) if colon else 1
        if not any(weights.values()):
            raise PromptError(f"tags '{tags}': give at least one kind a weight above 0")
        return weights


def parts(weights: Mapping[str, int], num: int) -> dict[str, int]:
    """Whole parts of `num` in proportion to the weights, by largest remainder."""
    total = sum(weights.values())
    shares = {tag: num * weight // total for tag, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda tag: num * weights[tag] % total, reverse=True)
    for tag in by_remainder[: num - sum(shares.values())]:
        shares[tag] += 1
    return shares


def _digest(prompt: Prompt) -> str:
    return f"{seeds.derive('geneval scene', key(prompt.metadata)):016x}"
