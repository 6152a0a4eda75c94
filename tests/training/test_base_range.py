"""When images have left the range of those before training, on lines with known numbers."""

from zoo.training.base_range import MARGIN, WATCHED, base_ranges, newly_departed


def line(epoch, **changed):
    """An evaluation where every mean is 0.5 and every deviation 0.1, but for what is changed."""
    means = dict.fromkeys(WATCHED, 0.5) | changed
    return {
        "epoch": epoch,
        **{f"monitor/{name}": value for name, value in means.items()},
        **{f"monitor_std/{name}": 0.1 for name in means},
    }


FIRST = line(0)
NEAR, FAR = 0.5 + 0.099 * MARGIN, 0.5 + 0.101 * MARGIN


def names(departed):
    return [one.measure for one in departed]


def test_a_mean_is_out_of_the_range_beyond_the_margin_on_either_side():
    assert newly_departed([FIRST], line(5, brightness=NEAR)) == []
    (one,) = newly_departed([FIRST], line(5, brightness=FAR))
    assert (one.measure, one.now) == ("brightness", FAR)
    assert abs(one.low - (0.5 - 0.1 * MARGIN)) < 1e-12
    assert abs(one.high - (0.5 + 0.1 * MARGIN)) < 1e-12
    assert names(newly_departed([FIRST], line(5, edge_density=1 - FAR))) == ["edge_density"]


def test_every_measure_is_watched():
    assert names(newly_departed([FIRST], line(5, **dict.fromkeys(WATCHED, 0)))) == list(WATCHED)


def test_it_is_told_when_a_measure_leaves_and_not_while_it_is_out():
    seen = [FIRST, line(5), {"epoch": 6, "reward": 1.0}]
    out, both = line(10, brightness=FAR), line(15, brightness=FAR, latent_square=FAR)
    assert names(newly_departed(seen, out)) == ["brightness"]
    assert newly_departed([*seen, out], out) == []
    assert names(newly_departed([*seen, out], both)) == ["latent_square"]
    assert names(newly_departed([*seen, out, line(15)], out)) == ["brightness"]


def test_the_deviation_is_that_before_training():
    wide = line(5) | {"monitor_std/brightness": 9.0}
    assert names(newly_departed([FIRST, wide], line(10, brightness=FAR))) == ["brightness"]


def test_nothing_is_said_without_numbers():
    older = {key: value for key, value in FIRST.items() if not key.startswith("monitor_std/")}
    out = line(10, brightness=FAR)
    # A run of an earlier version that goes on: its first deviations are not those of the base.
    for seen in ([], [older], [older, line(5)], [{"epoch": 1, "loss": 0.1}]):
        assert newly_departed(seen, out) == []
        assert base_ranges(seen) == {}
    assert newly_departed([FIRST], older | {"epoch": 5, "monitor/brightness": None}) == []
    unknown = FIRST | {"monitor_std/brightness": None, "monitor/edge_density": None}
    assert set(base_ranges([unknown])) == {"colour_entropy", "latent_square"}
