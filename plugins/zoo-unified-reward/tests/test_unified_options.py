"""The options of the reward: what they change, and what is refused before a run."""

import logging
import math
import socket

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo_unified_reward.answer import ServerError
from zoo_unified_reward.data_url import ImageOptions
from zoo_unified_reward.reply import Scale
from zoo_unified_reward.reward import UnifiedReward

from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError, load_recipe


def images(num: int, size: int = 16) -> Tensor:
    return torch.rand(num, 3, size, size, generator=torch.Generator().manual_seed(0))


def named(*texts: str) -> list[Prompt]:
    return [Prompt(text) for text in texts]


def score(reward: UnifiedReward) -> float:
    """Of one image."""
    return round(float(reward.score(images(1), named("a")).value), 6)


@pytest.mark.parametrize(("size", "shape"), [(None, (20, 30)), (60, (40, 60)), (15, (10, 15))])
def test_the_image_arrives_in_the_size_that_is_asked_for(made, server, size, shape):
    arrived = []
    server.answer = lambda question: [arrived.append(np.array(question.image)), question.say("4")]
    picture = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    made(image=ImageOptions(size=size)).score(picture, named("a"))
    assert arrived[0].shape == (*shape, 3)
    if size is None:
        wanted = (picture[0].permute(1, 2, 0).double().numpy() * 255).round()
        np.testing.assert_array_equal(arrived[0], wanted)


def test_jpeg_is_sent_as_jpeg(made, server):
    arrived = []
    server.answer = lambda question: [arrived.append(question.image.format), question.say("4")]
    reward = made(image=ImageOptions(format="jpeg"))
    reward.score(torch.full((1, 3, 8, 8), 0.5), named("a"))
    assert arrived == ["JPEG"]
    assert server.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith(
        "data:image/jpeg;base64,"
    )


def test_another_scale_and_pattern_are_read(made, server):
    server.answer = lambda question: question.say(f"grade={question.text}!")
    reward = made(scale=Scale(0, 10), pattern=r"grade=(\d+)")
    found = reward.score(images(4), named("0", "7", "10", "11")).value
    wanted = torch.tensor([0.0, 0.7, 1.0, math.nan])
    torch.testing.assert_close(found, wanted, equal_nan=True)


def test_the_key_is_sent_and_never_shown(made, server, monkeypatch, caplog):
    monkeypatch.setenv("JUDGE_KEY", " sk-secret-1234\n")
    caplog.set_level(logging.DEBUG)
    said = {"error": {"message": "the key sk-secret-1234 is wrong"}}
    server.answer = lambda question: question.json(401, said)
    reward = made(api_key_env="JUDGE_KEY")
    with pytest.raises(ServerError, match=r"the key \*\*\* is wrong") as error:
        reward.score(images(1), named("a"))
    assert server.keys == ["Bearer sk-secret-1234"] * 2
    server.list_models = lambda question: question.json(401, said)
    with pytest.raises(ValueError, match=r"HTTP 401: the key \*\*\* is wrong; .*api_key_env") as at:
        made(api_key_env="JUDGE_KEY")
    for shown in (
        caplog.text,
        str(error.value),
        str(at.value),
        repr(vars(reward._model)["_server"]),
    ):
        assert "secret" not in shown


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_set_is_refused(made, server, monkeypatch, value):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(ValueError, match=r"variable 'JUDGE_KEY', which is not set .*; export it"):
        made(api_key_env="JUDGE_KEY")


def test_a_key_in_place_of_the_variable_s_name_is_not_shown(made, server):
    with pytest.raises(ValueError, match=r"environment variable \(not a name\), which is not set"):
        made(api_key_env="sk-secret-1234")


@pytest.mark.parametrize("key", ["a b", "a\x00b".replace("\x00", "\x01"), "schlüssel"])
def test_a_key_with_other_characters_is_refused_and_not_shown(made, server, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ValueError, match=r"'JUDGE_KEY' holds no API key") as error:
        made(api_key_env="JUDGE_KEY")
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


def test_a_slash_at_the_end_of_the_url_does_not_matter(made, server):
    assert score(made(url=server.url + "/")) == 0.8


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
def test_a_template_that_cannot_be_filled_is_refused(made, server, template, message):
    with pytest.raises(ValueError, match=message):
        made(template=template)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", r"not a regular expression"), (r"\d", r"has 0 groups"), (r"(\d)(\d)", r"has 2 groups")],
)
def test_a_pattern_without_its_one_group_is_refused(made, server, pattern, message):
    with pytest.raises(ValueError, match=message):
        made(pattern=pattern)


def test_a_model_that_the_server_lacks_is_refused_with_those_it_has(made, server):
    server.models = ["alpha", "beta"]
    with pytest.raises(ValueError, match=r"has no model 'judge'; it has: alpha, beta; write model"):
        made()


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
def test_a_server_that_does_not_list_models_is_refused_with_the_fix(made, server, listing, message):
    server.list_models = listing
    with pytest.raises(ValueError, match=rf"at {server.url} cannot be .*{message}.*check: false"):
        made()
    assert score(made(check=False)) == 0.8


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
    assert score(reward) == 0.7
