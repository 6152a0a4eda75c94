"""Processes that a launcher started meet, or say who has not come, and where."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from zoo.engine import rendezvous
from zoo.engine.beats import Beats
from zoo.engine.rendezvous import MeetingError, Place, meet, read_place

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node", "MASTER_PORT": "29500"}


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(rendezvous, "_SECONDS_IN_SILENCE", 0.2)


def test_what_a_launcher_says_is_read():
    assert read_place(WHOLE) == Place(1, 2, "node", 29500)
    more = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "3"}
    assert read_place(WHOLE | more) == Place(1, 2, "node", 29500, agent=True, restarts="3")


@pytest.mark.parametrize("name", WHOLE)
def test_variables_that_are_not_whole_are_refused(name):
    with pytest.raises(MeetingError, match=rf"lacks {name}.*; start with .*unset RANK") as raised:
        read_place({key: value for key, value in WHOLE.items() if key != name})
    assert "\n" not in str(raised.value)


ALLOWED = {"RANK": "0 to 1", "WORLD_SIZE": "1 to", "MASTER_PORT": "1 to 65535"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("RANK", "2"), ("RANK", "-1"), ("WORLD_SIZE", "two"), ("MASTER_PORT", "99999")],
)
def test_numbers_out_of_their_range_are_refused(name, value):
    said = f"the environment's {name} is '{value}', not a number from {ALLOWED[name]}"
    with pytest.raises(MeetingError, match=said):
        read_place(WHOLE | {name: value})


def test_all_meet_and_hear_each_other(port):
    with ThreadPoolExecutor(3) as threads:
        places = [Place(rank, 3, "127.0.0.1", port) for rank in range(3)]
        lines = []
        stores = list(threads.map(lambda place: meet(place, 30, lines.append), places))
    beats = [Beats(store, rank, 3) for rank, store in enumerate(stores)]
    before = beats[0].hear()
    assert before == (b"0", b"0") == beats[0].hear()
    beats[2].tell(7)
    assert beats[0].hear() == (b"0", b"7")


@pytest.mark.slow
def test_who_has_not_come_is_said_at_once_and_in_the_end(port):
    lines = []
    with pytest.raises(MeetingError) as raised:
        meet(Place(0, 3, "127.0.0.1", port), 1, lines.append)
    assert lines == [f"waiting for 2 of 3 processes at 127.0.0.1:{port}"]
    assert str(raised.value).startswith(
        f"2 of 3 processes did not come to 127.0.0.1:{port} within 1 s: processes 1, 2; start the "
    )


@pytest.mark.slow
def test_a_first_process_that_is_not_there_is_said_so(port):
    lines = []
    with pytest.raises(MeetingError, match=r"process 1 of 2 found no process 0 at 127\.0\.0\.1"):
        meet(Place(1, 2, "127.0.0.1", port), 1, lines.append)
    assert lines == [f"waiting for process 0 at 127.0.0.1:{port}"]


def test_a_port_that_is_taken_is_said_so():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MeetingError, match=rf":{port}: the port is taken; choose another"):
            meet(Place(0, 2, "127.0.0.1", port), 1, print)
