"""Several sources of prompts: whose groups an epoch has, and what scores them."""

from collections import Counter

import pytest

from zoo.data import prompts
from zoo.data.mixture import Mixture, Part, Source, deal, load
from zoo.prompt import Prompt

TRAIN, CAPTIONS = "builtin:digits/train", "builtin:digits/images?num=30"


def dealt(weights, groups, epochs=200):
    return [deal(weights, groups, seed=7, epoch=epoch) for epoch in range(epochs)]


@pytest.mark.parametrize("weights", [(2, 1), (0.2, 0.1), (200.0, 100.0)])
def test_shares_that_are_whole_groups_are_the_same_every_epoch(weights):
    assert dealt(weights, 9) == [[6, 3]] * 200


def test_other_shares_are_rounded_by_the_seed_and_right_on_average():
    weights, groups = (5, 1, 3, 0.5), 7
    found = dealt(weights, groups)
    assert {sum(sizes) for sizes in found} == {groups}
    for i, weight in enumerate(weights):
        share = groups * weight / sum(weights)
        sizes = {each[i] for each in found}
        assert sizes == {int(share), int(share) + 1}
        assert sum(each[i] for each in found) / len(found) == pytest.approx(share, abs=0.1)
    assert found == dealt(weights, groups)
    assert found != [deal(weights, groups, seed=8, epoch=epoch) for epoch in range(200)]


def test_a_list_of_one_source_draws_what_that_source_draws():
    alone = prompts.load(TRAIN)
    mixture = load([Source(TRAIN, ("data", "train", 0))])
    for epoch in (-1, 0, 5):
        expected = prompts.drawn(alone, 50, seed=3, epoch=epoch)
        assert mixture.drawn(50, seed=3, epoch=epoch) == expected


def test_each_source_is_drawn_in_an_order_of_its_own_and_knows_what_scores_it():
    sources = [
        Source(TRAIN, ("data", "train", 0), 2.0),
        Source(TRAIN, ("data", "train", 1), 1.0, frozenset({"digit"})),
    ]
    mixture = load(sources)
    drawn = mixture.drawn(60, seed=3, epoch=0)
    assert Counter(prompt.judged_by for prompt in drawn) == {None: 40, frozenset({"digit"}): 20}
    assert [prompt.text for prompt in drawn[:20]] != [prompt.text for prompt in drawn[40:]]
    assert (drawn[0].asks("judge"), drawn[-1].asks("judge"), drawn[-1].asks("digit")) == (
        True, False, True,
    )  # fmt: skip
    assert len(mixture.prompts) == 80


def test_a_source_of_a_small_share_may_have_no_group():
    mixture = Mixture((Part([Prompt("a")], 99.0), Part([Prompt("b")], 1.0)))
    drawn = [mixture.drawn(2, seed=0, epoch=epoch) for epoch in range(300)]
    texts = Counter(prompt.text for each in drawn for prompt in each)
    assert 0 < texts["b"] < 20
