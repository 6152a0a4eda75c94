"""`zoo serve`'s application: what it answers, and whom and what it refuses."""

import pickle
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import torch
from zoo_reward_worker.wire import Message, encode

from tests.reward.serving import Scored, connected, images, prompts, question, serving
from zoo.prompt import Prompt
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.remote import Remote, RemoteError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("no luck\nsecond line"), "RuntimeError: no luck"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=["raises", "exits"],
)
def test_an_error_of_the_reward_arrives_in_one_line_and_the_server_goes_on(error, line):
    def score(pictures, asked):
        if asked[0].text == "bad":
            raise error
        return torch.ones(len(asked))

    with serving(Scored(score)) as url, connected(url) as reward:
        with pytest.raises(RemoteError, match=rf"/score: HTTP 500: {line}$"):
            reward.score(images(1), [Prompt("bad")])
        assert reward.score(images(1), [Prompt("good")]).tolist() == [1]


def test_a_server_that_ends_leaves_no_thread():
    before = set(threading.enumerate())
    with serving(JpegCompressibility()):
        ours = set(threading.enumerate()) - before
        assert any(thread.name == "reward mine" for thread in ours)
    for thread in ours:
        thread.join(10)
    assert not ours & set(threading.enumerate())


def test_one_request_is_scored_at_a_time():
    inside, together, both = threading.Lock(), threading.Event(), threading.Barrier(4, timeout=10)

    def score(pictures, asked):
        if not inside.acquire(blocking=False):
            together.set()
            return torch.zeros(len(asked))
        # Time for another to come in; none does, so this is how long it takes.
        together.wait(0.1)
        inside.release()
        return torch.ones(len(asked))

    def ask(url: str, found: list[float]) -> None:
        with connected(url) as reward:
            both.wait()
            found += reward.score(images(2), prompts(2)).tolist()

    found: list[float] = []
    with serving(Scored(score)) as url:
        threads = [threading.Thread(target=ask, args=(url, found)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert found == [1] * 8
    assert not together.is_set()


def test_the_token_opens_and_is_never_shown(monkeypatch):
    with serving(JpegCompressibility(), token="open-sesame") as url:
        monkeypatch.setenv("ZOO_TOKEN", "open-sesame\n")
        with connected(url, token_env="ZOO_TOKEN") as reward:
            assert reward.score(images(1), prompts(1)).shape == (1,)
            assert "sesame" not in repr(vars(reward))
        for wrong in ("open-sesam", "open-sesame1", "x"):
            monkeypatch.setenv("ZOO_TOKEN", wrong)
            with pytest.raises(ValueError, match=r"wants another token; name as token_env"):
                Remote(url=url, token_env="ZOO_TOKEN")
        with pytest.raises(ValueError, match=r"wants another token"):
            Remote(url=url)
        monkeypatch.delenv("ZOO_TOKEN")
        with pytest.raises(ValueError, match=r"variable 'ZOO_TOKEN', which holds no token; export"):
            Remote(url=url, token_env="ZOO_TOKEN")


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("path", ["/describe", "/known_answers", "/score"])
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x"}, {"Authorization": "sesame"}])
def test_without_the_token_nothing_is_answered(path, header):
    with serving(JpegCompressibility(), token="sesame") as url, httpx.Client() as client:
        method = "POST" if path == "/score" else "GET"
        reply = client.request(method, url + path, headers=header, content=b"garbage")
    assert reply.status_code == 401
    assert reply.json() == {"error": "the token is missing or wrong"}


def chunks(total: int) -> Iterator[bytes]:
    for _ in range(total // 1024):
        yield bytes(1024)


@pytest.mark.parametrize("declared", [True, False])
def test_a_request_that_is_too_large_is_refused(declared):
    body = bytes(8192) if declared else chunks(8192)
    with serving(JpegCompressibility(), most=4096) as url, httpx.Client() as client:
        reply = client.post(url + "/score", content=body)
        assert reply.status_code == 413
        assert "4096 bytes" in reply.json()["error"]
        assert client.post(url + "/score", content=question()).status_code == 200


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


PIXELS = np.zeros((1, 4, 4, 3), np.uint8)
SAID = [{"text": "a", "metadata": {}}]


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "no message"),
        (b"garbage", "no message"),
        (pickle.dumps(Boom()), "no message"),
        (b"ZOOR" + (6).to_bytes(4, "little") + b"[[[[[[", "no message"),
        (b"ZOOR" + (200_000).to_bytes(4, "little") + b"[" * 200_000, "no message"),
        (question()[:-1], "no message"),
        (encode(Message({"kind": "known_answers"})), "kind 'score' with one array"),
        (encode(Message({"kind": "score", "prompts": SAID})), "one array, 'images'"),
        (
            encode(Message({"kind": "score", "prompts": SAID}, {"images": PIXELS, "a": PIXELS})),
            "one array, 'images'",
        ),
        (
            encode(Message({"kind": "score", "prompts": SAID}, {"images": PIXELS.astype("f4")})),
            "must be uint8",
        ),
        (
            encode(Message({"kind": "score", "prompts": SAID}, {"images": PIXELS[0]})),
            "must be uint8",
        ),
        (encode(Message({"kind": "score", "prompts": []}, {"images": PIXELS})), "1 images and 0"),
        (encode(Message({"kind": "score", "prompts": 3}, {"images": PIXELS})), "list of"),
        (encode(Message({"kind": "score", "prompts": ["a"]}, {"images": PIXELS})), "list of"),
        (
            encode(Message({"kind": "score", "prompts": [{"text": "a"}]}, {"images": PIXELS})),
            "list of",
        ),
    ],
)
def test_a_body_that_is_no_question_is_refused(body, error):
    with serving(JpegCompressibility()) as url, httpx.Client() as client:
        reply = client.post(url + "/score", content=body)
        assert reply.status_code == 400
        assert error in reply.json()["error"]
        assert client.post(url + "/score", content=question()).status_code == 200
