"""Every metric has a group, and those that have one keep it."""

import pytest

from zoo.tracker.groups import grouped, grouped_record


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("loss", "train/loss"),
        ("reward", "train/reward"),
        ("what_a_plugin_says", "train/what_a_plugin_says"),
        ("num_images", "progress/num_images"),
        ("peak_memory_gb", "speed/peak_memory_gb"),
        ("reward/digit", "reward/digit"),
        ("eval/judge/distance_to_data", "eval/judge/distance_to_data"),
    ],
)
def test_a_metric_is_in_a_group(name, shown):
    assert grouped(name) == shown


def test_an_epoch_is_the_axis_and_no_metric():
    assert grouped_record({"epoch": 3, "loss": 1.0}) == {"train/loss": 1.0}
