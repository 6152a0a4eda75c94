"""Times of which the early ones are trained at more often, and count for less."""

import math
from dataclasses import replace

import pytest
import torch

from zoo.errors import MisfitError
from zoo.objective.awm import AWM
from zoo.objective.crd import CRD
from zoo.objective.dgpo import DGPO
from zoo.objective.nft import NFT
from zoo.objective.times import Times
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import load_recipe
from zoo.rollout import Cond, Path, Rollout
from zoo.seeds import Draws

IMAGES = torch.arange(64)


def rollout(num):
    """Images whose sampler has so many times: num, num - 1, ... 1, and 0 at the end."""
    grid = torch.arange(num, -1, -1).float()
    return Rollout(
        IMAGES, IMAGES // 4, Path(torch.randn(len(IMAGES), 3), 0), Cond({"i": IMAGES}), grid=grid
    )


def test_the_earlier_a_stratum_the_shorter_it_is_and_the_less_it_counts():
    """Of ten times those before (1 / 2)^2.6 of them, 1.6, and the rest: two and eight."""
    times, made = Times(draw="strata", early=2.6), rollout(10)
    assert times.weights(made, 2).tolist() == pytest.approx([0.4, 1.6])
    t = times.choose(made, 2, Draws(0, "times", 0, IMAGES))
    assert set(t[:, 0].tolist()) == {10.0, 9.0}
    assert set(t[:, 1].tolist()) == {8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0}


@pytest.mark.parametrize("early", [1.5, 2.0, 9.0])
@pytest.mark.parametrize(("num", "count"), [(10, 1), (10, 3), (7, 4), (5, 5), (25, 6)])
def test_the_weighted_mean_over_strata_is_that_over_all_times(num, count, early):
    times, made = Times(draw="strata", early=early), rollout(num)
    weights = times.weights(made, count)
    # How many times each stratum has, by its weight; any of them is as likely.
    lengths = (weights * num / count).round().long().tolist()
    assert sum(lengths) == num
    assert min(lengths) >= 1
    of_strata = torch.cos(made.grid[:-1]).split(lengths)
    mean = torch.stack([values.mean() for values in of_strata]) * weights
    assert float(mean.mean()) == pytest.approx(float(torch.cos(made.grid[:-1]).mean()), abs=1e-6)
    t = times.choose(made, count, Draws(0, "times", 0, IMAGES))
    edges = torch.tensor([0, *lengths]).cumsum(0)
    for k in range(count):
        assert {*t[:, k].tolist()} <= {*made.grid[edges[k] : edges[k + 1]].tolist()}


def test_without_it_all_count_the_same():
    for draw in ("choice", "strata", "shared"):
        assert Times(draw=draw).weights(rollout(10), 3).tolist() == [1, 1, 1]
    assert len(Times(part=0.6, skip=1).weights(rollout(10), None)) == 5


@pytest.mark.parametrize("objective", [NFT, AWM])
def test_a_row_counts_as_its_time_does_and_one_of_an_invalid_image_not(objective):
    made = objective(trained_steps=2, times=Times(draw="strata", early=2.6))
    advantage = torch.ones(len(IMAGES)).double()
    advantage[3] = math.nan
    rows = made.rows(rollout(10), advantage, Draws(0, "rows", 0, IMAGES))
    weights = rows.weight.reshape(-1, 2)
    assert weights[3].tolist() == [0, 0]
    assert weights[IMAGES != 3].unique(dim=0).tolist() == [pytest.approx([0.4, 1.6])]
    assert (rows.t.reshape(-1, 2)[:, 0] >= 9).all()


@pytest.mark.parametrize("objective", [NFT, AWM, CRD, DGPO])
def test_a_process_without_images_has_no_rows(objective):
    none = torch.arange(0)
    empty = replace(
        rollout(10), key=none, group=none, path=Path(torch.zeros(0, 3), 0), cond=Cond({"i": none})
    )
    rows = objective(trained_steps=2).rows(
        empty, torch.zeros(0).double(), Draws(0, "rows", 0, none)
    )
    assert len(rows.key) == len(rows.weight) == len(rows.t) == 0


def test_more_strata_than_times_are_refused():
    with pytest.raises(MisfitError, match="trained_steps is 6, but only 5"):
        Times(draw="strata", early=2).choose(rollout(5), 6, Draws(0, "times", 0, IMAGES))


def test_times_that_are_no_strata_cannot_be_of_different_lengths():
    with pytest.raises(RecipeError, match="early 2 needs draw: strata, not choice"):
        load_recipe("nft_scenes", ["objective.times.early=2"])
