"""Rewards that cannot look at what a policy makes are refused by what both declare."""

import pytest

from tests.runs import RECIPES, ROOT
from zoo.plan.preflight import count_prompts
from zoo.plan.reward_fit import require_fitting_rewards
from zoo.policy.pipeline.policy import Diffusers
from zoo.prompt import PromptError
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import load_recipe, single_policy

WAN = ROOT / "recipes" / "nft_wan_pickscore.yaml"


def refusal(path, *changes):
    with pytest.raises(RecipeError) as raised:
        require_fitting_rewards(load_recipe(path, changes))
    (line,) = raised.value.lines
    return line


def test_an_image_reward_of_videos_needs_to_know_of_which_frames():
    rewards = "rewards=[{name: jpeg_compressibility}]"
    assert refusal(WAN, "stages=null", rewards) == (
        f"-s {rewards}: the reward 'jpeg_compressibility' looks at single images, and the policy "
        "makes videos; write frames: mean beside its name (or first, last, min, {sample: 4})"
    )
    own = "eval.rewards=[{name: motion}, {name: pickscore}]"
    assert refusal(WAN, "stages=null", own).startswith(f"-s {own}: the reward 'pickscore' looks")


def test_a_video_reward_is_of_no_use_to_single_images():
    rewards = "rewards=[{name: digit}, {name: smoothness}]"
    assert refusal(RECIPES["nft"], rewards) == (
        f"-s {rewards}: the reward 'smoothness' looks at videos, and the policy makes single "
        "images; remove it"
    )
    # The pipeline's class is enough: its model is not here.
    edits = ROOT / "recipes" / "nft_qwen_image.yaml"
    assert "the reward 'motion' looks at videos" in refusal(edits, "rewards=[{name: motion}]")


def test_a_video_of_one_frame_does_not_move():
    rewards = "[{name: pickscore, frames: mean}, {name: motion}]"
    stages = f"stages=[{{epochs: 1000, policy: {{frames: 1}}, eval: null, rewards: {rewards}}}]"
    assert refusal(WAN, stages) == (
        f"-s {stages}: stages.0: the reward 'motion' needs videos of 2 frames or more, and those "
        "here have 1; remove it, or make them longer (policy.frames, eval.frames)"
    )
    assert "the reward 'motion' needs" in refusal(WAN, "stages=null", "eval.frames=1")
    longer = ["stages=null", "policy.frames=1", "rewards=[{name: pickscore, frames: mean}]"]
    require_fitting_rewards(load_recipe(WAN, [*longer, "eval.frames=5"]))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_rewards_of_recipes_fit(path):
    require_fitting_rewards(load_recipe(path))


def test_a_model_that_is_not_here_and_names_no_pipeline_says_nothing(tmp_path):
    options = single_policy("diffusers", {"pretrained": "some/model"}).options
    assert Diffusers.makes(options) is None
    for kind, makes in (("WanPipeline", "videos"), ("LattePipeline", "videos"),
                        ("HunyuanVideo15Pipeline", "videos"), ("QwenImagePipeline", "images"),
                        ("WanVideoToVideoPipeline", None)):  # fmt: skip
        assert Diffusers.makes({**options, "pipeline": kind}) == makes, kind


def test_an_editing_reward_needs_prompts_with_images():
    changes = ["rewards=[{name: preservation}]", "data.eval=null", "eval=null"]
    with pytest.raises(PromptError, match=r"data.train: the reward 'preservation' cannot"
                       r" use 40 of 40 prompts: .* comes with no image"):  # fmt: skip
        count_prompts(load_recipe(RECIPES["nft"], changes))
