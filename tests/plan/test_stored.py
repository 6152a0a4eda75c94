"""What stored images cost: encoded once while they are kept, decoded only for who looks."""

import pytest
import torch

from tests.tiny_models import write_sd3
from zoo.plan.footprint import footprint
from zoo.plan.stored import mean_encoded
from zoo.recipe.recipe import recipe_from


def test_what_all_fits_is_encoded_once_in_a_run():
    assert mean_encoded(100, 100, epochs=1, kept=100) == 100
    assert mean_encoded(100, 100, epochs=4, kept=100) == 25
    assert mean_encoded(100, 1000, epochs=4, kept=100) == 25  # an epoch that draws all ten times
    assert mean_encoded(100, 10, epochs=1000, kept=100) == pytest.approx(0.1, rel=1e-3)


def test_what_does_not_fit_is_encoded_again_as_often_as_it_is_not_kept():
    assert mean_encoded(100, 10, epochs=50, kept=0) == 10
    assert mean_encoded(1000, 10, epochs=10_000, kept=250) == pytest.approx(7.5, rel=0.01)


def test_the_expectation_is_what_random_epochs_encode():
    """By drawing epochs and counting, with nothing dropped."""
    stored, drawn, epochs = 60, 12, 8
    generator = torch.Generator().manual_seed(0)
    counts = []
    for _ in range(400):
        seen = set()
        for _ in range(epochs):
            seen |= set(torch.randperm(stored, generator=generator)[:drawn].tolist())
        counts.append(len(seen) / epochs)
    expected = mean_encoded(stored, drawn, epochs=epochs, kept=stored)
    # The mean of 400 runs, each off by less than an image an epoch.
    assert sum(counts) / len(counts) == pytest.approx(expected, abs=0.05)


@pytest.fixture(scope="module")
def flops(tmp_path_factory):
    """Of an epoch of offline DPO on a tiny SD3, with changes to the recipe."""
    options = write_sd3(tmp_path_factory.mktemp("sd3"))

    def of(**changes):
        return footprint(
            recipe_from(
                {
                    "name": "offline",
                    "epochs": 1,
                    "policy": {"name": "diffusers", **options},
                    "sampler": {"name": "dataset"},
                    "rewards": [{"name": "preference"}],
                    "objective": {"name": "dpo", "ref_update": 0},
                    "data": {
                        "train": "builtin:digits/pairs", "groups_per_epoch": 8, "group_size": 2,
                    },
                    "engine": {"device": "cpu", "micro_batch": {"sample": 8, "train": 8}},
                    **changes,
                }
            ),
            1,
        ).flops  # fmt: skip

    return of


@pytest.mark.slow
def test_a_run_of_many_epochs_encodes_less_in_each(flops):
    once, always = flops(), flops(sampler={"name": "dataset", "cache_gb": 0.0}, epochs=1000)
    assert once == always
    # 16 of the 898 images an epoch: after 1000 epochs all are known.
    learning = flops(epochs=10**6)
    assert learning < flops(epochs=1000) < once
    encoding = once - learning
    assert flops(epochs=1000) - learning == pytest.approx(encoding * 898 / 16_000, rel=0.02)


@pytest.mark.slow
def test_images_are_decoded_only_where_a_reward_reads_pixels(flops):
    rewards = [{"name": "preference"}, {"name": "jpeg_compressibility"}]
    bare, decoded = flops(), flops(rewards=rewards)
    decoding = decoded - bare
    assert decoding > 0
    # As much whatever is encoded.
    assert flops(rewards=rewards, epochs=1000) - flops(epochs=1000) == decoding
