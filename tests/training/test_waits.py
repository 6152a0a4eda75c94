"""Seconds that are waited are added up by what was waited for."""

import pytest

from zoo.training import waits as module
from zoo.training.waits import Waits


@pytest.fixture
def clock(monkeypatch):
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_only_what_is_inside_is_counted(clock):
    waits = Waits()
    for seconds in (2, 3):
        with waits.of("rewards"):
            clock[0] += seconds
        clock[0] += 100
    waits.add("data", 1)
    assert waits.seconds == {"rewards": 5, "data": 1}


def test_an_item_is_waited_for_until_it_is_there(clock):
    waits, found = Waits(), []

    def slow():
        for item in "ab":
            clock[0] += 2
            yield item
        clock[0] += 1

    for item in waits.over("data", slow()):
        clock[0] += 100
        found.append(item)
    assert found == ["a", "b"]
    assert waits.seconds == {"data": 5}


def test_what_was_waited_for_in_vain_is_counted(clock):
    waits = Waits()

    def wait():
        with waits.of("rewards"):
            clock[0] += 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        wait()
    assert waits.seconds == {"rewards": 2}
