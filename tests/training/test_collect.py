"""Collecting and generating: who makes which image, in what batches, and what becomes of each."""

import time
from copy import copy
from dataclasses import replace

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import images_of, recipe
from zoo.policy.weight_copies import Networks
from zoo.reward.reward_thread import MOST_HELD
from zoo.rollout import Weights
from zoo.training.build import build
from zoo.training.collect import Groups, collect, shard_groups
from zoo.training.epoch import groups_of

SHORT = {"sampler__steps": 2, "engine__micro_batch__sample": 5}


@pytest.fixture(scope="module")
def stage():
    return build(recipe(RECIPES["nft"], **SHORT)).stages[0]


def groups(stage, num=3, size=4, **changes):
    asked = Groups(stage.mixture.prompts[:num], size, Weights.LIVE, 1, "collect", 0)
    return replace(asked, **changes)


def on(collector, rank, size):
    """The same collector as one of several processes has it; no process is started."""
    engine = copy(collector.engine)
    engine.rank, engine.size = rank, size
    return replace(collector, engine=engine)


def test_an_image_has_its_groups_prompt_and_a_score_at_its_key(stage):
    share = shard_groups(stage.collector, groups(stage))
    images = {}
    collected = collect(share, images_of(share.generate(), images))
    assert sorted(images) == collected.rollout.key.tolist() == list(range(12))
    assert (
        collected.group.tolist() == collected.rollout.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    )
    digit = stage.collector.judge.rewards[0].reward
    expected = [
        float(digit.score(images[key][None], [stage.mixture.prompts[key // 4]]))
        for key in range(12)
    ]
    assert collected.verdict.scores["digit"].tolist() == pytest.approx(expected, abs=1e-5)
    assert collected.out_of_range + 1 >= 0
    # Two steps of a solver with one forward a step.
    assert (collected.num_evals, collected.num_broken) == (12 * 2, 0)


def test_so_many_batches_are_made_as_are_announced_and_of_one_size(stage):
    share = shard_groups(stage.collector, groups(stage))
    sizes = [len(batch.rows) for batch in share.generate()]
    assert (share.num_batches, sizes) == (3, [4, 4, 4])  # not 5, 5 and 2


def test_images_do_not_heap_up_where_the_reward_is_slower(stage, monkeypatch):
    share, made, ahead = shard_groups(stage.collector, groups(stage, size=10)), [], []
    batches = list(share.generate())

    def score(images, prompts):
        time.sleep(0.3)
        ahead.append(len(made))
        return images.mean(dim=(1, 2, 3))

    digit = stage.collector.judge.rewards[0].reward
    monkeypatch.setattr(digit, "score", score)
    collect(share, (made.append(1) or batch for batch in batches))
    # Besides those that are held the one that waits for room.
    most = [min(6, i + MOST_HELD + 1) for i in range(6)]
    assert all(number <= bound for number, bound in zip(ahead, most, strict=True))


def test_processes_share_the_groups_and_run_as_many_batches_each(stage):
    keys, counts = [], set()
    for rank in range(2):
        share = shard_groups(on(stage.collector, rank, 2), groups(stage))
        batches = list(share.generate())
        counts.add(len(batches))
        assert len(batches) == share.num_batches
        keys += [key for batch in batches for key in batch.key.tolist()]
    assert counts == {2}
    assert sorted(keys) == list(range(12))


def test_a_process_without_an_image_makes_the_same_forwards_and_nothing(stage):
    network = stage.model.policy.weights
    rows = []
    for rank in (0, 3):
        share = shard_groups(on(stage.collector, rank, 4), groups(stage))
        before = network.num_rows
        batches = list(share.generate())
        rows.append(network.num_rows - before)
    assert rows[0] == rows[1] > 0
    assert [(len(b.images), len(b.path.clean), b.num_evals) for b in batches] == [(0, 0, 0)]


def test_an_image_is_the_same_whoever_makes_it(stage):
    def images(*collectors):
        return {
            key: image
            for collector in collectors
            for batch in shard_groups(collector, groups(stage)).generate()
            for key, image in zip(batch.key.tolist(), batch.images, strict=True)
        }

    alone = images(stage.collector)
    together = images(*(on(stage.collector, rank, 3) for rank in range(3)))
    for key, image in alone.items():
        # Batches of other shapes sum in another order: float32, values of about 1.
        torch.testing.assert_close(together[key], image, rtol=0, atol=1e-5)


def test_a_broken_image_is_counted_zeroed_and_never_scored(stage, monkeypatch):
    decode = stage.model.policy.decode

    def breaking(latents):
        images = decode(latents)
        images[0] = torch.nan
        return images

    monkeypatch.setattr(stage.model.policy, "decode", breaking)
    share = shard_groups(stage.collector, groups(stage))
    collected = collect(share, share.generate())
    assert collected.num_broken == 3  # the first of each batch
    assert collected.verdict.scores["digit"].isnan().nonzero()[:, 0].tolist() == [0, 4, 8]
    broken = collected.rollout.path.clean.flatten(1).eq(0).all(1)
    assert broken.nonzero()[:, 0].tolist() == [0, 4, 8]
    assert collected.rollout.path.clean.isfinite().all()


def test_how_far_pixels_leave_their_range_is_measured(stage, monkeypatch):
    decode = stage.model.policy.decode
    monkeypatch.setattr(stage.model.policy, "decode", lambda latents: decode(latents) * 0 + 1.25)
    share = shard_groups(stage.collector, groups(stage))
    assert collect(share, share.generate()).out_of_range == pytest.approx(0.25)


def test_a_set_in_the_hosts_memory_moves_once_for_all_that_it_makes(monkeypatch):
    seen, move = [], Networks._copy_to_device
    monkeypatch.setattr(
        Networks, "_copy_to_device", lambda self, which: seen.append(which) or move(self, which)
    )
    made = recipe(
        RECIPES["nft"], policy__lora="null", policy__copies_on="cpu", sampler__steps=2,
        data__groups_per_epoch=2, data__group_size=4, engine__micro_batch="{sample: 3, train: 4}",
        eval="null",
    )  # fmt: skip
    run = build(made).stages[0]
    batches = list(shard_groups(run.collector, groups_of(run, 0)).generate())
    assert len(batches) == 3
    assert seen == [Weights.OLD]
    assert not run.model.policy.weights.module._lent
