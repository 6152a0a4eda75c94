"""Speeds are FLOPs by seconds, of the average process."""

import pytest

from zoo.training.work import Work, speeds

EVALS = {"collect": 100, "learn": 30}
SECONDS = {"collect": 4.0, "learn": 5.0}


def test_a_rate_is_of_each_phase():
    work = Work(forward=1e12, gradient=4e12, graded=1 / 3, reachable=25e12)
    found = speeds(work, EVALS, SECONDS, processes=2)
    assert found == pytest.approx({
        "tflops/collect": 12.5, "tflops/learn": 6.0, "mfu/collect": 0.5, "mfu/learn": 0.24,
    })  # fmt: skip


def test_what_is_not_known_is_not_said():
    found = speeds(Work(1e12, 3e12, 1.0), {**EVALS, "learn": 0}, SECONDS, 1)
    assert found == {"tflops/collect": 25.0}
