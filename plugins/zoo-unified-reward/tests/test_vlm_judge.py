"""A question of the recipe's own: both forms of answers, edits, and what has no score."""

import math
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from zoo_unified_reward.answer import ServerError
from zoo_unified_reward.data_url import ImageOptions
from zoo_unified_reward.judge import VLMJudge
from zoo_unified_reward.reply import Scale
from zoo_unified_reward.server import Retries

from zoo.prompt import ImageBytes, Prompt, PromptError
from zoo.recipe.recipe import load_recipe
from zoo.reward.base import Reward
from zoo.testing import RewardTests

TEXT = {"form": "text", "pattern": r"Score: *(\d+)"}


def images(num: int, size: int = 16) -> Tensor:
    return torch.rand(num, 3, size, size, generator=torch.Generator().manual_seed(0))


def named(*texts: str) -> list[Prompt]:
    return [Prompt(text) for text in texts]


def picture(colour: str, size: tuple[int, int] = (8, 8)) -> ImageBytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return ImageBytes(colour, buffer.getvalue())


@pytest.fixture
def judge(server) -> Callable[..., VLMJudge]:
    def make(**options: Any) -> VLMJudge:
        usual = {"model": "judge", "template": "{prompt}", "retries": Retries(wait=0.01)}
        return VLMJudge(**{"url": server.url} | usual | options)

    return make


def test_the_score_is_the_expectation_over_the_tokens_0_to_5(judge, server):
    server.answer = lambda question: question.likely(("4", 0.5), ("5", 0.25), ("0", 0.25))
    found = judge().score(images(1), named("a"))
    assert float(found.value) == pytest.approx((4 * 0.5 + 5 * 0.25) / 5)
    assert float(found.extras["sure"]) == pytest.approx(1.0)


def test_inputs_that_are_required_are_looked_for_before_anything_is_made():
    with pytest.raises(PromptError, match="comes with no image, and the reward 'vlm_judge' is to"):
        VLMJudge.check_prompt(Prompt("make it red"), {"show_inputs": "required"})
    edited = Prompt("make it red", inputs=(picture("blue"),))
    VLMJudge.check_prompt(edited, {"show_inputs": "required"})
    for shown in (True, False):
        VLMJudge.check_prompt(Prompt("a red cat"), {"show_inputs": shown})


def test_other_tokens_do_not_count_and_tell_how_sure_it_is(judge, server):
    server.answer = lambda question: question.likely(
        ("The", 0.5), ("3", 0.2), (" 3", 0.1), ("5", 0.1), ("6", 0.05), ("33", 0.05)
    )
    found = judge().score(images(1), named("a"))
    assert float(found.value) == pytest.approx((3 * 0.3 + 5 * 0.1) / 0.4 / 5)
    assert float(found.extras["sure"]) == pytest.approx(0.4)


def test_one_token_is_asked_for_with_those_it_could_have_been(judge, server):
    server.answer = lambda question: question.likely(("4", 1.0))
    judge(top_logprobs=9).score(images(1), named("a"))
    body = {key: value for key, value in server.asked[0].items() if key != "messages"}
    assert body == {
        "model": "judge", "max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 9,
    }  # fmt: skip


def test_another_scale_of_digits_is_brought_to_0_to_1(judge, server):
    server.answer = lambda question: question.likely(("1", 0.5), ("9", 0.5))
    found = judge(scale=Scale(1, 9)).score(images(1), named("a")).value
    assert float(found) == pytest.approx(0.5)


def test_a_number_of_a_text_is_found_by_the_pattern(judge, server):
    server.answer = lambda question: question.say(f"Score: 1? No. Score: {question.text}.")
    found = judge(**TEXT).score(images(4), named("0", "3", "5", "7"))
    wanted = torch.tensor([0.0, 0.6, 1.0, math.nan])
    torch.testing.assert_close(found.value, wanted, equal_nan=True)
    assert found.extras["unreadable"].tolist() == [0, 0, 0, 1]
    assert server.asked[0]["max_tokens"] == 512
    assert "logprobs" not in server.asked[0]


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    "bad",
    [
        lambda question: question.json(400, {"error": "too large"}),
        lambda question: question.json(500, {}),
        lambda question: question.hang_up(),
        lambda question: question.likely(("The", 1.0)),
        lambda question: question.say("4"),
        lambda question: question.json(
            200, {"choices": [{"message": {"content": "4"}, "logprobs": {"content": []}}]}
        ),
        lambda question: question.json(
            200,
            {"choices": [{"message": {"content": "4"}, "logprobs": {"content": [
                {"top_logprobs": [{"token": "4", "logprob": "x"}]}]}}]},
        ),
    ],
    ids=["400", "500", "drop", "word", "no logprobs", "empty", "broken"],
)  # fmt: skip
def test_one_image_without_a_score_is_invalid_alone(judge, server, bad, caplog):
    server.answer = lambda question: (
        bad(question) if question.text == "b" else question.likely(("4", 1.0))
    )
    found = judge(retries=Retries(count=0)).score(images(3), named("a", "b", "c"))
    assert found.value.isnan().tolist() == [False, True, False]
    assert (found.extras["failed"] + found.extras["unreadable"]).tolist() == [0, 1, 0]
    assert found.extras["sure"].isnan().tolist() == [False, True, False]
    assert "1 of 3 images have no score from judge" in caplog.text


