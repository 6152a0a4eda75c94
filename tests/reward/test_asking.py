"""A reward that asks people: told of all groups, waited for longer than others, not for ever."""

import threading
from contextlib import nullcontext

import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.asking import AskingReward
from zoo.reward.judge import Judge, WeightedReward


class Asked(AskingReward):
    """Answers a group by its first pixel once that is answered; remembers what it was told."""

    patience = 20.0

    def __init__(self):
        self.answered, self.heard = threading.Event(), []

    def beside(self, run_dir):
        return nullcontext()

    def expect(self, images, prompt):
        self.heard.append((prompt.text, len(images)))

    def score(self, images, prompts):
        assert self.answered.wait(20)
        return images[:, 0, 0, 0]

    def hurry(self):
        self.answered.set()


@pytest.fixture
def asked():
    reward = Asked()
    judge = Judge([WeightedReward("asked", reward)], timeout=0.01, retries=0)
    for numbers, group in (([1.0, 2.0], [0, 1]), ([3.0], [1])):
        images = torch.tensor(numbers).reshape(-1, 1, 1, 1).repeat(1, 3, 2, 2)
        judge.submit(images, [Prompt(f"p{each}") for each in group], torch.tensor(group))
    yield reward, judge
    judge.close()


@pytest.mark.slow
def test_it_is_told_of_every_group_before_it_must_answer_and_may_take_its_patience(asked):
    reward, judge = asked

    def progress():
        if reward.heard == [("p0", 1), ("p1", 2)]:
            reward.answered.set()

    found = judge.finish(progress)
    assert found.scores["asked"].tolist() == [1, 2, 3]
    assert found.failures == ()


@pytest.mark.slow
def test_a_judge_that_hurries_has_what_is_there(asked):
    _, judge = asked
    assert judge.finish(judge.hurry).scores["asked"].tolist() == [1, 2, 3]
