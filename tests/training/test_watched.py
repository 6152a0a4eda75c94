"""The best evaluation so far, and how long the score has been below it."""

import math

from zoo.training.state import BestSoFar


def after(*scores, error=0.01):
    watched = BestSoFar()
    for epoch, score in enumerate(scores):
        watched = watched.after(epoch, score, error)
    return watched


def test_the_best_is_the_first_of_the_highest():
    assert after(0.2, 0.5, 0.5, 0.4).best_epoch == 1
    assert after(0.2, 0.5, 0.6).best == 0.6


def test_falling_counts_evaluations_in_a_row_below_the_best_by_more_than_its_error():
    assert after(0.5, 0.48, 0.47).num_falling == 2
    assert after(0.5, 0.48, 0.495, 0.48).num_falling == 1  # within the error in between
    assert after(0.5, 0.48, 0.6).num_falling == 0


def test_without_an_error_every_fall_counts():
    assert after(0.5, 0.4999, error=math.nan).num_falling == 1


def test_a_score_that_is_nan_tells_nothing():
    assert after(math.nan) == BestSoFar()
    assert after(0.5, 0.4, math.nan) == after(0.5, 0.4)
