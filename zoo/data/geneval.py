"""Prompts of GenEval's six kinds, with the metadata that its rewards read.

GenEval: Ghosh et al. 2023 (arXiv 2310.11513). The mix of training: Flow-GRPO (arXiv 2505.05470).
`test` has as many prompts of each kind as the published 553 and is not that set; for it, give its
`evaluation_metadata.jsonl` as the source. Training holds no scene of `test` and none of the
published 553, whose digests are in assets/geneval_published.txt; order makes no other scene.

Departs from GenEval: plurals and articles are English (see `coco`).
"""

from collections.abc import Iterator, Mapping, Set
from functools import cache
from importlib.resources import files
from itertools import cycle, islice
from typing import Annotated

from annotated_types import Ge, Le

from zoo import seeds
from zoo.data.geneval_scenes import SCENES, key
from zoo.errors import suggest
from zoo.prompt import Prompt, PromptError

PUBLISHED = {
    "single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100,
    "color_attr": 100,
}  # fmt: skip
"""How many prompts of each kind GenEval tests with."""

MIX = "position:7,counting:5,two_object:3,color_attr:1,colors:1"


def training(
    *,
    num: Annotated[int, Ge(1), Le(1_000_000)] = 5100,
    seed: Annotated[int, Ge(0)] = 0,
    tags: str = MIX,
) -> list[Prompt]:
    """So many prompts, of the kinds in `tags` in proportion to their weights, in a mixed order.

    A kind with fewer prompts than its part repeats them all equally often, give or take one:
    counting has little over a hundred that are not tested with.

    Raises:
        PromptError: there is no such kind, or none of its prompts is for training.
    """
    prompts: list[Prompt] = []
    tested = _digests_of_tests() | _digests_of_published()
    for tag, part in _parts(_weights(tags), num).items():
        fresh = (p for p in _draw(tag, seed, "train") if _digest(p) not in tested)
        pool = list(islice(fresh, part))
        if not pool and part:
            raise PromptError(
                f"builtin:geneval/train has no prompts of '{tag}': GenEval tests with all of them; "
                "leave it out of tags"
            )
        prompts += islice(cycle(pool), part)
    order = seeds.order(len(prompts), seed=seed, purpose="geneval train")
    return [prompts[i] for i in order.tolist()]


def held_out(*, num: Annotated[int, Ge(1)] | None = None, tags: str | None = None) -> list[Prompt]:
    """The 553 test prompts, kind by kind; or so many of them, or of some kinds alone.

    They are always the same ones: fewer are the first of each kind, in proportion.

    Raises:
        PromptError: there is no such kind, or there are not so many prompts.
    """
    if tags and ":" in tags:
        raise PromptError(
            f"builtin:geneval/test has kinds without weights, not '{tags}'; write tags=counting,..."
        )
    chosen = _weights(tags) if tags else PUBLISHED
    sizes = {tag: size for tag, size in PUBLISHED.items() if tag in chosen}
    total = sum(sizes.values())
    if num is not None and num > total:
        raise PromptError(
            f"builtin:geneval/test has {total} prompts of {', '.join(sizes)}, not {num:,}"
        )
    parts = _parts(sizes, total if num is None else num)
    return [prompt for tag, part in parts.items() for prompt in _test_pool(tag)[:part]]


@cache
def _test_pool(tag: str) -> list[Prompt]:
    distinct: dict[str, Prompt] = {}
    for prompt in _draw(tag, 0, "test"):
        distinct.setdefault(_digest(prompt), prompt)
        if len(distinct) == PUBLISHED[tag]:
            break
    return list(distinct.values())


@cache
def _digests_of_tests() -> Set[str]:
    return {_digest(prompt) for tag in PUBLISHED for prompt in _test_pool(tag)}


@cache
def _digests_of_published() -> Set[str]:
    listed = files("zoo") / "assets" / "geneval_published.txt"
    return set(listed.read_text(encoding="utf-8").split())


def _draw(tag: str, seed: int, split: str) -> Iterator[Prompt]:
    size, make = SCENES[tag]
    order = seeds.order(size, seed=seed, purpose=f"geneval {split} {tag}")
    return (make(i) for i in order.tolist())


def _digest(prompt: Prompt) -> str:
    return f"{seeds.derive('geneval scene', key(prompt.metadata)):016x}"


def _parts(weights: Mapping[str, int], num: int) -> dict[str, int]:
    """Whole parts of `num` in proportion to the weights, by largest remainder."""
    total = sum(weights.values())
    parts = {tag: num * weight // total for tag, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda tag: num * weights[tag] % total, reverse=True)
    for tag in by_remainder[: num - sum(parts.values())]:
        parts[tag] += 1
    return parts


def _weights(tags: str) -> dict[str, int]:
    """`position:7,counting:5` by kind; a kind alone weighs 1."""
    weights: dict[str, int] = {}
    for each in tags.split(","):
        tag, colon, weight = (part.strip() for part in each.partition(":"))
        if tag not in PUBLISHED:
            raise PromptError(
                f"GenEval has no kind of prompts '{tag}'{suggest(tag, list(PUBLISHED), 'allowed')}"
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
