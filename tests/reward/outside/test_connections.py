"""Connections of strangers have an end, and are not many."""

import json
import socket
import struct
import time

import httpx
import pytest

from tests.reward.serving import answering, question, serving
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.outside import connections
from zoo.reward.remote import Remote

HEAD = b"GET /describe HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.3)


def connect(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def is_ended(connection):
    """Whether the server ends it, whatever it has said before."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    "said", [b"", HEAD[:10], HEAD, HEAD + b"\r\n" + HEAD[:5]], ids=["nothing", "a", "b", "second"]
)
def test_who_asks_for_nothing_is_left(said):
    with serving(JpegCompressibility()) as url, connect(url) as stranger:
        start = time.monotonic()
        stranger.sendall(said)
        assert is_ended(stranger)
        assert time.monotonic() - start < 5


def test_who_goes_on_after_a_refusal_is_left():
    with serving(JpegCompressibility(), token="sesame") as url, connect(url) as stranger:
        stranger.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        start, ended = time.monotonic(), False
        while not ended and time.monotonic() - start < 5:
            try:
                stranger.sendall(b"x")
            except OSError:
                ended = True
            time.sleep(0.05)
        assert ended


def test_a_body_that_does_not_come_is_refused(monkeypatch):
    monkeypatch.setattr("zoo.reward.outside.server._BODY_TIMEOUT", 0.5)
    with serving(JpegCompressibility()) as url, connect(url) as stranger:
        stranger.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        assert b"408" in stranger.recv(4096).splitlines()[0]


def test_too_many_are_ended_and_the_others_are_served(monkeypatch):
    monkeypatch.setattr(connections, "_MOST_CONNECTIONS", 4)
    with serving(JpegCompressibility()) as url:
        strangers = [connect(url) for _ in range(20)]
        assert all(map(is_ended, strangers[4:]))
        for stranger in strangers:
            stranger.close()
        time.sleep(0.1)
        assert httpx.post(f"{url}/score", content=question()).status_code == 200


@pytest.mark.slow
def test_a_request_that_takes_longer_is_answered(monkeypatch):
    slow = JpegCompressibility()
    score = slow.score
    monkeypatch.setattr(
        slow, "score", lambda images, prompts: (time.sleep(1), score(images, prompts))[1]
    )
    with serving(slow) as url:
        assert httpx.post(f"{url}/score", content=question(), timeout=30).status_code == 200


def test_what_strangers_send_is_not_logged(capfd, caplog):
    with serving(JpegCompressibility()) as url:
        for said in (b"\x16\x03\x01garbage\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"x" * 100_000):
            with connect(url) as stranger:
                try:
                    stranger.sendall(said)
                    is_ended(stranger)
                except OSError:
                    pass
    said = capfd.readouterr()
    assert said.out == said.err == ""


def body(name, shape, data=b""):
    header = {
        "kind": "score",
        "prompts": [{"text": "x", "metadata": {}}],
        "arrays": [[name, "uint8", shape]],
    }
    encoded = json.dumps(header).encode()
    return struct.pack("<4sI", b"ZOOR", len(encoded)) + encoded + data


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    "sent",
    [
        body("images", [1] * 65, b"a"),
        body("images", [0, 2**62, 8, 3]),
        body("images", [0, 2**70, 8, 3]),
        body("images", [0] * 5_000),
        body(["x"], [0]),
        body({"x": 1}, [0]),
        body("images", ["x"]),
        body("images", 3),
        body("images", [-1, 8, 8, 3]),
    ],
)
def test_an_array_that_cannot_be_is_400_with_a_line(sent):
    with serving(JpegCompressibility()) as url:
        reply = httpx.post(f"{url}/score", content=sent)
        assert reply.status_code == 400
        (line,) = reply.json()["error"].splitlines()
        assert line.startswith("the body is no message: ")
        assert len(line) < 300


@pytest.mark.parametrize("described", [{"protocol": 1}, {"protocol": 1, "name": ["x"]}, [1], "x"])
def test_a_server_that_says_too_little_of_itself_is_none(described):
    with (
        answering(200, json.dumps(described).encode()) as url,
        pytest.raises(ValueError, match=r"is not `zoo serve`"),
    ):
        Remote(url=url)
