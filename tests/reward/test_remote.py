"""A reward behind `zoo serve`'s application, over real sockets."""

import json
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import numpy as np
import pytest
import torch
import uvicorn
from torch import Tensor
from zoo_reward_worker.wire import Message, encode

from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError
from zoo.recipe.single import single_reward
from zoo.reward import remote
from zoo.reward.base import KnownAnswer, Reward, Scores
from zoo.reward.diversity import Diversity
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.known import asked
from zoo.reward.remote import Remote, RemoteError
from zoo.serve import Served, application
from zoo.testing import RewardTests, some_images

CPU = torch.device("cpu")
MB = 1 << 20


class Scored(Reward):
    """A reward that is one function."""

    def __init__(self, function: Callable[[Tensor, list[Prompt]], Tensor | Scores]) -> None:
        self.function = function

    def score(self, images, prompts):
        return self.function(images, prompts)


@contextmanager
def serving(
    reward: Reward, *, token: str | None = None, most: int = MB, port: int = 0
) -> Iterator[str]:
    """The address of a running server."""
    app = application(Served(reward, "mine", CPU, token, most))
    config = uvicorn.Config(app, lifespan="on", log_level="critical", ws="none")
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


@contextmanager
def answering(status: int, content: bytes) -> Iterator[str]:
    """The address of a server that always answers the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def connected(url: str, **options) -> Iterator[Remote]:
    made = Remote(url=url, **options)
    try:
        yield made
    finally:
        made.close()


def images(num: int, size: int = 16) -> Tensor:
    """Of 8 bits, as they arrive."""
    some = torch.randint(0, 256, (num, 3, size, size), generator=torch.Generator().manual_seed(0))
    return some / 255


def prompts(num: int) -> list[Prompt]:
    return [Prompt(f"a cat {i} ü", {"digit": i}) for i in range(num)]


def question(num: int = 2) -> bytes:
    said = [{"text": "a", "metadata": {}}] * num
    pixels = np.zeros((num, 4, 4, 3), np.uint8)
    return encode(Message({"kind": "score", "prompts": said}, {"images": pixels}))


def test_scores_are_those_of_the_reward_in_process():
    with serving(JpegCompressibility(quality=80)) as url, connected(url) as reward:
        found = reward.score(images(5), prompts(5))
    wanted = JpegCompressibility(quality=80).score(images(5), prompts(5))
    torch.testing.assert_close(found, wanted.double(), rtol=0, atol=0)


def test_prompts_metadata_extras_and_nan_come_through():
    def score(pictures, asked):
        digit = torch.tensor([float(prompt.metadata["digit"]) for prompt in asked])
        texts = torch.tensor([float(len(prompt.text)) for prompt in asked])
        return Scores(digit.masked_fill(digit == 1, torch.nan), {"length": texts})

    with serving(Scored(score)) as url, connected(url) as reward:
        found = reward.score(images(3), prompts(3))
    assert found.value.nan_to_num(-1).tolist() == [0, -1, 2]
    assert found.extras["length"].tolist() == [9, 9, 9]


def test_images_are_rounded_and_keep_their_frames():
    arrived = []

    def score(pictures, asked):
        arrived.append(pictures)
        return torch.zeros(len(asked))

    video = torch.rand(2, 4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    with serving(Scored(score)) as url, connected(url) as reward:
        reward.score(video, prompts(2))
    torch.testing.assert_close(arrived[0], (video * 255).round() / 255)


@pytest.mark.parametrize(("size", "wanted"), [(128, [[0, 1]] * 3), (150, [[0]] * 6)])
def test_a_batch_goes_in_requests_that_the_server_allows(size, wanted):
    batches = []

    def score(pictures, asked):
        batches.append([prompt.metadata["digit"] for prompt in asked])
        return Scores(pictures.mean((1, 2, 3)), {"digit": torch.tensor(batches[-1]).float()})

    most = 2 * 128 * 128 * 3 + 2048
    with serving(Scored(score), most=most) as url, connected(url) as reward:
        found = reward.score(images(6, size), prompts(6))
    assert [len(batch) for batch in batches] == [len(batch) for batch in wanted]
    assert [digit for batch in batches for digit in batch] == [0, 1, 2, 3, 4, 5]
    assert found.extras["digit"].tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(
        found.value.float(), images(6, size).mean((1, 2, 3)), rtol=1e-5, atol=1e-6
    )


def test_an_image_that_no_request_may_have_is_refused_with_the_fix():
    with (
        serving(JpegCompressibility(), most=4096) as url,
        connected(url) as reward,
        pytest.raises(RemoteError, match=r"an image takes .* MB .* --max-request of zoo serve"),
    ):
        reward.score(images(1, 64), prompts(1))


def test_a_groupwise_reward_is_asked_for_whole_groups():
    with serving(Diversity()) as url, connected(url) as reward:
        assert reward.groupwise
        group = [Prompt("a")] * 4
        found = reward.score(images(4), group)
        torch.testing.assert_close(found, Diversity().score(images(4), group).double())


def test_a_group_is_never_split():
    with (
        serving(Diversity(), most=4096) as url,
        connected(url) as reward,
        pytest.raises(RemoteError, match=r"a group takes 0.0\d+ MB and a request to .* may have"),
    ):
        reward.score(images(8), [Prompt("a")] * 8)


def test_known_answers_are_those_of_the_server_s_reward():
    class Known(JpegCompressibility):
        def known_answers(self):
            scores = self.score(images(2), prompts(2))
            return [KnownAnswer(images(2), prompts(2), scores + torch.tensor([0.0, 1.0]), 0.5)]

    with serving(Known()) as url, connected(url) as reward:
        answers = asked(reward, CPU)
    assert [answer.right for answer in answers] == [False]
    assert (answers[0].scored - answers[0].wanted).round().tolist() == [0, -1]


def test_no_images_have_no_scores():
    with serving(JpegCompressibility()) as url, connected(url) as reward:
        assert reward.score(torch.zeros(0, 3, 4, 4), []).shape == (0,)


def test_an_error_of_the_reward_arrives_in_one_line_and_the_server_goes_on():
    def score(pictures, asked):
        if asked[0].text == "bad":
            raise RuntimeError("no luck\nsecond line")
        return torch.ones(len(asked))

    with serving(Scored(score)) as url, connected(url) as reward:
        with pytest.raises(RemoteError, match=r"/score: HTTP 500: RuntimeError: no luck$"):
            reward.score(images(1), [Prompt("bad")])
        assert reward.score(images(1), [Prompt("good")]).tolist() == [1]


def test_a_reward_that_exits_does_not_end_the_server():
    def score(pictures, asked):
        if asked[0].text == "bad":
            raise SystemExit(3)
        return torch.ones(len(asked))

    with serving(Scored(score)) as url, connected(url) as reward:
        with pytest.raises(RemoteError, match=r"HTTP 500: SystemExit: 3"):
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


def test_a_server_that_was_killed_and_is_back_goes_on(monkeypatch):
    waits = []
    with serving(JpegCompressibility()) as url:
        reward = Remote(url=url)
        before = reward.score(images(2), prompts(2))
    port = int(url.rpartition(":")[2])
    with serving(JpegCompressibility(), port=port):
        assert torch.equal(reward.score(images(2), prompts(2)), before)
    again: list[Tensor] = []
    back, done = threading.Event(), threading.Event()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            back.set()
            assert done.wait(10)

    monkeypatch.setattr(remote.time, "sleep", wait)
    thread = threading.Thread(target=lambda: again.append(reward.score(images(2), prompts(2))))
    thread.start()
    assert back.wait(10)
    with serving(JpegCompressibility(), port=port):
        done.set()
        thread.join(10)
    reward.close()
    assert torch.equal(again[0], before)
    assert waits == [0.5, 1.0]


def test_a_server_that_stays_away_is_an_error_after_the_tries(monkeypatch):
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    with serving(JpegCompressibility()) as url:
        reward = Remote(url=url, retries=2)
    with pytest.raises(RemoteError, match=r"'mine' at http.* cannot be reached: Con.*\(3 tries\)"):
        reward.score(images(1), prompts(1))
    reward.close()


def test_a_server_that_is_not_there_is_refused():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(RecipeError, match=rf"no reward is served at {url}: .*`zoo serve`"):
            single_reward("remote", [f"url={url}"]).build({"device": CPU})


@pytest.mark.parametrize("protocol", [0, 2, "1", None])
def test_a_server_of_another_version_is_refused(protocol):
    said = {"protocol": protocol, "name": "a", "groupwise": False, "max_request": 9}
    with (
        answering(200, json.dumps(said).encode()) as url,
        pytest.raises(ValueError, match=rf"speaks protocol {protocol} and this zoo 1; install"),
    ):
        Remote(url=url)


@pytest.mark.parametrize(
    ("status", "content"),
    [(200, b"<html>"), (200, b"[]"), (200, b"{}"), (404, b"nothing here"), (500, b"")],
)
def test_what_is_no_zoo_serve_is_refused(status, content):
    with answering(status, content) as url, pytest.raises(ValueError, match=url):
        Remote(url=url)


@pytest.mark.parametrize(
    "url", ["host:8100", "ftp://host", "http://", "http://a b", "http://host:x", "http://a:b@host"]
)
def test_an_address_that_cannot_be_used_is_refused(url):
    with pytest.raises(ValueError, match=r"write url: http://HOST:8100"):
        Remote(url=url)


class TestRemoteContract(RewardTests):
    @pytest.fixture(autouse=True)
    def _served(self):
        self.made = []
        with serving(JpegCompressibility()) as self.url:
            yield
            for reward in self.made:
                reward.close()

    def make(self) -> Reward:
        self.made.append(Remote(url=self.url))
        return self.made[-1]

    def images(self, num: int) -> Tensor:
        return (some_images(num) * 255).round() / 255
