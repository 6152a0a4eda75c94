"""What the judge takes for an object."""

import torch

from zoo.data.scenes.prompts import COLORS, SHAPES
from zoo.data.scenes.shapes import RGB, coverage
from zoo.reward.scenes.components import SMALLEST, components
from zoo.reward.scenes.judge import ScenesJudge
from zoo.reward.scenes.templates import matched, rendered_masks


def painted(color, *boxes):
    """Rectangles of a colour on grey."""
    image = torch.full((1, 3, 32, 32), 0.85)
    for left, top, right, bottom in boxes:
        image[0, :, top:bottom, left:right] = torch.tensor(RGB[COLORS.index(color)])[:, None, None]
    return image


def shapes_in(image):
    return sorted(
        (name, found.color) for name, of_shape in ScenesJudge().find(image)[0].items()
        for found in of_shape
    )  # fmt: skip


def test_a_square_is_one_and_a_plank_is_nothing():
    assert shapes_in(painted("red", (4, 4, 14, 14))) == [("square", "red")]
    assert shapes_in(painted("red", (4, 4, 28, 9))) == []


def test_squares_that_touch_are_nothing_and_those_apart_are_two():
    assert shapes_in(painted("blue", (4, 4, 14, 14), (16, 4, 26, 14))) == [("square", "blue")] * 2
    assert shapes_in(painted("blue", (4, 4, 14, 14), (14, 4, 24, 14))) == []


def test_specks_are_no_parts_and_a_flat_image_has_none():
    assert list(components(painted("green", (4, 4, 7, 7)))) == []
    assert SMALLEST > 9
    for level in (0.0, 0.5, 1.0):
        assert list(components(torch.full((1, 3, 32, 32), level))) == []


def test_a_colour_that_is_none_is_no_object():
    image = torch.full((1, 3, 32, 32), 0.85)
    image[0, :, 8:18, 8:18] = torch.tensor([0.1, 0.1, 0.1])[:, None, None]
    assert shapes_in(image) == []


def test_half_of_a_shape_is_another_colour_and_so_neither_is_one():
    image = painted("red", (6, 6, 18, 18))
    image[0, :, 6:18, 12:18] = torch.tensor(RGB[COLORS.index("blue")])[:, None, None]
    assert shapes_in(image) == []


def test_every_shape_is_nearest_to_masks_of_its_own_at_any_size_and_place():
    radius = torch.linspace(4.5, 9.0, 20)
    center = torch.stack([torch.linspace(12, 20, 20), torch.linspace(19, 13, 20)], dim=1)
    for shape in range(len(SHAPES)):
        drawn = coverage(torch.full((20,), shape), center, radius)
        named, distance = matched(drawn)
        assert named.tolist() == [shape] * 20
        assert distance.max() < 0.02


def test_shapes_are_further_from_each_other_than_what_is_accepted():
    masks, shapes = rendered_masks()
    for shape in range(len(SHAPES)):
        own, other = masks[shapes == shape], masks[shapes != shape]
        apart = torch.cdist(own, other).square().min() / masks.shape[1]
        assert apart > 0.01
