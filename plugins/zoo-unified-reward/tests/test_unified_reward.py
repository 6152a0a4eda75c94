"""The reward against a server that answers, refuses, delays and breaks."""

import asyncio
import gc
import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo_unified_reward.answer import ServerError
from zoo_unified_reward.client import ChatClient
from zoo_unified_reward.question import QUESTION, Template
from zoo_unified_reward.reward import UnifiedReward
from zoo_unified_reward.server import Retries, Server, Timeouts

from zoo.prompt import Prompt

SOON = Retries(wait=0.01)
ONCE = Retries(count=0)
BODY = b'{"messages": [{"content": [0, {"text": "a"}]}]}'


def images(num: int, size: int = 16) -> Tensor:
    return torch.rand(num, 3, size, size, generator=torch.Generator().manual_seed(0))


def named(*texts: str) -> list[Prompt]:
    return [Prompt(text) for text in texts]


def scores(reward: UnifiedReward, *texts: str) -> list[float | None]:
    """The score of an image for each text, None for NaN."""
    found = reward.score(images(len(texts)), named(*texts)).value
    return [None if math.isnan(value) else round(value, 6) for value in found.tolist()]


def by_text(**answers: Callable[[Any], None]) -> Callable[[Any], None]:
    """Answers each text in its own way, others with 4."""

    def answer(question: Any) -> None:
        answers.get(question.text, lambda q: q.say("Final Score: 4"))(question)

    return answer


