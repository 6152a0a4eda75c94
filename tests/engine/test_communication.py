"""How long was waited: by the host's clock, and on a device by events that nothing waits for."""

import pytest
import torch

from zoo.engine import communication as module
from zoo.engine.communication import Communication


class Event:
    """Recorded at the times 0, 1, 2, ... s of the device's queue."""

    reached = 0.0
    recorded = 0

    def record(self):
        self.at, Event.recorded = Event.recorded, Event.recorded + 1

    def query(self):
        return Event.reached >= self.at

    def elapsed_time(self, other):
        assert other.query(), "it would wait"
        return 1e3 * (other.at - self.at)


@pytest.fixture
def counted(monkeypatch):
    monkeypatch.setattr(module, "timer", lambda device: Event())
    monkeypatch.setattr(Event, "reached", 0.0)
    monkeypatch.setattr(Event, "recorded", 0)
    return Communication(torch.device("cuda", 0))


def test_what_the_device_has_not_come_to_is_in_a_later_answer(counted):
    for _ in range(3):
        with counted.on_device():
            pass
    found = []
    for reached in (0.5, 1.5, 1.5, 5.5):
        Event.reached = reached
        found.append(counted.seconds())
    assert found == [0, 1, 1, 3]


def test_what_is_nested_counts_once(counted):
    with counted.on_device(), counted.on_device(), counted.on_host():
        pass
    Event.reached = 1
    assert counted.seconds() == 1


def test_what_has_passed_is_not_kept(counted):
    Event.reached = 1e9
    for _ in range(2000):
        with counted.on_device():
            pass
    assert len(counted._events) <= 513
    assert counted.seconds() == 2000


def test_what_is_not_counted_is_told_to_the_watchdog_alone(counted):
    with counted.on_device(counted=False):
        pass
    Event.reached = 0
    assert counted.is_under_way()
    Event.reached = 1
    assert counted.seconds() == 0
