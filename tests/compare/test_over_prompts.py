"""Intervals over seeds and prompts at once, against every resample of both written out."""

import itertools
import math
from dataclasses import replace
from statistics import fmean

import pytest

from tests.compare.test_results import comparison, run
from tests.compare.test_statistics import percentiles
from zoo.compare.over_prompts import difference_over_prompts, final_over_prompts
from zoo.compare.page_pairs import pairs
from zoo.compare.page_tables import verdict
from zoo.compare.results import as_json
from zoo.report.page import Table
from zoo.run.evaluations import EvaluationRecord, PromptKinds


def judged(by_prompt, *, texts=None, tags=None, label="judge", **extra):
    """A run whose last evaluation has these scores of each prompt's images."""
    num = len(by_prompt)
    texts, tags = texts or range(num), tags or [None] * num
    scores = tuple(score for images in by_prompt for score in images)
    valid = [score for score in scores if not math.isnan(score)]
    last = EvaluationRecord(
        1, len(by_prompt[0]), {"judge": False}, {label: scores, **extra}, (), 0,
        kinds=PromptKinds(tuple(texts), tuple(tags)),
    )  # fmt: skip
    return replace(run((0, 0.0), (100, fmean(valid))), evaluations=(last,))


def means(by_prompt, places):
    """The mean over the images of these prompts."""
    return fmean(score for i in places for score in by_prompt[i])


def resamples(of_seeds, statistic):
    """The mean over seeds for every choice of as many seeds and as many prompts, with returns."""
    seeds, prompts = range(len(of_seeds)), range(len(of_seeds[0]))
    return [
        fmean(statistic(of_seeds[seed], places) for seed in chosen)
        for chosen in itertools.product(seeds, repeat=len(seeds))
        for places in itertools.product(prompts, repeat=len(prompts))
    ]


EASY, HARD = [[0.5, 0.75], [0.0, 0.25], [1.0, 0.5]], [[0.25, 0.0], [0.25, 0.0], [1.0, 1.0]]


def test_the_interval_is_that_of_all_resamples_of_seeds_and_of_prompts():
    found = final_over_prompts([judged(EASY), judged(HARD)], "judge")
    assert found.value == pytest.approx(fmean([means(EASY, range(3)), means(HARD, range(3))]))
    # Of 10,000 draws; the least of 108 resamples alike is as likely as 1 in 27 or more.
    assert (found.low, found.high) == pytest.approx(percentiles(resamples([EASY, HARD], means)))
    assert (found.num, found.num_finite) == (2, 2)


def test_of_one_seed_it_is_over_prompts():
    found = final_over_prompts([judged(EASY)], "judge")
    assert (found.low, found.high) == pytest.approx(percentiles(resamples([EASY], means)))


def test_prompts_of_one_text_are_one():
    """Of two texts three resamples are different, of three prompts ten."""
    found = final_over_prompts([judged(HARD, texts=(0, 0, 2))], "judge")
    assert (found.low, found.high) == pytest.approx((0.125, 1.0))
    assert found.value == pytest.approx(2.5 / 6)


def test_prompts_are_resampled_within_their_kind_and_kinds_count_the_same():
    tags = ("colors", "colors", "position")
    (one,) = runs = [judged(HARD, tags=tags)]
    assert final_over_prompts(runs, "judge/colors").value == pytest.approx(0.125)
    assert final_over_prompts(runs, "judge/position").value == 1.0
    found = final_over_prompts(runs, "judge/mean_of_tags")
    # Both of colours are alike, and position has but one: nothing moves.
    assert (found.low, found.value, found.high) == pytest.approx((0.5625, 0.5625, 0.5625))
    assert final_over_prompts([one], "judge").high == 1.0


def test_what_is_hard_for_both_is_no_part_of_the_difference():
    better = [[score + 0.25 for score in images] for images in EASY]
    both = [(judged(better), judged(EASY)), (judged(better), judged(EASY))]
    found = difference_over_prompts(both, "judge")
    assert (found.low, found.value, found.high) == pytest.approx((0.25, 0.25, 0.25))
    found = difference_over_prompts([(judged(HARD), judged(EASY))], "judge")
    apart = [
        [one - two for one, two in zip(*row, strict=True)] for row in zip(HARD, EASY, strict=True)
    ]
    assert (found.low, found.high) == pytest.approx(percentiles(resamples([apart], means)))


def test_images_without_a_score_are_left_out():
    nan = math.nan
    some = [[0.5, nan], [nan, nan], [1.0, 0.0]]
    found = final_over_prompts([judged(some)], "judge")
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (0.5, 0.5)
    found = final_over_prompts([judged([[0.25, nan], [nan, nan], [1.0, 1.0]])], "judge")
    assert (found.low, found.high) == (0.25, 1.0)


def test_nothing_is_said_where_prompts_are_not_known_or_not_the_same():
    one = judged(EASY)
    last = one.evaluations[-1]
    unknown = replace(one, evaluations=(replace(last, kinds=None),))
    earlier = replace(one, evaluations=(replace(last, epoch=0),))  # the last file is damaged
    others = judged(EASY, texts=(0, 0, 2))
    unscored = judged([[math.nan] * 2] * 2 + [[1.0, 1.0]], tags=("a", "a", "b"))
    for runs in ([unknown], [one, unknown], [one, earlier], [one, others], []):
        assert final_over_prompts(runs, "judge").num == 0
    assert final_over_prompts([replace(one, metrics=())], "judge").num == 0
    assert final_over_prompts([one], "other").num == 0
    assert final_over_prompts([one], "judge/colors").num == 0
    assert final_over_prompts([unscored, judged(EASY, tags=("a", "a", "b"))], "judge").num == 2
    assert final_over_prompts([unscored], "judge/a").num == 0
    assert difference_over_prompts([], "judge").num == 0


def tables(section):
    return [block for block in section.blocks if isinstance(block, Table)]


def test_the_report_has_them_where_runs_say_of_which_prompts_they_are():
    made = comparison(easy=[judged(EASY)] * 2, hard=[judged(HARD)] * 2)
    _, over, *_ = tables(verdict(made))
    assert "over seeds and prompts" in over.caption
    assert over.rows[0] == ("easy", "0.500 [0.125, 0.750]")
    (to_first,) = pairs(made)
    assert to_first.head[2] == "over prompts too"
    assert to_first.rows[0][2] == "[-0.50, +0.25]"
    found = as_json(made)["contenders"]["hard"]["final_over_prompts"]["judge"]
    assert found["value"] == pytest.approx(2.5 / 6)
    plain = comparison(easy=[run((0, 0.1), (9, 0.5))] * 2, hard=[run((0, 0.1), (9, 0.4))] * 2)
    assert not any("prompts at once" in table.caption for table in tables(verdict(plain)))
