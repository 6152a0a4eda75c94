import os
import subprocess
import sys
import textwrap
import threading

import pytest

from tests.runs import ROOT, clean_environment
from zoo.engine import watchdog
from zoo.engine.beats import Beats
from zoo.engine.watchdog import Watchdog


class Clock:
    """Goes on only when told, looking as often as the thread would."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def dog():
    said = []
    clock = Clock()
    made = Watchdog(40, lambda *words: said.append(words), clock=clock)

    def pass_by(seconds):
        for _ in range(int(seconds)):
            clock.now += 1
            made.exchange()
            made.look()

    made.said, made.pass_by, made.clock = said, pass_by, clock
    return made


class Told(Beats):
    """What another process would tell."""

    def __init__(self):
        self.own, self.theirs = [], 0

    def tell(self, count):
        self.own.append(count)

    def hear(self):
        return (str(self.theirs).encode(),)


@pytest.fixture
def heard(dog):
    dog._beats = Told()
    return dog._beats


def test_a_process_whose_device_waits_for_the_others_is_not_the_one_at_fault(dog):
    under_way = [False]
    dog.ask(lambda: under_way[0])
    dog.pulse()
    under_way[0] = True
    dog.pass_by(43)
    assert not dog.said
    dog.pass_by(2)
    assert dog.said[0] == ("waited 45 s for the other processes", "")


def test_a_device_that_waits_for_nobody_is_at_fault(dog):
    dog.ask(lambda: False)
    dog.pulse()
    dog.pass_by(41)
    assert dog.said[0][0] == "no progress for 41 s"


def test_a_slow_process_is_waited_for_as_long_as_it_goes_on(dog, heard):
    dog.pulse()
    with dog.waiting():
        for _ in range(20 * 60 // 30):
            dog.pass_by(30)
            heard.theirs += 1
        assert not dog.said
        dog.pass_by(48)
    assert [cause for cause, _ in dog.said][:1] == ["waited 45 s for the other processes"]


@pytest.mark.slow
def test_a_store_that_hangs_does_not_keep_it_from_looking():
    said, hangs = threading.Event(), threading.Event()

    class Hanging(Told):
        def tell(self, count):
            hangs.set()
            threading.Event().wait(60)

    dog = Watchdog(0.2, lambda *words: said.set(), Hanging())
    dog.start()
    assert hangs.wait(30)
    dog.pulse()
    assert said.wait(30)
    dog.stop()


def test_the_others_are_told_of_every_sign_of_progress(dog, heard):
    for _ in range(3):
        dog.pulse()
        dog.pass_by(1)
    assert heard.own == [1, 2, 3]


def test_it_is_not_armed_before_the_first_pulse(dog):
    dog.pass_by(1000)
    assert not dog.said


def test_no_progress_is_said_with_where_the_main_thread_is(dog):
    dog.pulse()
    dog.pass_by(40)
    assert not dog.said
    dog.pass_by(1)
    ((cause, trace),) = dog.said
    assert cause == "no progress for 41 s"
    assert trace.startswith("Traceback (most recent call last):\n")
    assert "test_no_progress_is_said_with_where_the_main_thread_is" in trace


def test_the_trace_is_of_the_main_thread_whoever_looks(dog):
    dog.pulse()
    looking = threading.Thread(target=dog.pass_by, args=[41], name="looks")
    looking.start()
    looking.join()
    assert "test_the_trace_is_of_the_main_thread_whoever_looks" in dog.said[0][1]


def test_a_pulse_starts_the_time_anew(dog):
    for _ in range(10):
        dog.pulse()
        dog.pass_by(39)
    assert not dog.said


@pytest.mark.parametrize(("seconds", "grace"), [(5, 3), (100, 10), (900, 30)])
def test_who_waits_for_others_is_given_longer_than_they_are(seconds, grace):
    said = []
    clock = Clock()
    dog = Watchdog(seconds, lambda *words: said.append(words), clock=clock)
    with dog.waiting():
        for _ in range(seconds + grace):
            clock.now += 1
            dog.look()
        assert not said
        clock.now += 1
        dog.look()
    assert said == [(f"waited {seconds + grace + 1} s for the other processes", "")]


def test_having_waited_is_progress_but_arms_nothing(dog):
    with dog.waiting():
        dog.pass_by(20)
    dog.pass_by(1000)
    assert not dog.said
    dog.pulse()
    with dog.waiting():
        dog.pass_by(39)
    dog.pass_by(39)
    assert not dog.said


def test_waiting_inside_waiting_is_one_wait(dog):
    with dog.waiting():
        dog.pass_by(30)
        with dog.waiting():
            dog.pass_by(14)
        assert not dog.said
        dog.pass_by(1)
    assert dog.said == [("waited 45 s for the other processes", "")]


def test_an_error_while_waiting_ends_the_wait(dog):
    with pytest.raises(RuntimeError), dog.waiting():
        raise RuntimeError
    dog.pass_by(100)
    assert not dog.said


def test_a_process_that_was_stopped_and_goes_on_is_not_at_fault(dog):
    dog.pulse()
    dog.pass_by(10)
    dog.clock.now += 600  # this thread was stopped too
    dog.look()
    dog.pass_by(39)
    assert not dog.said
    dog.pass_by(2)
    assert dog.said


def test_without_a_start_all_of_it_does_nothing():
    watchdog.pulse()
    with watchdog.waiting():
        watchdog.pulse()
    watchdog.stop()


@pytest.mark.slow
def test_a_process_that_hangs_leaves_its_last_words_and_ends(tmp_path):
    script = """
        import time
        from zoo.engine import watchdog

        watchdog.start(0.2)
        watchdog.pulse()
        while True:
            pass
        """
    words = tmp_path / "words.json"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], timeout=60, check=False, cwd=ROOT,
        env=clean_environment(TORCHELASTIC_ERROR_FILE=str(words)),
    )  # fmt: skip
    assert ended.returncode == 1
    assert "no progress for" in words.read_text()
    assert os.listdir(tmp_path) == ["words.json"]
