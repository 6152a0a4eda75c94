"""Of processes that failed together, the one that caused it is named."""

import signal

import pytest

from zoo.engine.fault import Ended, Words, at_fault

GLOO = Words("RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer", "trace\n")
NCCL = Words("DistBackendError: NCCL error: remote process exited", "trace\n")
CAUSE = Words("RuntimeError: out of ink", "trace\n")
MISTAKE = Words("100% of the images are invalid")
WAITED = Words("waited 44 s for the other processes", waited=True)


def test_processes_that_ended_well_are_no_failure():
    assert at_fault([Ended(1, 0), Ended(0, 0)]) is None


@pytest.mark.parametrize("consequence", [GLOO, NCCL, WAITED])
@pytest.mark.parametrize(
    ("cause", "exit_code", "message"),
    [
        (Ended(1, 1, CAUSE), 1, "RuntimeError: out of ink"),
        (Ended(1, 2, MISTAKE), 2, "100% of the images are invalid"),
        (Ended(1, -9), 137, "killed by SIGKILL (out of memory? see dmesg)"),
        (Ended(1, -11), 139, "killed by SIGSEGV"),
        (Ended(1, -6), 134, "killed by SIGABRT"),
        (Ended(1, -15), 143, "killed by SIGTERM"),
        (Ended(1, 7), 7, "ended with exit code 7, saying nothing"),
    ],
)
def test_a_cause_is_named_whichever_was_seen_first(consequence, cause, exit_code, message):
    after = Ended(0, 1, consequence)
    late = Ended(2, -9, by_launcher=True)
    for order in ([after, cause, late], [cause, after, late]):
        failure = at_fault(order)
        assert (failure.rank, failure.exit_code, failure.message) == (1, exit_code, message)


def test_of_two_causes_the_first_is_named():
    other = Words("RuntimeError: no paper", "trace\n")
    assert at_fault([Ended(1, 1, other), Ended(0, 1, CAUSE)]).message == "RuntimeError: no paper"


def test_an_abort_is_not_named_where_another_says_why():
    assert at_fault([Ended(0, -6), Ended(1, 1, CAUSE)]).rank == 1


def test_where_all_only_waited_those_are_named_that_gave_no_sign():
    ended = [
        Ended(0, 1, WAITED),
        Ended(2, 1, GLOO),
        Ended(3, -9, by_launcher=True),
        Ended(1, -9, by_launcher=True),
    ]
    failure = at_fault(ended)
    assert failure.rank == 0
    assert failure.message == f"{WAITED.message}; no sign of life from processes 1, 3"
    assert at_fault(ended[:3]).message == f"{WAITED.message}; no sign of life from process 3"
    assert at_fault(ended[:2]).message == WAITED.message


def test_a_trace_goes_with_its_cause():
    assert at_fault([Ended(0, 1, GLOO), Ended(1, 1, CAUSE)]).trace == "trace\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_passed_on_is_no_fault(number):
    for first in (Ended(0, 128 + number), Ended(0, -number), Ended(0, 1)):
        for second in (Ended(1, 128 + number), Ended(1, 1, GLOO), Ended(1, -9, by_launcher=True)):
            failure = at_fault([first, second], [number])
            assert (failure.exit_code, failure.message) == (128 + number, "")
            assert failure.stopped


def test_a_failure_after_a_signal_is_still_said():
    failure = at_fault([Ended(0, 1, CAUSE), Ended(1, 1, GLOO)], [signal.SIGINT])
    assert failure.message == CAUSE.message


def test_all_may_agree_to_stop_though_only_one_was_asked():
    failure = at_fault([Ended(0, 143), Ended(1, 143)])
    assert failure.stopped
    assert not failure.message
