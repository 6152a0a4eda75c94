"""The reward `remote`, and `zoo serve`'s application at the other end of a real socket."""

import json
import socket
import threading

import pytest
import torch
from torch import Tensor

from tests.reward.serving import (
    CPU,
    Scored,
    answering,
    connected,
    images,
    prompts,
    serving,
)
from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError, single_reward
from zoo.reward import remote
from zoo.reward.base import KnownAnswer, Reward, Scores
from zoo.reward.diversity import Diversity
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.known_answers import score_known_answers
from zoo.reward.remote import Remote, RemoteError
from zoo.testing import RewardTests, some_images


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
        answers = score_known_answers(reward, "it", CPU, 60)
    assert [answer.right for answer in answers] == [False]
    assert (answers[0].scored - answers[0].wanted).round().tolist() == [0, -1]


def test_no_images_have_no_scores():
    with serving(JpegCompressibility()) as url, connected(url) as reward:
        assert reward.score(torch.zeros(0, 3, 4, 4), []).shape == (0,)


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
