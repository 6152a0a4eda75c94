"""Scenes that show what prompts ask for: where objects are is drawn, and what was left open."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.data.geneval_scenes import POSITIONS
from zoo.data.scenes.prompts import COLORS, SHAPES
from zoo.data.scenes.shapes import MAX_OBJECTS, SIZE, Objects
from zoo.prompt import Prompt
from zoo.seeds import Draws

ANY = -1
"""A colour or a position that is not asked for."""

SMALLEST, LARGEST = 4.5, (9.0, 7.0, 5.5, 5.0)
"""Radii in pixels; the largest by the number of objects."""

GAP = 2.0
"""Pixels between the boxes of two objects, at least."""

GROUND = 0.75, 0.95
"""Grey levels of the ground."""

_TRIES = 16


@dataclass(frozen=True)
class Asked:
    """What prompts ask for, a row a prompt: objects, and how the second lies from the first."""

    num: Int[Tensor, " prompts"]
    shape: Int[Tensor, "prompts 4"]
    color: Int[Tensor, "prompts 4"]
    position: Int[Tensor, " prompts"]

    @classmethod
    def of(cls, prompts: Sequence[Prompt]) -> "Asked":
        """Of prompts with the metadata of `scenes/train` and `scenes/test`."""
        rows = [_objects(prompt) for prompt in prompts]
        last = [prompt.metadata["include"][-1].get("position") for prompt in prompts]
        return cls(
            torch.tensor([len(row) for row in rows]),
            torch.tensor([_filled([shape for shape, _ in row], 0) for row in rows]),
            torch.tensor([_filled([color for _, color in row], ANY) for row in rows]),
            torch.tensor([POSITIONS.index(each[0]) if each else ANY for each in last]),
        )

    def take(self, index: Int[Tensor, " taken"]) -> "Asked":
        """Some of the rows."""
        return Asked(self.num[index], self.shape[index], self.color[index], self.position[index])


def _objects(prompt: Prompt) -> list[tuple[int, int]]:
    """Shape and colour of each object."""
    found = [
        [(SHAPES.index(each["class"]), COLORS.index(each["color"]) if "color" in each else ANY)]
        * each["count"]
        for each in prompt.metadata["include"]
    ]
    return list(chain(*found))


def _filled(values: list[int], empty: int) -> list[int]:
    return values + [empty] * (MAX_OBJECTS - len(values))


def place(asked: Asked, draws: Draws) -> Objects:
    """A scene for each row: objects of free sizes and places, apart by `GAP` pixels or more.

    A scene is a function of its row of `draws` and of what is asked.
    """
    numbers = draws.uniform((2 + MAX_OBJECTS * (2 + 2 * _TRIES),))
    ground, which, rest = torch.split(numbers, [1, 1, numbers.shape[1] - 2], dim=1)
    parts = [MAX_OBJECTS, MAX_OBJECTS, 2 * MAX_OBJECTS * _TRIES]
    color, size, places = torch.split(rest, parts, dim=1)
    present = torch.arange(MAX_OBJECTS) < asked.num[:, None]
    drawn = (color * len(COLORS)).long()
    largest = torch.tensor(LARGEST)[asked.num - 1, None]
    radius = SMALLEST + size * (largest - SMALLEST)
    tried = places.reshape(-1, MAX_OBJECTS, _TRIES, 2)
    objects = Objects(
        asked.shape,
        torch.where(asked.color == ANY, drawn, asked.color),
        _apart(tried, radius, asked.num, which.squeeze(1)),
        radius,
        present,
        GROUND[0] + ground.squeeze(1) * (GROUND[1] - GROUND[0]),
    )
    return replace(objects, center=_positioned(objects.center, asked.position))


def _apart(
    places: Float[Tensor, "scenes 4 tries 2"],
    radius: Float[Tensor, "scenes 4"],
    num: Int[Tensor, " scenes"],
    which: Float[Tensor, " scenes"],
) -> Float[Tensor, "scenes 4 2"]:
    """For one object after the other the first free place, or a grid where there is none."""
    low = radius[:, :, None, None] + 1.0
    tried = low + places * (SIZE - 2 * low)
    chosen = tried[:, :, 0].clone()
    free_for_all = torch.ones(len(tried), dtype=torch.bool)
    for i in range(1, MAX_OBJECTS):
        away = (tried[:, i, :, None] - chosen[:, None, :i]).abs().amax(dim=-1)
        needed = (radius[:, i, None] + radius[:, :i] + GAP)[:, None]
        free = (away >= needed).all(dim=-1)
        first = free.float().argmax(dim=1)
        chosen[:, i] = tried[torch.arange(len(tried)), i, first]
        free_for_all &= free.any(dim=1) | (num <= i)
    quarters = torch.tensor([[8.0, 8.0], [24.0, 24.0], [24.0, 8.0], [8.0, 24.0]])
    turned = (torch.arange(MAX_OBJECTS) + (which[:, None] * MAX_OBJECTS).long()) % MAX_OBJECTS
    moved = (2.0 * places[:, :, 0] - 1.0) * (SIZE / 4 - GAP / 2 - radius[:, :, None])
    return torch.where(free_for_all[:, None, None], chosen, quarters[turned] + moved)


def _positioned(
    center: Float[Tensor, "scenes 4 2"], position: Int[Tensor, " scenes"]
) -> Float[Tensor, "scenes 4 2"]:
    """The picture turned so that the second object lies as asked from the first.

    Boxes that do not meet lie apart along one axis by so much that GenEval sees them so; that axis
    becomes the one that is asked for, and then its direction.
    """
    offset = center[:, 1] - center[:, 0]
    axis = offset.abs().argmax(dim=1)
    wanted = (position >= POSITIONS.index("above")).long()
    turn = (position != ANY) & (axis != wanted)
    center = torch.where(turn[:, None, None], center.flip(-1), center)
    along = (center[:, 1] - center[:, 0]).gather(1, wanted[:, None]).squeeze(1)
    after = (position == POSITIONS.index("right of")) | (position == POSITIONS.index("below"))
    mirror = (position != ANY) & ((along > 0) != after)
    on_axis = torch.arange(2) == wanted[:, None]
    return torch.where((mirror[:, None] & on_axis)[:, None], SIZE - center, center)
