"""The learning rate's schedule, and what is told of it where a run goes on otherwise."""

import math

import pytest

from tests.runs import RECIPES
from zoo.recipe.recipe import load_recipe
from zoo.training.learning_rate import LearningRate, compare_rates, rate_of

FALLING = ("optim.schedule=cosine", "optim.updates_per_epoch=2", "optim.lr=1.0", "epochs=10")


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        (
            "cosine",
            [0.25, 0.5, 0.75, 1.0]
            + [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]
            + [0.0],
        ),
    ],
)
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(schedule, wanted) -> None:
    rate = LearningRate(2.0, schedule, warmup=4, total=8)
    assert [rate.at(step) for step in range(10)] == pytest.approx([2 * w for w in wanted])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_without_warmup_the_first_update_has_the_whole_rate(schedule) -> None:
    assert LearningRate(3e-4, schedule, total=5).at(0) == 3e-4


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_warmup_as_long_as_the_run_is_no_error(schedule) -> None:
    rate = LearningRate(1.0, schedule, warmup=5, total=5)
    assert [rate.at(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def made(*overrides):
    return load_recipe(RECIPES["nft"], [*FALLING, *overrides])


def test_a_schedule_comes_to_its_end_with_the_run_or_where_it_says() -> None:
    assert rate_of(made().timeline[0]).total == 20
    assert rate_of(made("optim.total=50").timeline[0]).total == 50
    (first, *_) = made("stages=[{epochs: 4}, {epochs: 6}]", "optim.total=7").timeline
    assert rate_of(first).total == 7


def test_nothing_is_told_of_a_rate_that_goes_on_as_it_would_have() -> None:
    assert compare_rates(made(), made(), epoch=5, step=10) is None
    constant = "optim.schedule=constant"
    assert compare_rates(made(constant), made(constant, "epochs=20"), epoch=5, step=10) is None


def test_a_longer_run_is_told_that_its_rate_ends_before_it() -> None:
    longer = made("epochs=20", "optim.total=20")
    change = compare_rates(made(), longer, epoch=5, step=10)
    assert change.said == (
        "the cosine schedule of the learning rate goes on as it was, to update 20 (optim.total): "
        "0.578 at the last update, 0.5 at the next"
    )
    (warning,) = change.warnings
    assert warning == (
        "from update 20 on the learning rate is 0 and nothing is learned, and the run goes on to "
        "update 40; -s optim.total=40 stretches the schedule to there (0.854 at the next update)"
    )


def test_a_schedule_that_is_stretched_is_told_with_the_rate_before_and_after() -> None:
    change = compare_rates(made(), made("epochs=20", "optim.total=40"), epoch=10, step=20)
    assert change.said == (
        "the cosine schedule of the learning rate was to end at update 20, now at update 40 "
        "(optim.total): 0.00616 at the last update, 0.5 at the next (it was to be 0)"
    )
    assert change.warnings == ()
