"""The reward against a server that answers, refuses, delays and breaks."""

import asyncio
import gc
import logging
import math
import socket
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
from zoo_unified_reward.data_url import ImageOptions
from zoo_unified_reward.question import QUESTION, Template
from zoo_unified_reward.reply import Scale
from zoo_unified_reward.reward import UnifiedReward
from zoo_unified_reward.server import Retries, Server, Timeouts

from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError, load_recipe

SOON = Retries(wait=0.01)
ONCE = Retries(count=0)
BODY = b'{"messages": [{"content": [0, {"text": "a"}]}]}'


def made(server, **options: Any) -> UnifiedReward:
    usual = {"model": "judge", "template": "{prompt}", "retries": SOON}
    return UnifiedReward(**{"url": server.url} | usual | options)


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


def test_the_rating_is_divided_by_5_as_published(server):
    server.answer = lambda question: question.say(f"Final Score: {question.text}")
    found = made(server).score(images(3), named("1", "4.5", "5"))
    torch.testing.assert_close(found.value, torch.tensor([0.2, 0.9, 1.0]))
    assert found.value.dtype == torch.float32
    assert found.extras["failed"].tolist() == found.extras["unreadable"].tolist() == [0, 0, 0]


def test_the_request_is_what_the_api_wants(server):
    made(server).score(images(1), named("a cat"))
    body = server.asked[0]
    content = body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    settings = {key: value for key, value in body.items() if key != "messages"}
    assert settings == {"model": "judge", "max_tokens": 512, "temperature": 0.0}
    made(server, seed=3, max_tokens=9).score(images(1), named("a cat"))
    assert (server.asked[1]["seed"], server.asked[1]["max_tokens"]) == (3, 9)


def test_the_question_has_the_prompt_as_it_is(server):
    made(server, template="Is {{it}} [{prompt}]?").score(images(1), named("a {b} {prompt} %s\n\\"))
    assert (
        server.asked[0]["messages"][0]["content"][1]["text"] == "Is {it} [a {b} {prompt} %s\n\\]?"
    )


def test_the_usual_question_asks_for_what_the_parser_reads():
    question = Template.parse(QUESTION).filled("a cat")
    assert "Final Score:" in question
    assert "from 1 (worst) to 5 (best)" in question
    assert question.endswith("Caption: [a cat]")


@pytest.mark.parametrize(("size", "shape"), [(None, (20, 30)), (60, (40, 60)), (15, (10, 15))])
def test_the_image_arrives_in_the_size_that_is_asked_for(server, size, shape):
    arrived = []
    server.answer = lambda question: [arrived.append(np.array(question.image)), question.say("4")]
    picture = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    made(server, image=ImageOptions(size=size)).score(picture, named("a"))
    assert arrived[0].shape == (*shape, 3)
    if size is None:
        wanted = (picture[0].permute(1, 2, 0).double().numpy() * 255).round()
        np.testing.assert_array_equal(arrived[0], wanted)


def test_jpeg_is_sent_as_jpeg(server):
    arrived = []
    server.answer = lambda question: [arrived.append(question.image.format), question.say("4")]
    reward = made(server, image=ImageOptions(format="jpeg"))
    reward.score(torch.full((1, 3, 8, 8), 0.5), named("a"))
    assert arrived == ["JPEG"]
    assert server.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith(
        "data:image/jpeg;base64,"
    )


def test_scores_keep_their_order_whatever_comes_first(server):
    last_is_done = threading.Event()

    def answer(question):
        if question.text != "5":
            assert last_is_done.wait(10)
        question.say(question.text)
        last_is_done.set()

    server.answer = answer
    assert scores(made(server), "1", "2", "3", "4", "5") == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_a_score_depends_on_its_own_image_and_prompt_alone(server):
    def answer(question):
        mean = np.array(question.image).mean() / 255
        question.say(f"Final Score: {1 + 3 * mean + len(question.text) / 10:.4f}")

    server.answer = answer
    reward, pictures, prompts = made(server), images(5), named("a", "bb", "ccc", "dd", "e")
    whole = reward.score(pictures, prompts).value
    assert torch.equal(whole, reward.score(pictures, prompts).value)
    turned = [3, 0, 4, 1, 2]
    again = reward.score(pictures[turned], [prompts[i] for i in turned]).value
    assert torch.equal(again, whole[turned])
    alone = [reward.score(pictures[i : i + 1], prompts[i : i + 1]).value for i in range(5)]
    assert torch.equal(torch.cat(alone), whole)


def test_no_more_requests_are_open_than_allowed_and_no_fewer(server):
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
    assert scores(made(server, max_in_flight=limit), *"abcdefghijkl") == [0.8] * 12
    assert most == limit


