"""What DeepSpeed does beside the computing is counted where it is waited for, and there alone."""

import pytest
import torch

from tests.engine.test_communication import Event
from zoo.engine import communication as module
from zoo.engine.communication import Communication
from zoo.engine.side_streams import _COLLECTIVES, SideStreams


class Streams:
    """DeepSpeed's accelerator, with a class of streams of its own: waits are counted on that."""

    def __init__(self):
        done = self.done = []

        class Stream:
            def wait_stream(self, other):
                done.append("wait")

            def synchronize(self):
                done.append("synchronize")

        self.main, self.side, self.other = Stream(), Stream(), Stream()
        self.current = self.main

    def current_stream(self):
        return self.current

    def default_stream(self):
        return self.main


class Backend:
    """DeepSpeed's."""


for name in _COLLECTIVES:
    setattr(Backend, name, lambda self: "work")


@pytest.fixture
def queue(monkeypatch):
    monkeypatch.setattr(module, "timer", lambda device: Event())
    monkeypatch.setattr(Event, "reached", 1e9)
    monkeypatch.setattr(Event, "recorded", 0)
    made = Streams()
    made.communication = Communication(torch.device("cuda", 0))
    made.backend = Backend()
    SideStreams(made.communication, made).count(made.backend)
    return made


def test_a_collective_of_the_stream_that_computes_counts(queue):
    assert queue.backend.all_reduce() == "work"
    assert queue.communication.seconds() == 1


def test_one_beside_it_counts_where_it_is_waited_for(queue):
    queue.current = queue.side
    assert queue.backend.all_gather() == "work"
    assert queue.communication.seconds() == 0
    queue.current = queue.main
    queue.main.wait_stream(queue.side)
    assert queue.communication.seconds() == 1
    # Not where streams wait for others, or the others for it.
    queue.main.wait_stream(queue.other)
    queue.side.wait_stream(queue.main)
    assert queue.communication.seconds() == 1
    assert queue.done == ["wait", "wait", "wait"]


def test_the_host_that_waits_for_it_is_counted(queue):
    queue.current = queue.side
    queue.backend.reduce_scatter()
    queue.communication.seconds()
    queue.other.synchronize()
    assert queue.communication.seconds() == 0
    queue.side.synchronize()
    assert 0 < queue.communication.seconds() < 1
    assert queue.done == ["synchronize", "synchronize"]


def test_one_beside_it_that_hangs_is_under_way(queue):
    queue.current = queue.side
    Event.reached = -1
    queue.backend.all_gather()
    assert not queue.communication.is_under_way()  # the device has not come to it
    Event.reached = 0
    assert queue.communication.is_under_way()
    Event.reached = 1
    assert not queue.communication.is_under_way()


def test_an_accelerator_without_streams_has_all_on_one(monkeypatch):
    made = Communication(torch.device("cpu"))
    backend = Backend()

    class Without:
        def current_stream(self):
            return None

    SideStreams(made, Without()).count(backend)
    assert backend.all_reduce() == "work"
    assert made.seconds() > 0
