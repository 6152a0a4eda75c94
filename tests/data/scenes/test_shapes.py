"""Shapes as they are drawn."""

import math

import numpy as np
import pytest
import torch
from matplotlib.path import Path

from zoo.data.scenes.prompts import COLORS, SHAPES
from zoo.data.scenes.shapes import RGB, SIZE, Objects, coverage, render

RADIUS = 9.0


def alone(shape, radius=RADIUS, at=(16.0, 16.0)):
    return coverage(torch.tensor([shape]), torch.tensor([at]), torch.tensor([radius]))[0]


STAR = [
    (far * math.sin(k * math.pi / 5), -far * math.cos(k * math.pi / 5))
    for k, far in enumerate((1.0, 0.45) * 5)
]
CROSS = [
    (-1, -0.3), (-0.3, -0.3), (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3),
    (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3),
]  # fmt: skip
OUTLINES = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0, -1), (1, 0.85), (-1, 0.85)],
    "cross": CROSS,
    "star": STAR,
}


@pytest.mark.parametrize("name", OUTLINES)
def test_a_pixel_is_covered_as_much_as_lies_within_the_outline(name):
    fine = 8
    side = (np.arange(SIZE * fine) + 0.5) / fine
    points = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    outline = np.array(OUTLINES[name]) * RADIUS + 16.0
    inside = Path(outline).contains_points(points).reshape(SIZE, fine, SIZE, fine)
    exact = torch.from_numpy(inside.mean(axis=(1, 3))).float()
    drawn = alone(SHAPES.index(name))
    assert (drawn - exact).abs().mean() < 0.004
    assert ((drawn > 0.5) != (exact > 0.5)).sum() <= 8


def test_a_circle_and_a_ring_have_their_areas():
    circle, ring = (alone(SHAPES.index(name)) for name in ("circle", "ring"))
    assert circle.sum() == pytest.approx(math.pi * RADIUS**2, rel=0.005)
    assert ring.sum() == pytest.approx(math.pi * RADIUS**2 * (1 - 0.48**2), rel=0.01)
    assert ring[16, 16] == 0 < circle[16, 16]


@pytest.mark.parametrize("shape", range(6))
def test_a_shape_fills_its_box_and_stays_in_it(shape):
    drawn = alone(shape, 8.0) > 0.5
    across, down = drawn.any(0).nonzero().flatten(), drawn.any(1).nonzero().flatten()
    for side in (across, down):
        assert int(side.min()) >= 8
        assert int(side.max()) < 24
        assert int(side.max() - side.min()) >= 12


def test_edges_are_antialiased():
    for shape in range(6):
        drawn = alone(shape)
        assert ((drawn > 0.05) & (drawn < 0.95)).sum() > 10 or shape == SHAPES.index("square")
        assert drawn.min() == 0
        assert drawn.max() == 1


def test_a_rendered_scene_has_its_colours_on_its_ground():
    one = torch.zeros(6, 4, dtype=torch.long)
    one[:, 0] = torch.arange(6)
    present = torch.tensor([[True, False, False, False]]).expand(6, 4)
    center, radius = torch.full((6, 4, 2), 16.0), torch.full((6, 4), 6.0)
    ground = torch.linspace(0.75, 0.95, 6)
    images = render(Objects(torch.zeros_like(one), one, center, radius, present, ground))
    assert images.shape == (6, 3, 32, 32)
    torch.testing.assert_close(images[:, :, 16, 16], torch.tensor(RGB))
    torch.testing.assert_close(images[:, :, 0, 0], ground[:, None].expand(6, 3))
    assert len(COLORS) == len(RGB)