@pytest.mark.parametrize(
    "first",
    [
        lambda question: question.json(500, {"error": {"message": "out of memory"}}),
        lambda question: question.json(503, {"detail": "loading"}),
        lambda question: question.json(429, {}, Retry_After="0"),
        lambda question: question.json(429, {}, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        lambda question: question.json(429, {}, Retry_After="soon"),
        lambda question: question.send(200, b"{'choices': <garbage>"),
        lambda question: question.send(200, b""),
        lambda question: question.json(200, {"choices": []}),
        lambda question: question.json(200, ["no"]),
        lambda question: question.json(200, {"choices": [{"message": "no"}]}),
        lambda question: [question.promise(100, b'{"choices'), question.hang_up()],
        lambda question: question.hang_up(),
        lambda question: question.send(200, b"not gzip", Content_Encoding="gzip"),
    ],
    ids=[
        "500",
        "503",
        "429",
        "429-date",
        "429-word",
        "garbage",
        "empty",
        "no-choice",
        "list",
        "no-message",
        "partial",
        "drop",
        "gzip",
    ],
)
def test_what_may_pass_is_tried_again(server, first):
    server.answer = first_then_four(first)
    assert scores(made(server), "a", "b") == [0.8, 0.8]
    assert len(server.asked) == 4


def test_the_server_s_retry_after_is_kept_where_it_is_longer(server, monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def noted(seconds):
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    server.answer = first_then_four(lambda question: question.json(429, {}, Retry_After="7"))
    assert scores(made(server), "a") == [0.8]
    assert max(waits) == 7


def test_waits_grow_and_are_scattered(server, monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def noted(seconds):
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", noted)
    server.answer = by_text(a=lambda question: question.json(500, {}))
    assert scores(made(server, retries=Retries(count=8, wait=1.0)), "a", "b") == [None, 0.8]
    waits = [wait for wait in waits if wait]
    assert len(waits) == 8
    for attempt, wait in enumerate(waits):
        grown = min(2.0**attempt, 30.0)
        assert 0.5 * grown <= wait <= 1.5 * grown


def test_a_retry_after_beyond_the_total_is_not_waited_for(server):
    server.answer = by_text(a=lambda question: question.json(429, {}, Retry_After="3600"))
    assert scores(made(server), "a", "b") == [None, 0.8]
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_a_refused_request_is_not_sent_again(server, status):
    server.answer = by_text(a=lambda question: question.json(status, {"error": {"message": "no"}}))
    assert scores(made(server), "a", "b") == [None, 0.8]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "bad",
    [
        lambda question: question.json(400, {"error": {"message": "the image is too large"}}),
        lambda question: question.json(500, {}),
        lambda question: question.hang_up(),
        lambda question: question.say("I'm sorry, I can't rate that."),
        lambda question: question.say(None, refusal="I can't."),
        lambda question: question.say(None),
        lambda question: question.say("Final Score: 10"),
        lambda question: question.say("Final Score: 4", finish="length"),
        lambda question: question.promise(2 << 20, b"x" * (2 << 20)),
        lambda question: question.send(302, b"", Location="/elsewhere"),
    ],
    ids=[
        "400",
        "500",
        "drop",
        "refusal",
        "refusal-field",
        "nothing",
        "range",
        "cut",
        "endless",
        "redirect",
    ],
)
def test_one_bad_image_does_not_spoil_the_others(server, bad, caplog):
    server.answer = by_text(b=bad)
    found = made(server, retries=ONCE).score(images(3), named("a", "b", "c"))
    assert found.value.isnan().tolist() == [False, True, False]
    assert (found.extras["failed"] + found.extras["unreadable"]).tolist() == [0, 1, 0]
    lines = [record.getMessage() for record in caplog.records if "zoo" in record.name]
    assert len(lines) == 1
    assert lines[0].startswith("1 of 3 images have no score from judge at http://127.0.0.1:")


def test_what_failed_and_what_could_not_be_read_are_counted_apart(server, caplog):
    no = partial(by_text, b=lambda question: question.json(400, {"error": "too long"}))
    server.answer = no(c=lambda question: question.say("A\n cat"))
    found = made(server).score(images(3), named("a", "b", "c"))
    assert found.extras["failed"].tolist() == [0, 1, 0]
    assert found.extras["unreadable"].tolist() == [0, 0, 1]
    assert "1 x HTTP 400: too long; 1 x no readable score in the reply 'A cat'" in caplog.text


def test_an_image_that_is_not_finite_is_not_sent(server):
    pictures = images(2)
    pictures[0, 0, 0, 0] = math.nan
    found = made(server).score(pictures, named("a", "b")).value
    assert found.isnan().tolist() == [True, False]
    assert len(server.asked) == 1


def test_a_batch_of_which_every_request_fails_is_an_error_in_one_line(server):
    server.answer = lambda question: question.json(500, {"error": {"message": "out of\nmemory"}})
    with pytest.raises(ServerError) as error:
        made(server, retries=Retries(count=1, wait=0.01)).score(images(3), named("a", "b", "c"))
    said = f"at {server.url}: 3 x HTTP 500: out of memory (2 tries)"
    assert str(error.value) == f"3 of 3 images have no score from judge {said}"


def test_refusals_alone_are_no_error(server):
    server.answer = lambda question: question.say("I can't.")
    assert scores(made(server), "a", "b") == [None, None]


def test_no_images_have_no_scores_and_no_request(server):
    assert made(server).score(torch.zeros(0, 3, 8, 8), []).value.shape == (0,)
    assert server.asked == []


def test_a_server_that_never_answers_ends_with_the_total(server):
    def answer(question):
        if question.text == "b":
            server.closing.wait(30)
        question.say("4")

    server.answer = answer
    reward = made(server, timeouts=Timeouts(total=0.5))
    found = reward.score(images(3), named("a", "b", "c"))
    assert found.value.isnan().tolist() == [False, True, False]


def test_a_drip_of_bytes_ends_with_the_request(server, caplog):
    def drip(question):
        question.promise(10_000, b"")
        while not server.closing.wait(0.01):
            question.handler.wfile.write(b" ")

    server.answer = by_text(a=drip)
    reward = made(server, retries=ONCE, timeouts=Timeouts(request=0.3))
    assert scores(reward, "a", "b") == [None, 0.8]
    assert "no answer within timeouts.request = 0.3 s" in caplog.text


def test_a_server_that_hangs_once_is_asked_again(server):
    server.answer = first_then_four(lambda question: server.closing.wait(30))
    assert scores(made(server, timeouts=Timeouts(request=0.3)), "a") == [0.8]


def test_a_server_that_is_gone_is_an_error_and_one_that_is_back_is_used(server):
    reward, url = made(server, retries=ONCE), server.url
    server.answer = lambda question: question.hang_up()
    with pytest.raises(ServerError, match=rf"2 of 2 images have no score from judge at {url}: 2 x"):
        reward.score(images(2), named("a", "b"))
    server.answer = lambda question: question.say("4")
    assert scores(reward, "a", "b") == [0.8, 0.8]


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


def test_a_call_that_takes_too_long_can_be_interrupted_and_the_next_one_scores(server):
    arrived, raised = threading.Event(), []
    server.answer = lambda question: [arrived.set(), server.closing.wait(30)]
    reward = made(server)

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


def test_two_threads_may_score_at_once(server):
    server.answer = lambda question: question.say(question.text)
    reward, found = made(server), {}

    def work(number: str) -> None:
        found[number] = scores(reward, *[number] * 8)

    threads = [threading.Thread(target=work, args=(number,)) for number in "1245"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == {number: [int(number) / 5] * 8 for number in "1245"}


def test_another_scale_and_pattern_are_read(server):
    server.answer = lambda question: question.say(f"grade={question.text}!")
    reward = made(server, scale=Scale(0, 10), pattern=r"grade=(\d+)")
    assert scores(reward, "0", "7", "10", "11") == [0.0, 0.7, 1.0, None]


def test_the_key_is_sent_and_never_shown(server, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", " sk-secret-1234\n")
    caplog.set_level(logging.DEBUG)
    said = {"error": {"message": "the key sk-secret-1234 is wrong"}}
    server.answer = lambda question: question.json(401, said)
    reward = made(server, api_key_env="JUDGE_KEY")
    with pytest.raises(ServerError, match=r"the key \*\*\* is wrong") as error:
        reward.score(images(1), named("a"))
    assert server.keys == ["Bearer sk-secret-1234"] * 2
    server.list_models = lambda question: question.json(401, said)
    with pytest.raises(ValueError, match=r"HTTP 401: the key \*\*\* is wrong; .*api_key_env") as at:
        made(server, api_key_env="JUDGE_KEY")
    for shown in (caplog.text, str(error.value), str(at.value), repr(vars(reward)["_server"])):
        assert "secret" not in shown


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_set_is_refused(server, monkeypatch, value):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(ValueError, match=r"variable 'JUDGE_KEY', which is not set .*; export it"):
        made(server, api_key_env="JUDGE_KEY")


def test_a_key_in_place_of_the_variable_s_name_is_not_shown(server):
    with pytest.raises(ValueError, match=r"environment variable \(not a name\), which is not set"):
        made(server, api_key_env="sk-secret-1234")


@pytest.mark.parametrize("key", ["a b", "a\x00b".replace("\x00", "\x01"), "schlüssel"])
def test_a_key_with_other_characters_is_refused_and_not_shown(server, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ValueError, match=r"'JUDGE_KEY' holds no API key") as error:
        made(server, api_key_env="JUDGE_KEY")
    assert key not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8000/v1", r"not of the form http\(s\)://"),
        ("ftp://host/v1", r"not of the form"),
        ("http:///v1", r"not of the form"),
        ("", r"not of the form"),
        ("http://host:99999/v1", r"cannot be read"),
        ("http://host:x/v1", r"cannot be read"),
        ("http://[::1/v1", r"cannot be read"),
        ("http://host/v1?key=1", r"query, fragment or space"),
        ("http://host/a b", r"query, fragment or space"),
        ("http://host/v1/chat/completions", r"leave out '/chat/completions'"),
        ("http://me:secret@host/v1", r"the url of host holds a user or password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url, message):
    with pytest.raises(ValueError, match=message) as error:
        UnifiedReward(url=url, check=False)
    assert "write url: http://HOST:PORT/v1" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_slash_at_the_end_of_the_url_does_not_matter(server):
    assert scores(made(server, url=server.url + "/"), "a") == [0.8]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Rate this image.", r"'Rate this image.' has no \{prompt\}"),
        ("Rate {{prompt}}.", r"has no \{prompt\}"),
        ("Rate {caption}.", r"unknown placeholder \{caption\}; only \{prompt\} is known"),
        ("Rate {prompt} {}.", r"unknown placeholder \{\}"),
        ("Rate {prompt!r}.", r"format 'r'; only plain \{prompt\}"),
        ("Rate {prompt:>5}.", r"format '>5'"),
        ("Rate {prompt", r"stray brace; write \{\{ and \}\}"),
        ("Rate {prompt} }", r"stray brace"),
        ("Rate " + "x" * 100, r"'Rate x{52}\.\.\.' has no"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(server, template, message):
    with pytest.raises(ValueError, match=message):
        made(server, template=template)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", r"not a regular expression"), (r"\d", r"has 0 groups"), (r"(\d)(\d)", r"has 2 groups")],
)
def test_a_pattern_without_its_one_group_is_refused(server, pattern, message):
    with pytest.raises(ValueError, match=message):
        made(server, pattern=pattern)


def test_a_model_that_the_server_lacks_is_refused_with_those_it_has(server):
    server.models = ["alpha", "beta"]
    with pytest.raises(ValueError, match=r"has no model 'judge'; it has: alpha, beta; write model"):
        made(server)


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (lambda question: question.json(404, {"detail": "Not Found"}), r"HTTP 404: .*Not Found"),
        (lambda question: question.json(503, {}), r"HTTP 503"),
        (lambda question: question.send(200, b"<html>"), r"not JSON: <html>"),
        (lambda question: question.json(200, {"models": []}), r"no list of models"),
        (lambda question: question.json(200, None), r"no list of models"),
        (lambda question: question.hang_up(), r"RemoteProtocolError"),
    ],
    ids=["404", "503", "html", "other", "null", "drop"],
)
def test_a_server_that_does_not_list_models_is_refused_with_the_fix(server, listing, message):
    server.list_models = listing
    with pytest.raises(ValueError, match=rf"at {server.url} cannot be .*{message}.*check: false"):
        made(server)
    assert scores(made(server, check=False), "a") == [0.8]


def test_a_server_that_is_not_there_stops_the_recipe_before_any_weights_load():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    options = f"rewards=[{{name: unified_reward, url: '{gone}', model: judge}}]"
    recipe = load_recipe("recipes/nft_digits.yaml", [options])
    with pytest.raises(RecipeError, match=r"'unified_reward' refuses its options: the server at"):
        recipe.rewards[0].build({"device": torch.device("cpu")})


def test_a_recipe_names_every_option(server):
    options = (
        "{name: unified_reward, url: '" + server.url + "', model: judge, template: '{prompt}', "
        "scale: {lowest: 0, highest: 10}, image: {format: jpeg, size: null}, max_in_flight: 2, "
        "timeouts: {request: 5}, retries: {count: 1, wait: 0}, max_tokens: 64, seed: 1}"
    )
    recipe = load_recipe("recipes/nft_digits.yaml", [f"rewards=[{options}]"])
    server.answer = lambda question: question.say("7")
    reward = recipe.rewards[0].build({"device": torch.device("cpu")})
    assert scores(reward, "a") == [0.7]
