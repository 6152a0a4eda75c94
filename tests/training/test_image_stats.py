"""What a set of images is like: sums over images against every one and every pair, in float64."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from zoo.training.image_stats import ImageStats
from zoo.training.looks import MEASURES, look


def alone(local):
    """The rows of the only process."""
    return local


def measured(images, group_size, cuts=()):
    stats = ImageStats(group_size)
    key = torch.arange(len(images))
    for part in key.tensor_split(cuts):
        stats.see(look(images[part], images[part]), part)
    return stats.measure(alone)


def measure(images, group_size, cuts=()):
    return measured(images, group_size, cuts).values


def by_pairs(images, group_size):
    pixels = images.double().flatten(1)
    square = torch.cdist(pixels, pixels).square() / pixels.shape[1]
    group = torch.arange(len(images)) // group_size
    same = group[:, None] == group
    within = square[same & ~torch.eye(len(images), dtype=torch.bool)]
    return float(within.mean().sqrt()), 1 - float(square[~same].mean().sqrt())


@pytest.mark.parametrize("cuts", [(), (1,), (5, 7), (4, 8)])
def test_sums_over_micro_batches_are_those_over_pairs(cuts):
    images = torch.rand(12, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    found = measure(images, 4, cuts)
    diversity, similarity = by_pairs(images, 4)
    assert found["diversity"] == pytest.approx(diversity, abs=1e-12)
    assert found["similarity"] == pytest.approx(similarity, abs=1e-12)


def test_large_images_are_compared_as_thumbnails():
    coarse = torch.rand(6, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    # A checkerboard that thumbnails average away.
    noise = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(32, 16)
    fine = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = measure(fine + noise, 3)
    diversity, similarity = by_pairs(coarse, 3)
    assert found["diversity"] == pytest.approx(diversity, abs=1e-6)
    assert found["similarity"] == pytest.approx(similarity, abs=1e-6)


def test_a_model_that_makes_one_image_has_no_diversity_and_is_all_alike():
    found = measure(torch.full((8, 3, 16, 16), 0.3), 4)
    assert found["diversity"] == pytest.approx(0, abs=1e-7)
    assert found["similarity"] == pytest.approx(1, abs=1e-7)
    assert found["saturated"] == 0


def test_one_image_a_prompt_has_no_diversity_and_one_prompt_no_similarity():
    images = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    assert math.isnan(measure(images, 1)["diversity"])
    assert math.isfinite(measure(images, 1)["similarity"])
    assert math.isnan(measure(images, 4)["similarity"])
    assert math.isfinite(measure(images, 4)["diversity"])


@pytest.mark.parametrize("cuts", [(), (1,), (5, 7)])
def test_means_and_deviations_are_those_over_images(cuts):
    images = torch.rand(12, 3, 8, 6, generator=torch.Generator().manual_seed(5))
    images *= torch.linspace(0, 1, 12).reshape(-1, 1, 1, 1)
    found, rows = measured(images, 4, cuts), look(images, images).measures
    for i, name in enumerate(MEASURES):
        assert found.values[name] == pytest.approx(float(rows[:, i].mean()), abs=1e-12)
        assert found.deviations[name] == pytest.approx(float(rows[:, i].std()), abs=1e-9)


def test_one_image_has_means_and_no_deviation():
    found = measured(torch.rand(1, 3, 8, 6), 4)
    assert all(math.isfinite(found.values[name]) for name in MEASURES)
    assert all(math.isnan(found.deviations[name]) for name in MEASURES)


def test_no_image_has_no_numbers():
    for found in (ImageStats(4).measure(alone), measured(torch.zeros(0, 3, 64, 64), 4)):
        assert set(found.values) == {"diversity", "similarity", *MEASURES}
        assert set(found.deviations) == set(MEASURES)
        every = (*found.values.values(), *found.deviations.values())
        assert all(math.isnan(value) for value in every)


def test_videos_are_compared_frame_by_frame():
    videos = torch.rand(6, 2, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    diversity, _ = by_pairs(videos, 3)
    assert measure(videos, 3)["diversity"] == pytest.approx(diversity, abs=1e-12)


def test_processes_that_share_the_groups_find_what_one_does():
    images = torch.rand(12, 3, 8, 6, generator=torch.Generator().manual_seed(4))
    parts = [ImageStats(4) for _ in range(3)]  # the last has no group
    for rank, groups in enumerate(([0, 2], [1])):
        for group in groups:
            key = torch.arange(4) + 4 * group
            parts[rank].see(look(images[key], images[key]), key)
    with ThreadPoolExecutor(3) as threads:
        together = Together(3)
        found = list(threads.map(lambda part: part.measure(together.gather(part)), parts))
    assert found[0] == found[1] == found[2]
    one = measured(images, 4)
    for mine, expected in (
        (found[0].values, one.values),
        (found[0].deviations, one.deviations),
    ):
        assert mine == {name: pytest.approx(value, abs=1e-9) for name, value in expected.items()}


class Together:
    """Threads that stand for processes: each waits for the others at every call."""

    def __init__(self, num):
        self.said = {}
        self.barrier = threading.Barrier(num)

    def gather(self, who):
        def of(local):
            self.said[id(who)] = local
            self.barrier.wait(60)
            rows = torch.cat([self.said[key] for key in sorted(self.said)])
            self.barrier.wait(60)
            return rows

        return of
