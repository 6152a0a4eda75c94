"""Stages whose images are of other sizes, and evaluations of a size of their own."""

import json

import pytest
import torch

from tests.engine.many_runs import run_one
from tests.runs import RECIPES, metrics, overrides, require_same_tensors, without_clocks
from tests.train_here import recipe
from tests.videos import CHANGES, register_videos
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import shown_size
from zoo.rollout import Weights
from zoo.run import evaluations
from zoo.run.model_record import OTHERS, keep, require_same
from zoo.run.record import COMPARED_SINCE
from zoo.training.build import build, image_model

STAGES = """[
    {name: stills, epochs: 1, policy: {frames: 1}, rewards: [{name: digit, frames: mean}]},
    {epochs: 1, policy: {frames: 2}}, {epochs: 1}]"""
SIZED = {
    **CHANGES, "policy": "{name: any_videos, frames: 4}", "epochs": 3, "stages": STAGES,
    "eval": "{every: 1, steps: 2, images_per_prompt: 1, rewards: [{name: digit, frames: mean}]}",
    "checkpoint.every": 1, "checkpoint.keep": 9,
}  # fmt: skip


@pytest.fixture(autouse=True)
def videos(monkeypatch):
    register_videos(monkeypatch)


def made(**changes):
    """The recipe in stages, on the CPU."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return recipe(RECIPES["nft"], **{**SIZED, **changes})


def frames_of(run):
    return [stage.collector.policy.latent_shape[1] for stage in run.stages]


def test_each_stage_has_a_policy_of_its_size_over_the_same_weights():
    run = build(made())
    assert frames_of(run) == [1, 2, 4]
    assert run.model is run.stages[0].model
    assert len({id(policy.weights) for policy in run.sizes.every}) == 1
    assert all(stage.learner.policy is stage.collector.policy for stage in run.stages)
    evaluated = [stage.evaluator.collector.policy for stage in run.stages]
    assert evaluated == [stage.collector.policy for stage in run.stages]
    # Evaluations of videos of another length are not compared.
    assert [stage.compared_since for stage in run.stages] == [0, 2, 3]
    assert [stage.model.policy.latent_shape[1] for stage in run.of_other_sizes] == [2, 4]


def test_stages_of_one_size_share_the_policy():
    run = build(made(stages="[{epochs: 1, policy: {frames: 2}}, {epochs: 2, policy: {frames: 2}}]"))
    assert run.stages[0].model is run.stages[1].model is run.model
    assert (frames_of(run), run.of_other_sizes) == ([2, 2], ())


def test_evaluations_of_a_size_of_their_own_are_compared_over_all_stages():
    run = build(made(**{"eval.frames": 3}))
    assert frames_of(run) == [1, 2, 4]
    evaluated = {stage.evaluator.collector.policy.latent_shape for stage in run.stages}
    assert evaluated == {(1, 3, 8, 8)}
    # The rewards of the first stage's training are others; its evaluation is not.
    assert [stage.compared_since for stage in run.stages] == [0, 0, 0]
    # One of the four sizes is that of evaluations alone.
    assert [policy.latent_shape[1] for policy in run.sizes.every] == [1, 3, 2, 4]


def test_images_of_a_recipe_are_of_the_size_of_its_evaluations():
    of = {"stages": "null", "eval.frames": 2}
    assert image_model(made(**of), Weights.LIVE).policy.latent_shape[1] == 2
    assert made(**of).for_images().size == {"frames": 2}
    assert made(stages="null").for_images().size == {"frames": 4}


def test_a_size_that_the_model_refuses_is_said_with_its_place():
    stages = "[{epochs: 1}, {epochs: 2, policy: {frames: 7}}]"
    with pytest.raises(RecipeError, match=r"-s stages=.*stages\.1: .*refuses 7 frames: .*write 8"):
        build(made(stages=stages))
    with pytest.raises(RecipeError, match=r"-s eval=.*any_videos' refuses 7 frames: .*write 8"):
        build(made(stages="null", eval="{frames: 7}"))


def test_what_was_found_is_recorded_by_size(tmp_path):
    found = build(made(stages="[{epochs: 1, policy: {frames: 1}}, {epochs: 2}]")).sizes.findings()
    assert found["latents"] == [1, 1, 8, 8]
    assert found[OTHERS] == {"4 frames": {"latents": [1, 4, 8, 8], "diffusers": "0"}}
    keep(tmp_path, found)
    # Evaluations may be of another size in a run that goes on, and diffusers of another version.
    require_same(tmp_path, {**found, OTHERS: {}})
    other = {"latents": [1, 4, 8, 8], "diffusers": "1"}
    require_same(tmp_path, {**found, OTHERS: {"4 frames": other, "9 frames": other}})
    with pytest.raises(Exception, match="of which at 4 frames 'latents' was"):
        require_same(tmp_path, {**found, OTHERS: {"4 frames": {**other, "latents": [2]}}})
    assert OTHERS not in build(made(stages="null")).sizes.findings()


def spec(out, resume=None, **changes):
    """A run for `run_one`."""
    said = overrides("nft", out, **{**SIZED, **changes})[1::2]
    return {
        "recipe": str(RECIPES["nft"]), "overrides": said, "out": str(out),
        "resume": str(resume) if resume else None,
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run through all sizes."""
    out = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        register_videos(patch)
        run_one(spec(out))
    yield out
    torch.set_num_threads(threads)


def test_evaluations_say_how_long_their_videos_are(whole):
    found = {record.epoch: record.made.frames for record in evaluations.read(whole)}
    assert found == {0: 1, 1: 1, 2: 2, 3: 4}
    assert [line.get(COMPARED_SINCE) for line in metrics(whole)] == [None, None, 2, 3]


@pytest.mark.parametrize("epochs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_goes_on_over_the_border_as_one_that_did_not_end_there(epochs, whole, tmp_path):
    cut, gone_on = tmp_path / "cut", tmp_path / "gone_on"
    run_one(spec(cut, epochs=epochs))
    run_one(spec(gone_on, resume=cut))
    require_same_tensors(gone_on, whole)
    recorded = metrics(cut) + metrics(gone_on)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in recorded))
    assert without_clocks(metrics(tmp_path)) == without_clocks(metrics(whole))


def test_a_size_is_read_as_people_write_it():
    assert shown_size({"resolution": (832, 480), "frames": 1}) == "832 x 480, 1 frame"
    assert shown_size({"resolution": 512, "frames": None}) == "512 x 512"
    assert shown_size({}) == ""
