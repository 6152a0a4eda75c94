"""`engine.micro_batch: auto` takes the most that fits, by the estimates."""

import pytest

from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, recipe
from zoo.plan import fit as module
from zoo.plan.fit import fit, largest
from zoo.plan.footprint import footprints
from zoo.recipe.recipe import RecipeError
from zoo.recipe.sections import Sizes

AUTO = {**ONE_UPDATE, "engine__micro_batch": "{sample: auto, train: auto}"}


def needed(made, processes=1):
    return max(module._peaks(made, footprints(made, processes), processes).values())


def two_phases(n):
    return {"constant": 10 + n, "steep": 7 * n - 60}


@pytest.mark.parametrize("room", [11, 12, 40, 70, 73, 74, 200, 387, 388, 1000])
def test_the_largest_is_found_on_lines_that_meet(room):
    wanted = max(n for n in range(1, 65) if max(two_phases(n).values()) <= room)
    assert largest(two_phases, 1, 64, room) == wanted


def test_three_looks_are_enough():
    looks = []

    def peaks(n):
        looks.append(n)
        return two_phases(n)

    assert largest(peaks, 1, 1000, 599) == 94
    assert looks == [1000, 1, 94]


@pytest.mark.parametrize("room", range(3, 90, 9))
def test_lines_that_bend_are_fitted_too(room):
    def peaks(n):
        return {"down": int(30 * n**0.3), "up": n * n // 8}

    found = largest(peaks, 1, 64, room) if max(peaks(1).values()) <= room else 1
    assert found == 1 or max(peaks(found).values()) <= room


@pytest.mark.slow
def test_what_is_found_fits_and_more_would_not():
    made = recipe(RECIPES["nft"], **AUTO)
    few = made.with_micro_batch(Sizes(4, 4))
    found = fit(made, 1, int(needed(few) / 0.9) + 1)
    sizes = found.recipe.engine.micro_batch.sizes
    assert not found.recipe.engine.micro_batch.is_auto
    assert found.peak == needed(found.recipe) <= 0.9 * found.available
    assert 1 < sizes.train < 16
    more = sizes._replace(train=2 * sizes.train)
    assert needed(found.recipe.with_micro_batch(more)) > 0.9 * found.available


@pytest.mark.slow
def test_with_room_for_all_they_are_what_a_process_has():
    found = fit(recipe(RECIPES["nft"], **AUTO), 2, 10**12)
    assert found.recipe.engine.micro_batch.sizes == (8, 16)
    assert "micro-batches of 8 to make images and of 16 to train" in found.said


@pytest.mark.slow
def test_a_number_that_is_written_stays():
    made = recipe(RECIPES["nft"], **{**AUTO, "engine__micro_batch": "{sample: 5, train: auto}"})
    assert fit(made, 2, 10**12).recipe.engine.micro_batch.sizes == (5, 16)


def test_stages_get_them_too():
    made = recipe(RECIPES["nft"], **AUTO, epochs=2, stages="[{epochs: 1}, {epochs: 1}]")
    with_them = made.with_micro_batch(Sizes(3, 2))
    assert [stage.recipe.engine.micro_batch.sizes for stage in with_them.timeline] == [(3, 2)] * 2


def test_where_one_does_not_fit_the_line_says_how_much_is_needed():
    with pytest.raises(RecipeError, match=r"1 to make and 1 to train need \d+ MB of the \d+ MB"):
        fit(recipe(RECIPES["nft"], **AUTO), 1, 1_000_000)
