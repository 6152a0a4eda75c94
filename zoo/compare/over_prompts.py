"""How far other seeds and other prompts could have moved a last score: intervals over both at once.

All runs are judged by the same prompts, so what these have easier is in every seed, and an interval
over seeds does not know of it. Here seeds and prompts are resampled independently, each as a whole
(Owen 2007, "The pigeonhole bootstrap", doi 10.1214/07-AOAS122), which gives intervals that are a
little too wide rather than too narrow (Owen and Eckles 2012, doi 10.1214/12-AOAS547). Prompts of
one text are one; those of a kind are resampled among themselves, so that a mean over kinds has all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float64
from numpy.typing import NDArray

from zoo.compare.statistics import LEVEL, NUM_DRAWN, Interval
from zoo.run.record import RunRecord
from zoo.seeds import Draws
from zoo.training.standard_errors import MEAN_OF_TAGS

_NONE = Interval(math.nan, math.nan, math.nan, 0, 0)

_Draws = Float64[np.ndarray, "draws seeds"]
"""A score of each seed by each resample of the prompts."""


@dataclass(frozen=True)
class _Kind:
    """The prompts of one kind, a row a text: the sum of each one's scores, and how many it has."""

    texts: tuple[int, ...]
    sums: Float64[np.ndarray, " texts"]
    nums: Float64[np.ndarray, " texts"]


def final_over_prompts(runs: Sequence[RunRecord], label: str) -> Interval:
    """The mean over seeds of the last evaluation's `eval/<label>`.

    All is NaN where the runs do not say of which prompts their scores are, as runs of an earlier
    version do not, or where they are of different ones.
    """
    scores = [_scored(run, label) for run in runs]
    drawn = _resample(scores)
    return _NONE if drawn is None else _interval(drawn, [_of_all(kinds) for kinds in scores])


def difference_over_prompts(pairs: Sequence[tuple[RunRecord, RunRecord]], label: str) -> Interval:
    """The mean over seeds of how far the first of a pair ends above the second; else as above.

    Both are judged by the same resampled prompts, so what is hard for both is no part of it.
    """
    firsts, seconds = ([_scored(pair[i], label) for pair in pairs] for i in (0, 1))
    drawn = _resample([*firsts, *seconds])
    if drawn is None:
        return _NONE
    num = len(pairs)
    values = [_of_all(one) - _of_all(two) for one, two in zip(firsts, seconds, strict=True)]
    return _interval(drawn[:, :num] - drawn[:, num:], values)


def _scored(run: RunRecord, label: str) -> list[_Kind]:
    """What the run's last evaluation has of a label, by kind of prompt; nothing where unknown."""
    last = run.evaluations[-1] if run.evaluations and run.evaluated else None
    if last is None or last.kinds is None or last.epoch != run.evaluated[-1].get("epoch"):
        return []
    stem, _, part = label.rpartition("/")
    tags = np.array([tag or "" for tag in last.kinds.tag])
    every = np.full(len(tags), True)
    if label in last.scores:
        masks = [every]
    elif part == MEAN_OF_TAGS:
        masks = [tags == tag for tag in dict.fromkeys(last.kinds.tag) if tag]
    else:
        masks = [tags == part]
    values = last.scores.get(label, last.scores.get(stem, ()))
    by_prompt = np.array(values, dtype=float).reshape(-1, last.images_per_prompt)
    if len(by_prompt) != len(tags):
        return []
    text = np.array(last.kinds.text)
    kinds = [_kind(text[mask], by_prompt[mask]) for mask in masks]
    return [kind for kind in kinds if kind.nums.sum() > 0]


def _kind(text: NDArray[np.int64], by_prompt: NDArray[np.float64]) -> _Kind:
    found, place = np.unique(text, return_inverse=True)
    sums, nums = np.zeros(len(found)), np.zeros(len(found))
    np.add.at(sums, place, np.nansum(by_prompt, axis=1))
    np.add.at(nums, place, (~np.isnan(by_prompt)).sum(axis=1))
    return _Kind(tuple(found.tolist()), sums, nums)


def _of_all(kinds: list[_Kind]) -> float:
    """The mean over kinds of the means over images."""
    return math.fsum(kind.sums.sum() / kind.nums.sum() for kind in kinds) / len(kinds)


def _resample(scores: list[list[_Kind]]) -> _Draws | None:
    """What each would be by other prompts of the same kinds; none where they are not the same."""
    asked = {tuple(kind.texts for kind in kinds) for kinds in scores}
    if len(asked) != 1 or not all(scores):
        return None
    total = np.zeros((NUM_DRAWN, len(scores)))
    for i, of_runs in enumerate(zip(*scores, strict=True)):
        often = _often(f"prompts {i}", len(of_runs[0].texts))
        sums = np.stack([kind.sums for kind in of_runs], axis=1)
        nums = np.stack([kind.nums for kind in of_runs], axis=1)
        with np.errstate(invalid="ignore"):
            # Of prompts that have no valid score there is no mean.
            total += (often @ sums) / (often @ nums)
    return total / len(scores[0])


def _interval(drawn: _Draws, values: list[float]) -> Interval:
    """Of the mean over seeds, which are resampled as well; of one seed over prompts alone."""
    num = len(values)
    means = (drawn * _often("seeds", num)).sum(1) / num
    means = means[np.isfinite(means)]
    ends = [(1 + sign * LEVEL) / 2 for sign in (-1, 1)]
    low, high = np.quantile(means, ends, method="inverted_cdf").tolist()
    return Interval(math.fsum(values) / num, low, high, num, num)


@cache
def _often(what: str, num: int) -> Float64[np.ndarray, "draws num"]:
    """How often each of so many is in each resample of as many."""
    drawn = Draws(0, "bootstrap", 0, torch.arange(NUM_DRAWN)).at(what).uniform((num,))
    places = (drawn.numpy() * num).astype(int).clip(max=num - 1)
    return np.stack([np.bincount(row, minlength=num) for row in places]).astype(float)
