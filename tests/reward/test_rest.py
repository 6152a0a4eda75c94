"""Rewards may rest once a collection is scored, and what goes wrong then costs no scores."""

import threading

import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.base import Reward
from zoo.reward.judge import Judge, RewardError, WeightedReward


class Sleeper(Reward):
    """Scores each image as 1, and remembers what it was asked."""

    def __init__(self, wrong: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.wrong = wrong

    def score(self, images, prompts):
        self.asked.append("score")
        return torch.ones(len(images))

    def rest(self):
        self.asked.append("rest")
        if self.wrong is not None:
            raise self.wrong


class Hanging(Sleeper):
    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def score(self, images, prompts):
        self.released.wait()
        return torch.ones(len(images))


class Wrong(Sleeper):
    def score(self, images, prompts):
        super().score(images, prompts)
        return torch.ones(len(images) + 1)


def finished(*rewards: Reward, collections: int = 1, timeout: float = 10.0):
    judge = Judge(
        [WeightedReward(f"r{i}", reward) for i, reward in enumerate(rewards)],
        timeout=timeout,
        retries=0,
    )
    for _ in range(collections):
        for _ in range(2):
            judge.submit(torch.zeros(2, 3, 2, 2), [Prompt("a")] * 2, torch.zeros(2).long())
        verdict = judge.finish()
    judge.close()
    return verdict


def test_a_reward_rests_once_a_collection_when_all_of_it_is_scored():
    reward = Sleeper()
    finished(reward, collections=2)
    assert reward.asked == ["score", "score", "rest"] * 2


def test_none_rests_before_all_are_done():
    slow, fast = Sleeper(), Sleeper()
    slow_score, order = slow.score, []

    def waits(images, prompts):
        order.append("slow")
        return slow_score(images, prompts)

    slow.score = waits
    fast.rest = lambda: order.append("rest")
    finished(fast, slow)
    assert order == ["slow", "slow", "rest"]


def test_an_error_at_rest_is_said_and_the_scores_are_kept():
    verdict = finished(Sleeper(RuntimeError("no memory\nat all")), other := Sleeper())
    assert verdict.scores["r0"].tolist() == [1.0] * 4
    (said,) = verdict.failures
    assert said == "reward 'r0' could not rest: RuntimeError: no memory"
    assert other.asked[-1] == "rest"


def test_a_reward_that_hangs_is_left_alone():
    hanging = Hanging()
    try:
        verdict = finished(hanging, timeout=0.05)
    finally:
        hanging.released.set()
    assert bool(verdict.scores["r0"].isnan().all())
    assert hanging.asked == []


def test_a_broken_contract_still_stops_the_run():
    with pytest.raises(RewardError, match="returned shape"):
        finished(Wrong())


def test_a_reward_need_not_know_of_rests():
    class Plain(Reward):
        def score(self, images, prompts):
            return torch.ones(len(images))

    assert finished(Plain()).failures == ()
