"""Whoever samples waits for a reward that is far behind, and for no other."""

import threading

import pytest

from tests.reward.test_judge import Scored, judge, plain, submit, values
from zoo.prompt import Prompt
from zoo.reward.reward_thread import MOST_HELD

ANY = [Prompt("any")]


def test_whoever_is_far_ahead_of_a_reward_waits_and_says_that_it_lives() -> None:
    release, lives = threading.Event(), []

    def progress() -> None:
        lives.append(len(held.calls))
        release.set()

    held = Scored(lambda images, prompts: release.wait(10) and values(images))
    to = judge(held, plain())
    for number in range(MOST_HELD):
        to.wait_for_room(ANY, lambda: pytest.fail("there is room"))
        submit(to, [float(number)])
    others = [Prompt("an image that it does not score", judged_by=frozenset("b"))]
    to.wait_for_room(others, lambda: pytest.fail("the other has kept up"))
    to.wait_for_room(ANY, progress)
    assert lives == [1]
    assert to.finish().scores["a"].tolist() == [0, 1, 2]
    to.wait_for_room(ANY, lambda: pytest.fail("there is room again"))


def test_whole_groups_are_not_waited_for_before_they_are_there() -> None:
    to = judge(Scored(lambda images, prompts: values(images), groupwise=True))
    for number in range(2 * MOST_HELD):
        to.wait_for_room(ANY, lambda: pytest.fail("nobody scores"))
        submit(to, [float(number)], [number])
    assert to.finish().scores["a"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_reward_that_hangs_is_waited_for_until_its_time_is_over() -> None:
    never = threading.Event()
    to = judge(Scored(lambda images, prompts: never.wait(60)), timeout=0.2, retries=0)
    for number in range(3 * MOST_HELD):
        to.wait_for_room(ANY)
        submit(to, [float(number)])
    assert to.finish().scores["a"].isnan().all()
    never.set()
