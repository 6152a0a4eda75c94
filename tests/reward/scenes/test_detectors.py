"""Both rewards of the scenes task are right on rendered scenes, and see by different means."""

from functools import partial

import pytest
import torch

from tests.reward.scenes.rendered import others, placed, prompts_of_every_kind, scenes
from zoo.prompt import Prompt, PromptError
from zoo.reward.geneval.wanted import TAGS
from zoo.reward.scenes.judge import ScenesJudge
from zoo.reward.scenes.learned import Scenes
from zoo.testing import RewardTests

CPU = torch.device("cpu")
KINDS = {"network": partial(Scenes, CPU), "geometry": ScenesJudge}
BOTH = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


class TestSceneRewards(RewardTests):
    @pytest.fixture(autouse=True, params=KINDS)
    def kind(self, request):
        self.make_one = KINDS[request.param]

    def make(self):
        return self.make_one()

    def images(self, num):
        return scenes(prompts_of_every_kind(num), seed=3)

    def prompts(self, num):
        # Every other image shows something else than it is asked for.
        asked = prompts_of_every_kind(num)
        return [
            each if i % 2 else other
            for i, (each, other) in enumerate(zip(asked, others(asked), strict=True))
        ]


@BOTH
@pytest.mark.parametrize("num", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_scenes_are_strictly_right_for_their_prompts_and_wrong_for_others(make, num):
    prompts = prompts_of_every_kind(num)
    images = scenes(prompts)
    right = make(score="strict").score(images, prompts)
    assert right.value.mean() >= 0.99
    for tag in TAGS:
        assert right.extras[f"strict_accuracy/{tag}"].nanmean() >= 0.95
    wrong = make(score="strict").score(images, others(prompts))
    # A square that is above and left of a ring is right for both.
    assert wrong.value.mean() <= 0.05
    assert wrong.extras["strict_accuracy/counting"].nansum() == 0


@BOTH
def test_a_little_noise_and_blur_change_nothing(make):
    prompts = prompts_of_every_kind(120)
    images = scenes(prompts)
    smooth = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1
    )
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    seen = (images + 0.4 * (smooth - images) + 0.04 * noise).clamp(0, 1)
    assert make(score="strict").score(seen, prompts).value.mean() >= 0.98


@BOTH
def test_the_training_score_is_that_of_geneval(make):
    prompts = prompts_of_every_kind(60)
    images = scenes(prompts)
    assert make(score="training").score(images, prompts).value.mean() >= 0.98
    counted = [i for i, prompt in enumerate(prompts) if prompt.metadata["tag"] == "counting"]
    for i in counted:
        (asked,) = prompts[i].metadata["include"]
        one = {"tag": "single_object", "include": [{"class": asked["class"], "count": 1}]}
        score = make(score="training").score(images[i : i + 1], [Prompt("", one)]).value
        assert score.item() == 1 - (asked["count"] - 1)
        clamped = make(score="training", clamp=True).score(images[i : i + 1], [Prompt("", one)])
        assert clamped.value.item() == 0


@BOTH
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_is_not_scored(make, bad):
    prompts = prompts_of_every_kind(3)
    images = scenes(prompts)
    images[1, 0, 5, 5] = bad
    found = make().score(images, prompts)
    assert found.value.isnan().tolist() == [False, True, False]
    assert all(bool(extra[1].isnan()) for extra in found.extras.values())


@BOTH
def test_what_is_no_scene_is_refused_in_a_line(make):
    prompts = prompts_of_every_kind(1)
    with pytest.raises(ValueError, match="32 x 32 pixels, not 8 x 12; resize stored ones"):
        make().score(torch.zeros(1, 3, 8, 12), prompts)
    dog = {"tag": "counting", "include": [{"class": "sqare", "count": 2}]}
    with pytest.raises(PromptError, match="unknown shape 'sqare'; did you mean 'square'"):
        make().check_prompt(Prompt("dogs", dog), {})
    with pytest.raises(PromptError, match="which the reward scenes reads; use builtin:scenes/tr"):
        make().check_prompt(Prompt("dogs"), {})
    pink = {"tag": "colors", "include": [{"class": "star", "count": 1, "color": "pink"}]}
    with pytest.raises(PromptError, match=r"color is 'pink'.*allowed: red, orange"):
        make().check_prompt(Prompt("a pink star", pink), {})


@BOTH
def test_boxes_are_where_objects_are(make):
    prompts = [p for p in prompts_of_every_kind(60) if p.metadata["tag"] == "single_object"]
    shown = placed(prompts)
    for i, found in enumerate(make().find(scenes(prompts))):
        ((only,),) = found.values()
        left, top, right, bottom = only.box
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2])
        assert (middle - shown.center[i, 0]).abs().max() < 1.6
        assert abs((right - left) / 2 - float(shown.radius[i, 0])) < 1.6
