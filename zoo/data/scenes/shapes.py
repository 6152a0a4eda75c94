"""The six shapes by their signed distances, and images of them: 32 x 32 pixels, antialiased."""

from dataclasses import dataclass
from math import cos, hypot, pi, sin

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SIZE = 32
"""Height and width of an image, in pixels."""

RGB = (
    (0.86, 0.12, 0.15), (1.0, 0.55, 0.0), (0.98, 0.9, 0.1), (0.15, 0.65, 0.25), (0.15, 0.3, 0.9),
    (0.6, 0.2, 0.75),
)  # fmt: skip
"""The colours, in [0, 1], in the order of `prompts.COLORS`."""

MAX_OBJECTS = 4

_AT_ONCE = 256
"""Objects: more do not fit a core's cache and take twice as long."""


@dataclass(frozen=True)
class Objects:
    """What each scene shows: up to four objects on a grey ground.

    `center` is x and y from the left top corner and `radius` half of the side of the object's box,
    in pixels; `shape` and `color` count as the prompts' names do.
    """

    shape: Int[Tensor, "scenes 4"]
    color: Int[Tensor, "scenes 4"]
    center: Float[Tensor, "scenes 4 2"]
    radius: Float[Tensor, "scenes 4"]
    present: Bool[Tensor, "scenes 4"]
    ground: Float[Tensor, " scenes"]


def render(objects: Objects) -> Float[Tensor, "scenes 3 32 32"]:
    """The images, in [0, 1]; objects do not overlap."""
    images = objects.ground[:, None, None, None].repeat(1, 3, SIZE, SIZE)
    scene, which = objects.present.nonzero(as_tuple=True)
    for some in torch.split(torch.arange(len(scene)), _AT_ONCE):
        at = scene[some], which[some]
        covered = coverage(objects.shape[at], objects.center[at], objects.radius[at])
        change = torch.tensor(RGB)[objects.color[at]] - objects.ground[at[0], None]
        images.index_add_(0, at[0], covered[:, None] * change[:, :, None, None])
    return images.clamp_(0.0, 1.0)


def coverage(
    shape: Int[Tensor, " objects"],
    center: Float[Tensor, "objects 2"],
    radius: Float[Tensor, " objects"],
) -> Float[Tensor, "objects 32 32"]:
    """How much of each pixel an object covers, in [0, 1], by the distance of the pixel's middle."""
    middle = torch.arange(SIZE) + 0.5
    x = (middle - center[:, 0:1])[:, None, :] / radius[:, None, None]
    y = (middle - center[:, 1:2])[:, :, None] / radius[:, None, None]
    distance = torch.empty(len(shape), SIZE, SIZE)
    for i, of_shape in enumerate(_DISTANCES):
        rows = shape == i
        distance[rows] = of_shape(x[rows], y[rows])
    return (0.5 - distance * radius[:, None, None]).clamp(0.0, 1.0)


def _circle(x: Tensor, y: Tensor) -> Tensor:
    return torch.hypot(x, y) - 1.0


def _square(x: Tensor, y: Tensor) -> Tensor:
    return _box(x, y, 0.88, 0.88)


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    """Its apex up: at (0, -1), its base from (-1, 0.85) to (1, 0.85)."""
    down, across = 1.85, 1.0
    sides = (x.abs() * down - (y + 1.0) * across) / hypot(down, across)
    return torch.maximum(sides, y - 0.85)


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_box(x, y, 1.0, 0.3), _box(x, y, 0.3, 1.0))


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return (torch.hypot(x, y) - 0.74).abs() - 0.26


def _star(x: Tensor, y: Tensor) -> Tensor:
    """Five points: the pixel mirrored into half of one, whose edge is then the nearest.

    Its tip is at (0, -1), the notch beside it at 0.45 from the middle.
    """
    x, up = x.abs(), -y
    for across, along in ((cos(pi / 5), -sin(pi / 5)), (-cos(pi / 5), -sin(pi / 5))):
        beyond = 2.0 * (x * across + up * along).clamp(min=0.0)
        x, up = x - beyond * across, up - beyond * along
    edge = (0.45 * sin(pi / 5), 0.45 * cos(pi / 5) - 1.0)
    return ((up - 1.0) * edge[0] - x.abs() * edge[1]) / hypot(*edge)


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


_DISTANCES = (_circle, _square, _triangle, _cross, _ring, _star)
"""Signed, below 0 inside, in units of the radius; in the order of `prompts.SHAPES`."""
