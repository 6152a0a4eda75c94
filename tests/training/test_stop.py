"""The conditions that end a run, one by one."""

import pytest

from zoo.recipe.sections import ScoreTarget, StopWhen
from zoo.training import stop
from zoo.training.state import BestSoFar, Progress

PROGRESS = Progress(epoch=7, num_evals=5000, num_images=640, seconds=12.5)


@pytest.mark.parametrize(
    ("key", "enough", "more"),
    [("seconds", 12.5, 12.6), ("forwards", 5000, 5001), ("images", 640, 641)],
)
def test_a_budget_ends_the_run_once_it_is_spent(key, enough, more):
    end = stop.at_budget(StopWhen(**{key: enough}), PROGRESS, 8)
    assert (end.epoch, end.reason) == (7, key)
    assert key in end.text
    assert stop.at_budget(StopWhen(**{key: more}), PROGRESS, 8) is None


def test_without_conditions_nothing_ends_it():
    record = {"eval/judge": 1.0, "monitor/drift": 9.0}
    for none in (None, StopWhen()):
        assert stop.at_budget(none, PROGRESS, 8) is None
        assert stop.at_evaluation(none, PROGRESS, record) is None


@pytest.mark.parametrize(("score", "ends"), [(0.89, False), (0.9, True), (float("nan"), False)])
def test_a_target_ends_it_once_it_is_reached(score, ends):
    when = StopWhen(target=ScoreTarget(label="judge", at_least=0.9))
    end = stop.at_evaluation(when, PROGRESS, {"eval/judge": score})
    assert (end is not None) == ends
    if end is not None:
        assert (end.reason, end.text) == ("target", "eval/judge is 0.9, at least 0.9")


@pytest.mark.parametrize(("drift", "ends"), [(0.5, False), (0.51, True), (float("nan"), False)])
def test_a_drift_past_the_bound_ends_it(drift, ends):
    end = stop.at_evaluation(StopWhen(drift=0.5), PROGRESS, {"monitor/drift": drift})
    assert (end is not None) == ends
    if end is not None:
        assert end.reason == "drift"


def test_a_falling_held_out_score_ends_it():
    for falling, ends in ((1, False), (2, True), (3, True)):
        watched = BestSoFar(3, 0.8, 0.01, falling)
        progress = Progress(epoch=7, watched=watched)
        end = stop.at_evaluation(StopWhen(falling=2), progress, {})
        assert (end is not None) == ends
        if end is not None:
            assert end.reason == "falling"
            assert "0.8 after epoch 3" in end.text


def test_a_record_of_an_older_run_without_such_numbers_ends_nothing():
    when = StopWhen(target=ScoreTarget(label="judge", at_least=0.9), drift=0.5)
    assert stop.at_evaluation(when, PROGRESS, {"eval/digit": 1.0}) is None
