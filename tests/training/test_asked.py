"""Sources with rewards of their own: what scores an image, and what it is compared with."""

from copy import copy
from dataclasses import replace

import pytest
import torch

from tests.runs import ROOT
from tests.runs import metrics as lines_of
from tests.train_here import recipe, train_here
from zoo.advantage import group_advantage
from zoo.data import digits
from zoo.engine.interrupt import Interrupt
from zoo.recipe.sections import Advantage
from zoo.run.evaluations import read_epoch
from zoo.run.tracker import Tracker
from zoo.training import metrics
from zoo.training.asked import alike, asked_of, weighted_sum
from zoo.training.build import build
from zoo.training.collect import shard_groups
from zoo.training.epoch import advantages, collect_epoch, groups_of, judged

LABELS = {"digit", "diversity"}


def mixture(**changes):
    """A short run on sources with rewards of their own."""
    return recipe(
        ROOT / "recipes" / "nft_digits_mixture.yaml", epochs=2, sampler__steps=2,
        data__groups_per_epoch=6, data__group_size=3, optim__updates_per_epoch=1,
        eval__images_per_prompt=2, eval__steps=2, advantage="{mix: sum, std: global}", **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stage():
    return build(mixture()).stages[0]


@pytest.fixture(scope="module")
def collected(stage, tmp_path_factory):
    tracker = Tracker(tmp_path_factory.mktemp("run"))
    return collect_epoch(stage, 0, tracker, Interrupt(stage.model.engine, print))


def test_a_reward_scores_the_images_of_its_sources_alone_and_the_rest_is_no_failure(collected):
    scores = collected.verdict.scores
    assert set(scores) == LABELS
    assert not scores["digit"].isnan().any()
    assert scores["diversity"].isnan().tolist() == [True] * 12 + [False] * 6
    assert collected.asked["diversity"].tolist() == [False] * 12 + [True] * 6
    assert collected.verdict.failures == ()
    assert not metrics.invalid(collected).any()


def test_a_group_has_the_sum_of_what_scores_it_and_is_measured_among_its_like(stage, collected):
    scores, group = collected.verdict.scores, collected.group
    mixed = scores["digit"] + 0.3 * scores["diversity"].nan_to_num()
    torch.testing.assert_close(judged(stage, collected).reward, mixed)
    first, second = (group_advantage(mixed[rows], group[rows])
                     for rows in (slice(0, 12), slice(12, 18)))  # fmt: skip
    torch.testing.assert_close(advantages(stage, collected), torch.cat([first, second]))


@pytest.mark.parametrize("mix", ["sum", "gdpo"])
def test_sources_without_rewards_are_one_batch_as_a_plain_source_is(stage, collected, mix):
    every = torch.ones(18, dtype=torch.bool)
    scores = {**collected.verdict.scores, "diversity": torch.linspace(0, 1, 18).double()}
    verdict = replace(collected.verdict, scores=scores)
    whole = replace(collected, verdict=verdict, asked=dict.fromkeys(LABELS, every))
    options = Advantage(mix=mix, std="none")
    changed = stage.recipe.model_copy(update={"advantage": options})
    found = advantages(replace(stage, stage=replace(stage.stage, recipe=changed)), whole)
    assert [rows.tolist() for rows, _ in alike(whole.asked)] == [list(range(18))]
    assert not found.isnan().any()


def test_means_are_of_the_images_that_were_scored_and_groups_are_counted(stage, collected):
    record = metrics.rewards(collected, stage.collector.judge.weights)
    scores = collected.verdict.scores
    assert record["reward/diversity"] == pytest.approx(float(scores["diversity"][12:].mean()))
    assert record["reward/digit"] == pytest.approx(float(scores["digit"].mean()))
    assert not any(key.startswith("invalid/") for key in record)
    assert metrics.groups(stage, 0) == {"groups/0": 4, "groups/1": 2}


def test_a_reward_without_an_image_in_an_epoch_says_nothing(stage, collected):
    none = {**collected.asked, "diversity": torch.zeros(18, dtype=torch.bool)}
    scores = {**collected.verdict.scores, "diversity": torch.full((18,), torch.nan).double()}
    alone = replace(collected, asked=none, verdict=replace(collected.verdict, scores=scores))
    record = metrics.rewards(alone, stage.collector.judge.weights)
    assert "reward/diversity" not in record
    assert record["reward"] == pytest.approx(record["reward/digit"])


def test_what_no_reward_was_to_score_has_no_sum():
    prompts = [replace(p, judged_by=frozenset({"a"})) for p in digits.prompts("train")[:2]]
    asked = asked_of(["a", "b"], prompts, torch.tensor([0, 1]))
    scores = {"a": torch.tensor([1.0, 2.0]), "b": torch.full((2,), torch.nan)}
    assert weighted_sum(scores, {"a": 2.0, "b": 1.0}, asked).tolist() == [2.0, 4.0]
    assert weighted_sum(scores, {"b": 1.0}, asked).isnan().all()


def test_processes_make_and_score_the_same_images(stage, collected):
    scores = torch.full((18,), torch.nan, dtype=torch.float64)
    for rank in range(4):  # of 6 groups: two have 2, and two have 1
        engine = copy(stage.collector.engine)
        engine.rank, engine.size = rank, 4
        share = shard_groups(replace(stage.collector, engine=engine), groups_of(stage, 0))
        engine.size = 1
        own = share.wanted.key
        verdict = collect_alone(share)
        scores[own] = verdict["diversity"]
    expected = collected.verdict.scores["diversity"]
    torch.testing.assert_close(scores, expected, equal_nan=True, atol=1e-4, rtol=1e-4)


def collect_alone(share):
    """One process's scores, in the order of its keys."""
    judge, key = share.collector.judge, share.wanted.key
    rows = []
    for batch in share.generate():
        group = key[batch.rows] // share.groups.size
        judge.submit(batch.images, share.wanted.prompts_of(batch.rows), group)
        rows.append(batch.rows)
    order = torch.cat(rows).argsort()
    return {label: score[order] for label, score in judge.finish().scores.items()}


@pytest.mark.slow
def test_a_run_evaluates_each_source_by_its_rewards(tmp_path):
    held_out = (
        "[{source: builtin:digits/eval, rewards: [digit, judge]}, "
        "{source: 'builtin:digits/images?num=4', rewards: [diversity]}]"
    )
    train_here(mixture(data__eval=held_out, eval__every=2), tmp_path)
    lines = lines_of(tmp_path)
    assert [(line["groups/0"], line["groups/1"]) for line in lines[1:]] == [(4, 2), (4, 2)]
    found = read_epoch(tmp_path, 2)
    digit, diversity = found.scores["digit"], found.scores["diversity"]
    assert [value == value for value in digit] == [True] * 20 + [False] * 8
    assert [value == value for value in diversity] == [False] * 20 + [True] * 8
    assert lines[-1]["eval/digit"] == pytest.approx(sum(digit[:20]) / 20, rel=1e-4)
