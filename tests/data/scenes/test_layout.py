"""Scenes show what is asked for, with their objects apart."""

from itertools import combinations

import pytest
import torch

from zoo.data.geneval_scenes import POSITIONS
from zoo.data.scenes.layout import ANY, GAP, GROUND, LARGEST, SMALLEST, Asked, place
from zoo.data.scenes.prompts import COLORS, SHAPES, every
from zoo.data.scenes.shapes import SIZE
from zoo.reward.geneval.position import relations
from zoo.seeds import Draws


def drawn(num, seed=0):
    return Draws(seed, "test scenes", 0, torch.arange(num))


@pytest.fixture(scope="module")
def scenes():
    prompts = every()
    return prompts, place(Asked.of(prompts), drawn(len(prompts)))


def test_objects_lie_inside_the_picture_and_do_not_touch(scenes):
    _, objects = scenes
    center, radius = objects.center, objects.radius.unsqueeze(-1)
    inside = torch.minimum(center - radius, SIZE - center - radius).amin(-1)
    assert inside[objects.present].min() >= 1 - 1e-4
    for i, j in combinations(range(4), 2):
        gap = (center[:, i] - center[:, j]).abs().amax(-1) - (radius[:, i] + radius[:, j])[:, 0]
        assert gap[objects.present[:, j]].min() >= GAP - 1e-4


def test_objects_are_what_the_metadata_says(scenes):
    prompts, objects = scenes
    for i, prompt in enumerate(prompts):
        wanted = [each for each in prompt.metadata["include"] for _ in range(each["count"])]
        assert int(objects.present[i].sum()) == len(wanted)
        for k, each in enumerate(wanted):
            assert SHAPES[objects.shape[i, k]] == each["class"]
            assert COLORS[objects.color[i, k]] == each.get("color", COLORS[objects.color[i, k]])


def test_positions_are_those_that_genevals_boxes_say(scenes):
    prompts, objects = scenes
    seen = set()
    for i, prompt in enumerate(prompts):
        if prompt.metadata["tag"] == "position":
            corners = [
                (*(c - r).tolist(), *(c + r).tolist())
                for c, r in zip(objects.center[i, :2], objects.radius[i, :2], strict=True)
            ]
            asked = prompt.metadata["include"][1]["position"][0]
            seen.add(asked)
            assert asked in relations(corners[1], corners[0], 0.1)
    assert seen == set(POSITIONS)


def test_sizes_grounds_places_and_open_colours_are_spread(scenes):
    _, objects = scenes
    num = objects.present.sum(1)
    for count, largest in enumerate(LARGEST, start=1):
        radius = objects.radius[num == count][:, :count]
        assert SMALLEST <= radius.min() < SMALLEST + 0.3
        assert largest - 0.3 < radius.max() <= largest
    assert objects.ground.min() < GROUND[0] + 0.02
    assert objects.ground.max() > GROUND[1] - 0.02
    free = place(Asked.of([every()[0]] * 300), drawn(300))
    assert free.color[:, 0].bincount().min() > 20
    assert free.center[:, 0].std(0).min() > 4


def test_a_scene_does_not_depend_on_the_others():
    prompts = every()[::37]
    draws = drawn(len(prompts))
    whole = place(Asked.of(prompts), draws)
    some = torch.tensor([5, 2, 11])
    part = place(Asked.of([prompts[i] for i in some]), draws.take(some))
    for name in ("color", "center", "radius", "ground"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[some])


def test_what_is_not_asked_for_is_open():
    asked = Asked.of([every()[0]])
    assert asked.color.unique().tolist() == [ANY]
    assert asked.position.tolist() == [ANY]
