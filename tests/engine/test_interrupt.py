"""Which signals ask a run to stop, which only once, and which at once."""

import signal
import time
from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest

from zoo.engine import interrupt as module
from zoo.engine.base import Engine
from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.engine.stop_signals import STOPPING, catch_stopping

ALONE = create_autospec(Engine, instance=True)
ALONE.gather.side_effect = lambda tensor: tensor


class LeftAtOnce(BaseException):
    pass


@pytest.fixture
def said(monkeypatch):
    """What is said; a signal that would end the process raises."""

    def leave(number):
        raise LeftAtOnce(number)

    real = signal.raise_signal
    monkeypatch.setattr(
        module, "signal", SimpleNamespace(**{**vars(signal), "raise_signal": leave})
    )
    lines = []
    with Interrupt(ALONE, lines.append) as interrupt:
        yield SimpleNamespace(lines=lines, send=real, interrupt=interrupt)


@pytest.mark.parametrize("number", STOPPING)
def test_each_is_asked_for_politely(number, said):
    assert said.interrupt.agree() == 0
    said.send(number)
    assert said.interrupt.agree() == number
    assert len(said.lines) == 1
    with pytest.raises(Interrupted):
        said.interrupt.leave_if_asked()


def test_a_second_from_a_person_leaves_at_once(said):
    said.send(signal.SIGINT)
    with pytest.raises(LeftAtOnce):
        said.send(signal.SIGINT)


def test_a_schedulers_signal_that_comes_twice_is_one_request(said, monkeypatch):
    said.send(signal.SIGTERM)
    said.send(signal.SIGTERM)
    now = time.monotonic() + 2
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    with pytest.raises(LeftAtOnce):
        said.send(signal.SIGTERM)


@pytest.mark.parametrize("warning", [signal.SIGHUP, signal.SIGUSR1])
def test_after_a_warning_the_end_of_the_time_is_no_second_request(warning, said):
    said.send(warning)
    said.send(warning)
    said.send(signal.SIGTERM)
    assert said.interrupt.agree() == signal.SIGTERM
    said.send(warning)
    assert said.interrupt.agree() == signal.SIGTERM
    with pytest.raises(LeftAtOnce):
        said.send(signal.SIGINT)


def test_what_nohup_has_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catch_stopping(lambda number, frame: None):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_before_are_put_back():
    before = [signal.getsignal(number) for number in STOPPING]
    with catch_stopping(lambda number, frame: None):
        pass
    assert [signal.getsignal(number) for number in STOPPING] == before