def test_what_may_pass_is_tried_again_and_many_are_open_at_a_time(judge, server):
    server.answer = lambda question: (
        question.likely(("5", 1.0)) if question.tries else question.json(503, {})
    )
    assert judge(max_in_flight=2).score(images(4), named(*"abcd")).value.tolist() == [1.0] * 4
    assert len(server.asked) == 8


def test_a_batch_of_which_every_request_fails_is_an_error(judge, server):
    server.answer = lambda question: question.json(500, {})
    with pytest.raises(ServerError, match="2 of 2 images have no score from judge"):
        judge(retries=Retries(count=0)).score(images(2), named("a", "b"))


def test_of_an_edit_the_inputs_are_shown_before_the_output(judge, server):
    shown = []

    def answer(question):
        shown.append([np.asarray(image)[0, 0].tolist() for image in question.images])
        question.likely(("4", 1.0))

    server.answer = answer
    edits = [Prompt("x", inputs=(picture("red"), picture("blue"))), Prompt("x")]
    white = torch.ones(2, 3, 8, 8)
    judge(max_in_flight=1).score(white, edits)
    assert shown == [[[255, 0, 0], [0, 0, 255], [255] * 3], [[255] * 3]]
    shown.clear()
    judge(show_inputs=False).score(white[:1], edits[:1])
    assert shown == [[[255] * 3]]


def test_inputs_are_sent_as_large_as_outputs(judge, server):
    sizes = []

    def answer(question):
        sizes.extend(image.size for image in question.images)
        question.likely(("4", 1.0))

    server.answer = answer
    edit = Prompt("x", inputs=(picture("red", (400, 200)),))
    judge(image=ImageOptions(size=100)).score(images(1), [edit])
    assert sizes == [(100, 50), (100, 100)]


def test_an_input_that_cannot_be_read_is_the_prompts_fault(judge):
    with pytest.raises(PromptError, match="'it' is no image that Pillow can read"):
        judge().score(images(1), [Prompt("x", inputs=(ImageBytes("it", b"no"),))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "text"}, "form: text needs a pattern with one group"),
        ({"form": "text", "pattern": "("}, "is not a regular expression"),
        ({"pattern": r"(\d)"}, "pattern is for form: text"),
        ({"scale": Scale(0, 10)}, "the scale is 0 to 10; write whole numbers from 0 to 9"),
        ({"scale": Scale(0.5, 5)}, "the scale is 0.5 to 5; write whole"),
        ({"template": "Rate it."}, r"has no \{prompt\}"),
    ],
)
def test_options_that_cannot_be_used_are_refused(judge, options, message):
    with pytest.raises(ValueError, match=message):
        judge(**options)


def test_a_recipe_names_it_and_its_server_must_have_the_model(server):
    options = (
        f"{{name: vlm_judge, url: '{server.url}', model: judge, "
        "template: 'Rate 0 to 5: [{prompt}]', frames: {sample: 2}}"
    )
    recipe = load_recipe("recipes/nft_digits.yaml", [f"rewards=[{options}]"])
    server.answer = lambda question: question.likely(("5", 1.0))
    reward = recipe.rewards[0].build({"device": torch.device("cpu")})
    videos = torch.rand(1, 5, 3, 8, 8)
    assert reward.score(videos, named("a")).value.tolist() == [1.0]
    assert len(server.asked) == 2


class TestVLMJudgeContract(RewardTests):
    @pytest.fixture(autouse=True)
    def _served(self, server):
        server.answer = lambda q: q.likely(
            ("5", 0.001 + 0.998 * q.brightness), ("0", 0.999 - 0.998 * q.brightness)
        )
        self.server = server

    def make(self) -> Reward:
        return VLMJudge(url=self.server.url, model="judge", template="{prompt}")