def first_then_four(first: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda question: question.say("Final Score: 4") if question.tries else first(question)


def test_the_rating_is_divided_by_5_as_published(made, server):
    server.answer = lambda question: question.say(f"Final Score: {question.text}")
    found = made().score(images(3), named("1", "4.5", "5"))
    torch.testing.assert_close(found.value, torch.tensor([0.2, 0.9, 1.0]))
    assert found.value.dtype == torch.float32
    assert found.extras["failed"].tolist() == found.extras["unreadable"].tolist() == [0, 0, 0]


def test_the_request_is_what_the_api_wants(made, server):
    made().score(images(1), named("a cat"))
    body = server.asked[0]
    content = body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    settings = {key: value for key, value in body.items() if key != "messages"}
    assert settings == {"model": "judge", "max_tokens": 512, "temperature": 0.0}
    made(seed=3, max_tokens=9).score(images(1), named("a cat"))
    assert (server.asked[1]["seed"], server.asked[1]["max_tokens"]) == (3, 9)


def test_the_question_has_the_prompt_as_it_is(made, server):
    made(template="Is {{it}} [{prompt}]?").score(images(1), named("a {b} {prompt} %s\n\\"))
    assert (
        server.asked[0]["messages"][0]["content"][1]["text"] == "Is {it} [a {b} {prompt} %s\n\\]?"
    )


def test_the_usual_question_asks_for_what_the_parser_reads():
    question = Template.parse(QUESTION).fill("a cat")
    assert "Final Score:" in question
    assert "from 1 (worst) to 5 (best)" in question
    assert question.endswith("Caption: [a cat]")


def test_scores_keep_their_order_whatever_comes_first(made, server):
    last_is_done = threading.Event()

    def answer(question):
        if question.text != "5":
            assert last_is_done.wait(10)
        question.say(question.text)
        last_is_done.set()

    server.answer = answer
    assert scores(made(), "1", "2", "3", "4", "5") == [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.slow
def test_a_score_depends_on_its_own_image_and_prompt_alone(made, server):
    def answer(question):
        mean = np.array(question.image).mean() / 255
        question.say(f"Final Score: {1 + 3 * mean + len(question.text) / 10:.4f}")

    server.answer = answer
    reward, pictures, prompts = made(), images(5), named("a", "bb", "ccc", "dd", "e")
    whole = reward.score(pictures, prompts).value
    assert torch.equal(whole, reward.score(pictures, prompts).value)
    turned = [3, 0, 4, 1, 2]
    again = reward.score(pictures[turned], [prompts[i] for i in turned]).value
    assert torch.equal(again, whole[turned])
    alone = [reward.score(pictures[i : i + 1], prompts[i : i + 1]).value for i in range(5)]
    assert torch.equal(torch.cat(alone), whole)


def test_no_more_requests_are_open_than_allowed_and_no_fewer(made, server):
    limit, together, lock = 3, threading.Barrier(3, timeout=10), threading.Lock()
    now = most = 0

    def answer(question):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait()
        with lock:
            now -= 1
        question.say("4")

    server.answer = answer
    assert scores(made(max_in_flight=limit), *"abcdefghijkl") == [0.8] * 12
    assert most == limit


PASSING = {
    "500": lambda question: question.json(500, {"error": {"message": "out of memory"}}),
    "503": lambda question: question.json(503, {"detail": "loading"}),
    "429": lambda question: question.json(429, {}, Retry_After="0"),
    "429-date": lambda question: question.json(
        429, {}, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"
    ),
    "429-word": lambda question: question.json(429, {}, Retry_After="soon"),
    "garbage": lambda question: question.send(200, b"{'choices': <garbage>"),
    "empty": lambda question: question.send(200, b""),
    "no-choice": lambda question: question.json(200, {"choices": []}),
    "list": lambda question: question.json(200, ["no"]),
    "no-message": lambda question: question.json(200, {"choices": [{"message": "no"}]}),
    "partial": lambda question: [question.promise(100, b'{"choices'), question.hang_up()],
    "drop": lambda question: question.hang_up(),
    "gzip": lambda question: question.send(200, b"not gzip", Content_Encoding="gzip"),
}
"""Answers that another try may better."""


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("first", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(made, server, first):
    server.answer = first_then_four(first)
    assert scores(made(), "a", "b") == [0.8, 0.8]
    assert len(server.asked) == 4


@pytest.fixture
def waits(monkeypatch):
    """The seconds that are waited, from now on in no time."""
    seconds_waited = []
    sleep = asyncio.sleep

    async def note(seconds):
        seconds_waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return seconds_waited


def test_the_server_s_retry_after_is_kept_where_it_is_longer(made, server, waits):
    server.answer = first_then_four(lambda question: question.json(429, {}, Retry_After="7"))
    assert scores(made(), "a") == [0.8]
    assert max(waits) == 7


def test_waits_grow_and_are_scattered(made, server, waits):
    server.answer = by_text(a=lambda question: question.json(500, {}))
    assert scores(made(retries=Retries(count=8, wait=1.0)), "a", "b") == [None, 0.8]
    waits = [wait for wait in waits if wait]
    assert len(waits) == 8
    for attempt, wait in enumerate(waits):
        grown = min(2.0**attempt, 30.0)
        assert 0.5 * grown <= wait <= 1.5 * grown


def test_a_retry_after_beyond_the_total_is_not_waited_for(made, server):
    server.answer = by_text(a=lambda question: question.json(429, {}, Retry_After="3600"))
    assert scores(made(), "a", "b") == [None, 0.8]
    assert len(server.asked) == 2


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refused_request_is_not_sent_again(made, server, status):
    server.answer = by_text(a=lambda question: question.json(status, {"error": {"message": "no"}}))
    assert scores(made(), "a", "b") == [None, 0.8]
    assert len(server.asked) == 2


BAD = {
    "400": lambda question: question.json(400, {"error": {"message": "the image is too large"}}),
    "500": lambda question: question.json(500, {}),
    "drop": lambda question: question.hang_up(),
    "refusal": lambda question: question.say("I'm sorry, I can't rate that."),
    "refusal-field": lambda question: question.say(None, refusal="I can't."),
    "nothing": lambda question: question.say(None),
    "range": lambda question: question.say("Final Score: 10"),
    "cut": lambda question: question.say("Final Score: 4", finish="length"),
    "endless": lambda question: question.promise(2 << 20, b"x" * (2 << 20)),
    "redirect": lambda question: question.send(302, b"", Location="/elsewhere"),
}
"""Answers that give no score."""


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_one_bad_image_does_not_spoil_the_others(made, server, bad, caplog):
    server.answer = by_text(b=bad)
    found = made(retries=ONCE).score(images(3), named("a", "b", "c"))
    assert found.value.isnan().tolist() == [False, True, False]
    assert (found.extras["failed"] + found.extras["unreadable"]).tolist() == [0, 1, 0]
    lines = [record.getMessage() for record in caplog.records if "zoo" in record.name]
    assert len(lines) == 1
    assert lines[0].startswith("1 of 3 images have no score from judge at http://127.0.0.1:")


def test_what_failed_and_what_could_not_be_read_are_counted_apart(made, server, caplog):
    no = partial(by_text, b=lambda question: question.json(400, {"error": "too long"}))
    server.answer = no(c=lambda question: question.say("A\n cat"))
    found = made().score(images(3), named("a", "b", "c"))
    assert found.extras["failed"].tolist() == [0, 1, 0]
    assert found.extras["unreadable"].tolist() == [0, 0, 1]
    assert "1 x HTTP 400: too long; 1 x no readable score in the reply 'A cat'" in caplog.text


def test_an_image_that_is_not_finite_is_not_sent(made, server):
    pictures = images(2)
    pictures[0, 0, 0, 0] = math.nan
    found = made().score(pictures, named("a", "b")).value
    assert found.isnan().tolist() == [True, False]
    assert len(server.asked) == 1


def test_a_batch_of_which_every_request_fails_is_an_error_in_one_line(made, server):
    server.answer = lambda question: question.json(500, {"error": {"message": "out of\nmemory"}})
    with pytest.raises(ServerError) as error:
        made(retries=Retries(count=1, wait=0.01)).score(images(3), named("a", "b", "c"))
    said = f"at {server.url}: 3 x HTTP 500: out of memory (2 tries)"
    assert str(error.value) == f"3 of 3 images have no score from judge {said}"


def test_refusals_alone_are_no_error(made, server):
    server.answer = lambda question: question.say("I can't.")
    assert scores(made(), "a", "b") == [None, None]


def test_no_images_have_no_scores_and_no_request(made, server):
    assert made().score(torch.zeros(0, 3, 8, 8), []).value.shape == (0,)
    assert server.asked == []


@pytest.mark.slow
def test_a_server_that_never_answers_ends_with_the_total(made, server):
    def answer(question):
        if question.text == "b":
            server.closing.wait(30)
        question.say("4")

    server.answer = answer
    reward = made(timeouts=Timeouts(total=3.0))
    found = reward.score(images(3), named("a", "b", "c"))
    assert found.value.isnan().tolist() == [False, True, False]


def test_a_drip_of_bytes_ends_with_the_request(made, server, caplog):
    def drip(question):
        question.promise(10_000, b"")
        while not server.closing.wait(0.01):
            question.handler.wfile.write(b" ")

    server.answer = by_text(a=drip)
    reward = made(retries=ONCE, timeouts=Timeouts(request=0.3))
    assert scores(reward, "a", "b") == [None, 0.8]
    assert "no answer within timeouts.request = 0.3 s" in caplog.text


def test_a_server_that_hangs_once_is_asked_again(made, server):
    server.answer = first_then_four(lambda question: server.closing.wait(30))
    assert scores(made(timeouts=Timeouts(request=0.3)), "a") == [0.8]


def test_a_server_that_is_gone_is_an_error_and_one_that_is_back_is_used(made, server):
    reward, url = made(retries=ONCE), server.url
    server.answer = lambda question: question.hang_up()
    with pytest.raises(ServerError, match=rf"2 of 2 images have no score from judge at {url}: 2 x"):
        reward.score(images(2), named("a", "b"))
    server.answer = lambda question: question.say("4")
    assert scores(reward, "a", "b") == [0.8, 0.8]


@pytest.mark.slow
def test_a_cancelled_batch_leaves_no_task_and_no_connection(server):
    arrived = threading.Event()
    server.answer = lambda question: [arrived.set(), server.closing.wait(30)]
    client = ChatClient(Server(server.url, Timeouts(), SOON, 2), None)

    async def cancelled() -> int:
        batch = asyncio.create_task(client._ask_all([lambda: BODY] * 5))
        assert await asyncio.to_thread(arrived.wait, 10)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        return len(asyncio.all_tasks())

    assert asyncio.run(cancelled()) == 1
    # What was not closed warns here, and warnings are errors.
    gc.collect()


def test_a_call_that_takes_too_long_can_be_interrupted_and_the_next_one_scores(made, server):
    arrived, raised = threading.Event(), []
    server.answer = lambda question: [arrived.set(), server.closing.wait(30)]
    reward = made()

    def hang() -> None:
        try:
            reward.score(images(2), named("a", "b"))
        except ServerError as error:
            raised.append(str(error))

    thread = threading.Thread(target=hang)
    thread.start()
    assert arrived.wait(10)
    assert reward.interrupt()
    thread.join(10)
    assert raised == ["it was interrupted"]
    server.answer = lambda question: question.say("4")
    assert scores(reward, "a") == [0.8]


@pytest.mark.slow
def test_two_threads_may_score_at_once(made, server):
    server.answer = lambda question: question.say(question.text)
    reward, found = made(), {}

    def work(number: str) -> None:
        found[number] = scores(reward, *[number] * 8)

    threads = [threading.Thread(target=work, args=(number,)) for number in "1245"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {number: [int(number) / 5] * 8 for number in "1245"}
