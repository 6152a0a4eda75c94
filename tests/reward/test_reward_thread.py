"""Whatever a reward does, whoever waits for it gets an answer."""

import gc
import threading
import weakref

import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.base import KnownAnswer, Reward
from zoo.reward.judge import Judge, WeightedReward
from zoo.reward.known_answers import require_known_answers
from zoo.reward.timed_call import RewardError

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
    monkeypatch.setattr("zoo.reward.timed_call._INTERRUPT_TIMEOUT", 0.05)
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


class Large(Reward):
    """Makes a tensor, and then wants more memory than there is; notes which of the earlier live."""

    def __init__(self, error):
        self.error, self.made, self.alive = error, [], []

    def score(self, images, prompts):
        self.alive.append([made() is not None for made in self.made])
        activations = torch.zeros(1000)
        self.made.append(weakref.ref(activations))
        raise type(self.error)(*self.error.args)


GPU_IS_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")


def test_what_a_call_made_is_gone_before_the_next_try():
    gc.disable()  # a cycle would hold it as long
    try:
        reward = Large(ValueError("no"))
        judge = Judge([WeightedReward("it", reward)], timeout=30, retries=2)
        judge.submit(IMAGES, PROMPTS, torch.tensor([0, 0]))
        judge.finish()
        assert reward.alive == [[], [False], [False, False]]
        assert [made() for made in reward.made] == [None] * 3
    finally:
        gc.enable()
        judge.close()


@pytest.mark.parametrize(
    ("error", "place"), [(GPU_IS_FULL, "the GPU"), (MemoryError(), "this machine")]
)
def test_a_reward_without_memory_ends_the_run_with_what_needs_less(error, place):
    reward = Large(error)
    judge = Judge([WeightedReward("it", reward)], timeout=30, retries=1)
    judge.submit(IMAGES, PROMPTS, torch.tensor([0, 0]))
    said = rf"out of memory on {place} while reward 'it' scored 2 images.*2 tries: .*batch.sample"
    with pytest.raises(RewardError, match=said):
        judge.finish()
    assert len(reward.made) == 2
    judge.close()


def test_memory_that_sufficed_at_the_next_try_ends_nothing():
    class Once(Large):
        def score(self, images, prompts):
            return torch.ones(len(images)) if self.made else super().score(images, prompts)

    judge = Judge([WeightedReward("it", Once(GPU_IS_FULL))], timeout=30, retries=1)
    judge.submit(IMAGES, PROMPTS, torch.tensor([0, 0]))
    verdict = judge.finish()
    assert verdict.scores["it"].tolist() == [1.0, 1.0]
    assert verdict.retried == {"it": 1}
    judge.close()


class Stencil(Reward):
    """Scores images by the mean that is left when it has blackened them, in place or a copy."""

    def __init__(self, how="in place", error=None):
        self.how, self.error = how, error

    def score(self, images, prompts):
        if self.how == "a copy":
            images = images.clone()
        if self.how == "a part":
            images = images[:1]
        images.mul_(0.0)
        if self.error is not None:
            raise self.error
        return torch.zeros(len(prompts))


class Mean(Reward):
    def score(self, images, prompts):
        return images.flatten(1).mean(1)


def judged(*rewards, images, retries=0):
    """What a reward says last, beside others."""
    judge = Judge(
        [WeightedReward(label, reward) for label, reward in rewards], timeout=30, retries=retries
    )
    try:
        judge.submit(images, PROMPTS, torch.tensor([0, 0]))
        return judge.finish()
    finally:
        judge.close()


@pytest.mark.parametrize("error", [None, ValueError("no")])
@pytest.mark.parametrize("how", ["in place", "a part"])
def test_a_reward_that_changes_its_images_ends_the_run_and_is_named(how, error):
    stencil, mean = ("stencil", Stencil(how, error)), ("mean", Mean())
    said = r"^reward 'stencil' changed the images .*images = images\.clone\(\)"
    for rewards in ((stencil, mean), (mean, stencil)):
        with pytest.raises(RewardError, match=said):
            judged(*rewards, images=torch.ones(2, 3, 2, 2))


def test_a_reward_that_changes_a_copy_is_one_like_others():
    images = torch.ones(2, 3, 2, 2)
    verdict = judged(("stencil", Stencil("a copy")), ("mean", Mean()), images=images)
    assert verdict.scores["stencil"].tolist() == [0.0, 0.0]
    assert verdict.scores["mean"].tolist() == [1.0, 1.0]


def test_images_that_were_made_in_inference_mode_are_scored_as_others():
    with torch.inference_mode():
        images = torch.ones(2, 3, 2, 2)
    assert judged(("mean", Mean()), images=images).scores["mean"].tolist() == [1.0, 1.0]
    with pytest.raises(RewardError, match="'stencil' changed the images"):
        judged(("stencil", Stencil()), images=images)
