"""Prompts of GenEval's six kinds (Ghosh et al. 2023, arXiv 2310.11513) for coloured shapes."""

from functools import cache
from typing import Annotated

from annotated_types import Ge, Le

from zoo.data.geneval_scenes import World
from zoo.data.kinds import Kinds
from zoo.prompt import Prompt

SHAPES = ("circle", "square", "triangle", "cross", "ring", "star")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple")

WORLD = World(SHAPES, COLORS, colorable=SHAPES)

TESTED = {
    "single_object": 3, "two_object": 5, "counting": 6, "colors": 12, "position": 12,
    "color_attr": 30,
}  # fmt: skip
"""How many scenes of each kind are tested with, and not trained on."""

MIX = ",".join(TESTED)

_KINDS = Kinds("scenes", WORLD.scenes, TESTED)


@cache
def every() -> tuple[Prompt, ...]:
    """All 1110 prompts, of training and test: what the model `scenes` was made with."""
    return tuple(make(i) for size, make in WORLD.scenes.values() for i in range(size))


def training(
    *,
    num: Annotated[int, Ge(1), Le(1_000_000)] = 1200,
    seed: Annotated[int, Ge(0)] = 0,
    tags: str = MIX,
) -> list[Prompt]:
    """So many prompts, of the kinds in `tags` in proportion to their weights, in a mixed order.

    None shows a scene that is tested with: no pair of shapes in those colours, for one. A kind with
    fewer prompts than its part repeats them all equally often, give or take one.

    Raises:
        PromptError: there is no such kind.
    """
    return _KINDS.training(num=num, seed=seed, tags=tags)


held_out = _KINDS.held_out
"""The 68 test prompts."""
