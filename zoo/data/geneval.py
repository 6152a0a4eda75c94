"""Prompts of GenEval's six kinds, with the metadata that its rewards read.

GenEval: Ghosh et al. 2023 (arXiv 2310.11513). The mix of training: Flow-GRPO (arXiv 2505.05470).
`test` has as many prompts of each kind as the published 553 and is not that set; for it, give its
`evaluation_metadata.jsonl` as the source. Training holds no scene of `test` and none of the
published 553, whose digests are in assets/geneval_published.txt; order makes no other scene.

Departs from GenEval: plurals and articles are English (see `coco`).
"""

from collections.abc import Set
from functools import cache
from importlib.resources import files
from typing import Annotated

from annotated_types import Ge, Le

from zoo.data.geneval_scenes import SCENES
from zoo.data.kinds import Kinds
from zoo.prompt import Prompt

PUBLISHED = {
    "single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100,
    "color_attr": 100,
}  # fmt: skip
"""How many prompts of each kind GenEval tests with."""

MIX = "position:7,counting:5,two_object:3,color_attr:1,colors:1"


@cache
def _published() -> Set[str]:
    listed = files("zoo") / "assets" / "geneval_published.txt"
    return set(listed.read_text(encoding="utf-8").split())


_KINDS = Kinds("geneval", SCENES, PUBLISHED, _published)


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
    return _KINDS.training(num=num, seed=seed, tags=tags)


held_out = _KINDS.held_out
"""The 553 test prompts."""
