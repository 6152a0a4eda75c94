"""The roofline of benchmarks/roofline.py, on numbers that one can work out by hand."""

import pytest

from benchmarks.counts import Batch, Operation
from benchmarks.roofline import CARDS, Card, Passes, epoch
from tests.runs import ROOT
from zoo.recipe.recipe import load_recipe

CARD = Card(bytes=100.0, flops=1000.0, wide_flops=500.0, narrow_flops=2000.0)


@pytest.mark.parametrize(
    ("operation", "seconds"),
    [
        (Operation(200, 0, wide=False), 2.0),
        (Operation(200, 1000, wide=False), 2.0),
        (Operation(200, 3000, wide=False), 3.0),
        (Operation(200, 3000, wide=True), 6.0),
        (Operation(200, 6000, wide=False, narrow=True), 3.0),
    ],
)
def test_the_slower_of_moving_and_computing_counts(operation, seconds):
    assert CARD.seconds(operation) == seconds


def test_cards_compute_more_than_they_move():
    assert all(card.flops > card.wide_flops > card.bytes for card in CARDS.values())
    assert all(card.narrow_flops in (None, 1979e12) for card in CARDS.values())


def test_an_epoch_has_a_forward_a_step_and_four_passes_a_trained_time():
    recipe = load_recipe(ROOT / "recipes" / "nft_sd3_multi.yaml")
    found = epoch(recipe, Passes(base=1.0, forward=2.0, backward=3.0), Batch(8, 512, 205))
    batches = 48 * 24 / 8
    assert found == {
        "sampling": 25 * 2 * batches,
        "old": 24 * 2 * batches,
        "reference": 24 * 1 * batches,
        "trained, forward": 24 * 2 * batches,
        "trained, backward": 24 * 3 * batches,
    }
