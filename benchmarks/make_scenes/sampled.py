"""Random scenes of every kind, and what is shown in place of what their caption asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.data.geneval_scenes import POSITIONS
from zoo.data.scenes.layout import Asked, place
from zoo.data.scenes.prompts import COLORS, SHAPES, TESTED, every
from zoo.data.scenes.shapes import MAX_OBJECTS, render
from zoo.seeds import Draws

TAGS = tuple(TESTED)


@dataclass(frozen=True)
class Captions:
    """All prompts of the task: what each asks for, and its kind by its place in `TAGS`."""

    asked: Asked
    tag: Int[Tensor, " prompts"]

    def some(
        self, draws: Draws, often: Mapping[str, float] = MappingProxyType({})
    ) -> Int[Tensor, " rows"]:
        """The numbers of random prompts; a kind is as `often` as its weight says, 1 by default."""
        size = self.tag.bincount()
        first = size.cumsum(0) - size
        weight = torch.tensor([often.get(name, 1.0) for name in TAGS]).cumsum(0)
        kind, which = draws.at("caption").uniform((2,)).T.contiguous()
        tag = torch.searchsorted(weight / weight[-1], kind, right=True).clamp(max=len(TAGS) - 1)
        return first[tag] + (which * size[tag]).long()


@cache
def captions() -> Captions:
    """In the order of `every`, which is kind by kind."""
    prompts = every()
    tags = torch.tensor([TAGS.index(prompt.metadata["tag"]) for prompt in prompts])
    return Captions(Asked.of(prompts), tags)


def some_images(
    num: int, *, seed: int, purpose: str, first: int = 0
) -> Float[Tensor, "num 3 32 32"]:
    """Images of random scenes, in [0, 1]: those from number `first` on."""
    draws = Draws(seed, purpose, 0, torch.arange(first, first + num))
    known = captions()
    return render(place(known.asked.take(known.some(draws)), draws))


def shown(rows: Int[Tensor, " rows"], wrong: Mapping[str, float], draws: Draws) -> Asked:
    """What images show whose captions are those rows of `captions`.

    `wrong` is the share of each kind that shows something else in part: another shape of an object,
    another number, another colour or another position; the one that its kind is about.
    """
    known = captions()
    asked, tag = known.asked.take(rows), known.tag[rows]
    share = torch.tensor([wrong.get(name, 0.0) for name in TAGS])[tag]
    is_wrong, which, other = draws.at("wrong").uniform((3,)).unbind(dim=1)
    changed = {
        ("single_object", "two_object"): _other_shape(asked, which, other),
        ("counting",): _other_number(asked, other),
        ("colors", "color_attr"): _other_color(asked, which, other),
        ("position",): _other_position(asked, other),
    }
    for tags, instead in changed.items():
        here = torch.isin(tag, torch.tensor([TAGS.index(name) for name in tags]))
        asked = _where(here & (is_wrong < share), instead, asked)
    return asked


def _other_shape(asked: Asked, which: Tensor, other: Tensor) -> Asked:
    return replace(asked, shape=_changed(asked.shape, asked.num, which, other, len(SHAPES)))


def _other_color(asked: Asked, which: Tensor, other: Tensor) -> Asked:
    """Of one object; of two objects in a quarter of the cases both have that of the other."""
    changed = _changed(asked.color, asked.num, which, other, len(COLORS))
    swapped = torch.cat([asked.color[:, :2].flip(1), asked.color[:, 2:]], dim=1)
    swaps = (asked.num == 2) & (which > 0.75)
    return replace(asked, color=torch.where(swaps[:, None], swapped, changed))


def _other_number(asked: Asked, other: Tensor) -> Asked:
    """All of the same shape."""
    num = 1 + (asked.num + (other * (MAX_OBJECTS - 1)).long()) % MAX_OBJECTS
    return replace(asked, num=num, shape=asked.shape[:, :1].expand(-1, MAX_OBJECTS))


def _other_position(asked: Asked, other: Tensor) -> Asked:
    turned = (asked.position + 1 + (other * (len(POSITIONS) - 1)).long()) % len(POSITIONS)
    return replace(asked, position=turned)


def _changed(
    values: Int[Tensor, "rows 4"], num: Tensor, which: Tensor, other: Tensor, size: int
) -> Int[Tensor, "rows 4"]:
    """One object's value as another one of `size`."""
    at = (which * num).long()
    instead = (values + 1 + (other[:, None] * (size - 1)).long()) % size
    return torch.where(torch.arange(MAX_OBJECTS) == at[:, None], instead, values)


def _where(condition: Tensor, instead: Asked, asked: Asked) -> Asked:
    def of(name: str) -> Tensor:
        first, second = getattr(instead, name), getattr(asked, name)
        return torch.where(condition[:, None] if first.ndim == 2 else condition, first, second)

    return Asked(of("num"), of("shape"), of("color"), of("position"))
