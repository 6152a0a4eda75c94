"""What two streams do to one memory is in order, and rewards are on a stream beside sampling's."""

import gc

import pytest
import torch

from tests.rehearsal import streams
from zoo.devices import Turn, synchronize
from zoo.reward.base import Reward
from zoo.reward.judge import Judge, WeightedReward
from zoo.testing.inputs import some_images, some_prompts


def there(*values):
    return torch.tensor(values, device="sim")


@pytest.fixture
def side():
    yield streams.Stream()
    gc.collect()
    streams.forget()


def test_what_was_written_elsewhere_may_not_be_there_yet(side):
    x = there(1.0) + 1
    with streams.on(side), pytest.raises(RuntimeError, match="may not have written yet"):
        x + 1


def test_what_is_read_elsewhere_must_not_be_written_yet(side):
    x = there(1.0) + 1
    side.wait_event(recorded())
    with streams.on(side):
        x + 1
    with pytest.raises(RuntimeError, match="may still be using"):
        x.add_(1)


def test_memory_that_is_read_elsewhere_must_not_be_given_away(side):
    x = there(1.0) + 1
    side.wait_event(recorded())
    with streams.on(side):
        y = x + 1
    del x
    gc.collect()
    with pytest.raises(RuntimeError, match="given away"):
        there(1.0) + 1
    del y


def recorded():
    made = streams.Event()
    made.record()
    return made


def by_event(x, side):
    side.wait_event(recorded())
    with streams.on(side):
        return x + 1


def by_reading(x, side):
    x.tolist()
    with streams.on(side):
        return x + 1


def by_waiting_for_all(x, side):
    synchronize(x.device)
    with streams.on(side):
        return x + 1


@pytest.mark.parametrize("ordered", [by_event, by_reading, by_waiting_for_all])
def test_streams_in_order_are_let_be(ordered, side):
    x = there(1.0) + 1
    y = ordered(x, side)
    with streams.on(side):
        assert y.tolist() == [3.0]
    # The side stream is done now, with all that it had waited for.
    x.add_(1)


def test_a_turn_keeps_its_tensor_and_can_be_taken_again():
    x = there(1.0) + 1
    turn = Turn(x)
    for _ in range(2):
        with turn.take():
            y = x + 1
            assert streams.current() is not streams.DEFAULT
    del x, turn
    gc.collect()
    assert (there(1.0) + 1).tolist() == [2.0]
    del y


class Watching(Reward):
    """The mean, and on which streams it was asked for."""

    def __init__(self):
        self.met = []

    def score(self, images, prompts):
        self.met.append(streams.current())
        return images.mean(dim=(1, 2, 3))


class WatchingGroups(Watching):
    groupwise = True


def judged(images, reward, *others):
    judge = Judge(
        [WeightedReward(f"r{i}", each) for i, each in enumerate((reward, *others))],
        timeout=60, retries=0,
    )  # fmt: skip
    prompts = some_prompts(1) * len(images)
    try:
        judge.submit(images, prompts, torch.zeros(len(images), dtype=torch.long))
        return judge.finish()
    finally:
        judge.close()


def test_rewards_are_on_one_stream_of_their_own():
    images, one, whole = some_images(4), Watching(), WatchingGroups()
    verdict = judged(images.to("sim") + 0, one, whole)
    assert not verdict.failures
    for scores in verdict.scores.values():
        assert torch.equal(scores, images.mean(dim=(1, 2, 3)).double())
    (stream,) = {*one.met, *whole.met}
    assert stream is not streams.DEFAULT


def test_without_waiting_for_the_images_they_would_be_overtaken(monkeypatch):
    monkeypatch.setattr(streams.Event, "record", lambda self, stream: None)
    (failure,) = judged(some_images(2).to("sim") + 0, Watching()).failures
    assert "may not have written yet" in failure
