"""Whatever a reward does, whoever waits for it gets an answer."""

import threading

import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.base import KnownAnswer, Reward
from zoo.reward.judge import Judge, WeightedReward
from zoo.reward.known_answers import require_known_answers
from zoo.reward.reward_thread import RewardError

CPU = torch.device("cpu")
IMAGES, PROMPTS = torch.zeros(2, 3, 2, 2), [Prompt("a"), Prompt("b")]


class Mute(Exception):
    def __str__(self):
        raise ValueError("no")


class Faulty(Reward):
    """Raises, or hangs until it is let go."""

    def __init__(self, error=None, interrupted=None):
        self.error, self.interrupted = error, interrupted
        self.go = threading.Event()

    def score(self, images, prompts):
        if self.error is not None:
            raise self.error
        self.go.wait(60)
        return torch.zeros(len(images))

    def known_answers(self):
        return [KnownAnswer(IMAGES, PROMPTS, torch.zeros(2), 0.1)]

    def interrupt(self):
        self.go.set()
        if isinstance(self.interrupted, BaseException):
            raise self.interrupted
        return self.interrupted


def failure(reward, timeout=30.0):
    judge = Judge([WeightedReward("it", reward)], timeout=timeout, retries=0)
    judge.submit(IMAGES, PROMPTS, torch.tensor([0, 0]))
    try:
        verdict = judge.finish()
    finally:
        judge.close()
    assert bool(verdict.scores["it"].isnan().all())
    (line,) = verdict.failures
    return line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Mute(), "raised Mute; its images are invalid"),
        (GeneratorExit("over"), "raised GeneratorExit: over"),
        (KeyboardInterrupt(), "raised KeyboardInterrupt"),
        (SystemExit(0), "raised SystemExit: 0"),
    ],
)
def test_whatever_is_raised_is_a_line(error, said):
    assert said in failure(Faulty(error))


@pytest.mark.parametrize("interrupted", [RuntimeError("cannot"), Mute(), SystemExit(1), "yes"])
def test_an_interrupt_that_fails_leaves_the_reward_behind(interrupted):
    assert "took over 0.05 s" in failure(Faulty(interrupted=interrupted), timeout=0.05)


def test_an_interrupt_that_hangs_leaves_the_reward_behind(monkeypatch):
    monkeypatch.setattr("zoo.reward.reward_thread._INTERRUPT_TIMEOUT", 0.05)
    reward = Faulty()
    let_go = reward.go
    monkeypatch.setattr(reward, "interrupt", lambda: let_go.wait(60))
    assert "took over 0.05 s" in failure(reward, timeout=0.05)
    let_go.set()


def test_known_answers_that_hang_end_the_run_before_it_begins():
    reward = Faulty(interrupted=True)
    said = r"'it' cannot score its known answers: they took over 0.05 s"
    with pytest.raises(RewardError, match=said):
        require_known_answers(reward, "it", CPU, 0.05)
    assert reward.go.is_set()


@pytest.mark.parametrize("error", [Mute(), SystemExit(0), GeneratorExit()])
def test_known_answers_that_raise_anything_are_a_line(error):
    with pytest.raises(RewardError, match=rf"known answers: {type(error).__name__}"):
        require_known_answers(Faulty(error), "it", CPU, 30)
