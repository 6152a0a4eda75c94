"""Means and clustered errors against sums written out in Python, and what tags add."""

import math
import statistics

import pytest
import torch

from zoo.prompt import Prompt
from zoo.training.standard_errors import estimate, metrics, summaries

NAN = math.nan


def written_out(values, clusters):
    """The mean and its error of the module's formula, in Python's own floats."""
    valid = [(v, c) for v, c in zip(values, clusters, strict=True) if v == v]
    mean = sum(v for v, _ in valid) / len(valid)
    sums = {}
    for v, c in valid:
        sums[c] = sums.get(c, 0.0) + (v - mean)
    count = len(sums)
    variance = count / (count - 1) * sum(s * s for s in sums.values()) / len(valid) ** 2
    return mean, math.sqrt(variance)


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_error_of_uneven_clusters_is_that_of_the_formula():
    draw = torch.Generator().manual_seed(3)
    clusters = torch.randint(0, 7, (60,), generator=draw)
    values = clusters.double() + torch.randn(60, generator=draw, dtype=torch.float64)
    values[::9] = NAN
    found = estimate(values, clusters)
    mean, error = written_out(values.tolist(), clusters.tolist())
    assert found.mean == pytest.approx(mean, rel=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-12)
    assert (found.num_images, found.num_invalid) == (60, 7)


def test_of_equally_many_images_it_is_the_error_of_the_prompts_means():
    values = doubles(1, 3, 2, 6, 9, 9)
    found = estimate(values, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert found.mean == 5
    assert found.standard_error == pytest.approx(statistics.stdev([2, 4, 9]) / math.sqrt(3))


def test_one_image_a_prompt_gives_the_usual_error():
    values = [0.1, 0.5, 0.2, 0.9]
    found = estimate(doubles(*values))
    assert found.standard_error == pytest.approx(statistics.stdev(values) / 2)


def test_more_images_of_the_same_prompts_do_not_shrink_the_error_of_prompts_that_differ():
    once = estimate(doubles(0, 1, 2, 3))
    again = doubles(0, 1, 2, 3).repeat_interleave(50)
    many = estimate(again, torch.arange(4).repeat_interleave(50))
    assert many.standard_error == pytest.approx(once.standard_error)
    assert estimate(again).standard_error < once.standard_error / 5


def test_one_prompt_has_a_mean_and_no_error_and_no_valid_image_neither():
    one = estimate(doubles(1, 2), torch.tensor([4, 4]))
    assert one.mean == 1.5
    assert math.isnan(one.standard_error)
    none = estimate(doubles(NAN, NAN), torch.tensor([0, 1]))
    assert math.isnan(none.mean)
    assert math.isnan(none.standard_error)
    assert none.num_invalid == 2
    half = estimate(doubles(NAN, NAN, 1, 1), torch.tensor([0, 0, 1, 1]))
    assert math.isnan(half.standard_error)  # only one prompt was scored


TAGGED = [
    Prompt("a", {"tag": "count"}),
    Prompt("b", {"tag": "count"}),
    Prompt("c", {"tag": "color"}),
    Prompt("d", {}),
]
GROUP = torch.arange(4).repeat_interleave(2)


def test_tags_have_means_of_their_own_and_count_the_same_in_the_mean_of_tags():
    values = doubles(1, 1, 1, 0, 0, 0, 1, 1)
    found = summaries({"right": values}, TAGGED, GROUP)["right"]
    assert found.overall.mean == 5 / 8
    assert {tag: each.mean for tag, each in found.tags.items()} == {"count": 0.75, "color": 0}
    assert found.mean_of_tags.mean == 0.375
    assert found.mean_of_tags.num_images == 6  # the prompt without a tag is in none
    assert metrics({"right": found}) == {
        "right": 5 / 8,
        "right/count": 0.75,
        "right/color": 0.0,
        "right/mean_of_tags": 0.375,
    }


def test_the_error_of_the_mean_of_tags_is_of_independent_tags():
    prompts = [Prompt(str(i), {"tag": "x" if i < 3 else "y"}) for i in range(6)]
    values = doubles(1, 2, 4, 0, 5, 7)
    found = summaries({"s": values}, prompts, torch.arange(6))["s"]
    errors = [statistics.stdev(part) / math.sqrt(3) for part in ([1, 2, 4], [0, 5, 7])]
    assert found.mean_of_tags.standard_error == pytest.approx(math.hypot(*errors) / 2)


def test_a_tag_without_a_valid_image_leaves_no_mean_of_tags():
    values = doubles(1, 1, 1, 0, NAN, NAN, 1, 1)
    found = summaries({"right": values}, TAGGED, GROUP)["right"]
    assert math.isnan(found.mean_of_tags.mean)
    assert found.tags["count"].mean == 0.75
    assert found.tags["color"].num_invalid == 2


def test_a_number_that_a_reward_records_by_tag_is_not_cut_again():
    values = doubles(1, 1, 1, 0, 0, 0, 1, 1)
    counted = values.clone()
    counted[4:] = NAN
    found = summaries({"r/right": values, "r/right/count": counted}, TAGGED, GROUP)
    assert found["r/right/count"].tags == {}
    assert metrics(found) == {
        "r/right": 5 / 8,
        "r/right/count": 0.75,
        "r/right/color": 0.0,
        "r/right/mean_of_tags": 0.375,
    }


def test_without_tags_there_are_the_means_alone():
    prompts = [Prompt("a"), Prompt("b", {"category": "places"})]
    found = summaries({"s": doubles(1, 2), "t": doubles(0, NAN)}, prompts, torch.arange(2))
    assert metrics(found) == {"s": 1.5, "t": 0.0}


def test_a_tag_of_each_prompts_own_is_no_kind():
    prompts = [Prompt(str(i), {"tag": i}) for i in range(60)]
    found = summaries({"s": torch.rand(60).double()}, prompts, torch.arange(60))
    assert found["s"].tags == {}


def test_prompts_of_one_text_are_one_cluster():
    prompts = [Prompt("a"), Prompt("a"), Prompt("b")]
    found = summaries({"s": doubles(1, 3, 8)}, prompts, torch.arange(3))["s"].overall
    assert (found.mean, found.standard_error) == pytest.approx(
        written_out([1.0, 3.0, 8.0], [0, 0, 1])
    )


def test_a_score_is_of_the_prompts_that_ask_for_it_and_of_their_tags():
    prompts = [
        Prompt("a", {"tag": "x"}, judged_by=frozenset({"r"})),
        Prompt("b", {"tag": "y"}, judged_by=frozenset({"r"})),
        Prompt("c", judged_by=frozenset({"s"})),
    ]
    scores = {"r": doubles(1, NAN, NAN), "r/part": doubles(3, 5, NAN), "s": doubles(NAN, NAN, 7)}
    found = summaries(scores, prompts, torch.arange(3))
    assert (found["r"].overall.num_images, found["r"].overall.num_invalid) == (2, 1)
    assert set(found["r"].tags) == {"x", "y"}
    assert found["r/part"].overall.mean == 4
    assert found["s"].overall.num_images == 1
    assert (found["s"].tags, found["s"].mean_of_tags) == ({}, None)
