"""Every metric has a group, and those that have one keep it."""

import pytest

from zoo.tracker.groups import grouped, grouped_record


@pytest.mark.parametrize("name", ["loss", "reward", "what_a_plugin_says"])
def test_a_metric_is_of_training_by_default(name):
    assert grouped(name) == f"train/{name}"


def test_what_counts_and_what_times_have_groups_of_their_own():
    assert grouped("num_images") == "progress/num_images"
    assert grouped("peak_memory_gb") == "speed/peak_memory_gb"


@pytest.mark.parametrize("name", ["reward/digit", "eval/judge/distance_to_data"])
def test_a_metric_that_has_a_group_keeps_it(name):
    assert grouped(name) == name


def test_an_epoch_is_the_axis_and_no_metric():
    assert grouped_record({"epoch": 3, "loss": 1.0}) == {"train/loss": 1.0}
