"""`--tiny`: what it makes small, what it leaves, and that random weights come by the usual way."""

import json

import pytest

from tests.runs import RECIPES, metrics, only_run, zoo
from zoo.errors import UserError
from zoo.policy.pipeline.policy import Diffusers
from zoo.recipe.recipe import load_recipe
from zoo.recipe.tiny import AT_MOST

SD3_RECIPE = """
name: own
epochs: 300
policy:
  name: diffusers
  pretrained: stabilityai/stable-diffusion-3.5-medium
  pipeline: StableDiffusion3Pipeline
  lora: {rank: 32, alpha: 64}
  dtype: bfloat16
sampler: {solver: {name: dpm2}, steps: 40}
rewards: [{name: jpeg_compressibility, weight: 0.5}, {name: image_reward}]
objective: {name: nft, beta: 0.1, trained_steps: 30}
data:
  train: https://example.org/train.txt
  eval: hub:owner/name
  tiny: builtin:general/eval
  groups_per_epoch: 48
  group_size: 24
eval: {every: 10, rewards: [{name: image_reward, label: taste}]}
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(SD3_RECIPE, encoding="utf-8")
    return file


def at(data, loc):
    for key in loc:
        data = data.get(key)
        if data is None:
            return None
    return data


def test_numbers_are_at_most_those_of_the_overlay(own):
    made = load_recipe(own, tiny=True)
    assert made.name == "own_tiny"
    for loc, most in AT_MOST.items():
        value = at(made.resolved(), loc)
        assert value is None or value <= most
    assert (made.sampler.options["steps"], made.objective.options["trained_steps"]) == (4, 3)


def test_weights_are_random_ones_in_the_published_layout(own):
    made = load_recipe(own, tiny=True)
    options = made.policy.options
    assert options["resolution"] == (64, 64)
    assert Diffusers.write_tiny.__doc__  # the usual loader reads them: tests/policy/test_sd3.py
    with open(f"{options['pretrained']}/model_index.json") as index:
        assert json.load(index)["_class_name"] == "StableDiffusion3Pipeline"
    trained, evaluated = made.rewards[1], made.eval.rewards[0]
    assert trained.options["weights"] == evaluated.options["weights"] != "THUDM/ImageReward"
    assert options["lora"] == load_recipe(own).policy.options["lora"]
    assert made.rewards[0].weight == 0.5
    assert evaluated.label == "taste"


def test_a_lora_of_the_published_model_is_left_out(own):
    start = "policy.lora.start=someone/lora"
    own.write_text(own.read_text().replace("alpha: 64}", "alpha: 64, start: someone/lora}"))
    assert load_recipe(own).resolved()["policy"]["lora"]["start"] == "someone/lora"
    assert load_recipe(own, tiny=True).resolved()["policy"]["lora"]["start"] is None
    assert load_recipe(own, [start], tiny=True).resolved()["policy"]["lora"]["start"] is not None


def test_prompts_of_the_web_are_replaced_and_others_stay(own):
    data = load_recipe(own, tiny=True).data
    assert (data.train, data.eval) == ("builtin:general/eval", "builtin:general/eval")
    data = load_recipe(own, ["data.train=builtin:ocr/train"], tiny=True).data
    assert (data.train, data.eval) == ("builtin:ocr/train", "builtin:general/eval")


def test_what_the_command_line_sets_stays(own):
    overrides = ["sampler.steps=7", "policy.resolution=128", "data.group_size=30", "name=mine"]
    made = load_recipe(own, overrides, 9, tiny=True)
    assert (made.sampler.options["steps"], made.policy.options["resolution"]) == (7, 128)
    assert (made.data.group_size, made.epochs, made.name) == (30, 9, "mine")


def test_a_recipe_without_weights_is_made_smaller_alone():
    made, plain = load_recipe(RECIPES["nft"], tiny=True), load_recipe(RECIPES["nft"])
    assert made.policy == plain.policy
    assert made.data.groups_per_epoch == 4
    assert made.data.train == plain.data.train


def test_weights_are_written_once(own, monkeypatch):
    first = load_recipe(own, tiny=True).resolved()
    monkeypatch.setattr(Diffusers, "write_tiny", None)
    assert load_recipe(own, tiny=True).resolved() == first


@pytest.mark.slow
def test_a_tiny_run_trains_and_goes_on(own, tmp_path):
    out = tmp_path / "runs"
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = zoo("train", own, "--tiny", "-s", f"output_dir={out}", **cache)
    assert done.returncode == 0, done.stderr
    run = only_run(out)
    assert run.parent.name == "own_tiny"
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2]
    assert metrics(run)[-1]["step"] == 2
    done = zoo("train", "--resume", run, "--epochs", "3", **cache)
    assert done.returncode == 0, done.stderr
    assert metrics(run)[-1]["epoch"] == 3


def test_a_home_that_cannot_be_written_is_said_with_the_variable_to_set(own, monkeypatch, tmp_path):
    for name in ("XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(UserError) as raised:
        load_recipe(own, tiny=True)
    line = str(raised.value)
    assert line.startswith(f"the cache {tmp_path}/home/.cache/zoo/tiny/")
    assert line.endswith("Not a directory; export XDG_CACHE_HOME=DIR, a folder that can be written")


def test_a_run_that_goes_on_cannot_be_made_tiny(tmp_path):
    done = zoo("train", "--resume", tmp_path, "--tiny")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --tiny starts a run; --resume goes on with one as it was started\n"
    )
