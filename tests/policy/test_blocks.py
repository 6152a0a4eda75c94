"""Gradient checkpointing and compiled blocks change the cost of a run, not what it computes."""

import pytest
import torch
from torch import nn

from tests.runs import RECIPES, every_time, metrics, only_run, overrides, without_clocks, zoo
from tests.train_here import ONE_UPDATE, recipe, train_here
from zoo.plan.footprint import footprint
from zoo.policy.blocks import checkpoint_gradients, compile_blocks
from zoo.recipe.recipe import RecipeError
from zoo.training.build import build

SHORT = {"epochs": 2, **ONE_UPDATE}


@pytest.mark.parametrize("algorithm", every_time("nft"))
@pytest.mark.parametrize(
    "lora", ["{rank: 4, alpha: 8}", pytest.param("null", marks=pytest.mark.slow)]
)
def test_checkpointed_gradients_are_the_same(algorithm, lora, tmp_path):
    changes = {**SHORT, "policy__lora": lora}
    plain = train_here(recipe(RECIPES[algorithm], **changes), tmp_path / "plain")
    made = recipe(RECIPES[algorithm], **changes, engine__gradient_checkpointing=True)
    assert all(
        network.is_gradient_checkpointing for network in build(made).model.policy.weights.networks
    )
    assert without_clocks(train_here(made, tmp_path / "checkpointed")) == without_clocks(plain)


@pytest.mark.slow
def test_the_memory_estimate_knows_of_checkpointing():
    changes = {**SHORT, "policy__lora": "null", "engine__micro_batch": "{sample: 8, train: 512}"}
    changes["data__group_size"] = 128
    plain = footprint(recipe(RECIPES["nft"], **changes), 1)
    saving = footprint(recipe(RECIPES["nft"], **changes, engine__gradient_checkpointing=True), 1)
    assert saving.training < 0.7 * plain.training
    assert saving.trained[0].shape == plain.trained[0].shape


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nft", "flow_grpo"])
def test_compiled_blocks_learn_the_same_to_rounding(algorithm, tmp_path):
    lines = {}
    for compiled in ("true", "false"):
        arguments = overrides(algorithm, tmp_path / compiled, epochs=2, engine__compile=compiled)
        done = zoo("train", RECIPES[algorithm], *arguments)
        assert done.returncode == 0, done.stderr
        lines[compiled] = metrics(only_run(tmp_path / compiled))
    for one, other in zip(*lines.values(), strict=True):
        assert one.keys() == other.keys()
        assert one["reward"] == pytest.approx(other["reward"], abs=1e-3)
        assert one.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-2, abs=1e-3)


def test_a_network_that_cannot_is_refused():
    with pytest.raises(ValueError, match=r"Linear has no gradient checkpointing .* leave it off"):
        checkpoint_gradients(nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"Linear has no list of blocks .* leave it off"):
        compile_blocks(nn.Linear(1, 1))


def test_the_refusal_names_the_recipes_line(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        f"extends: {RECIPES['nft']}\nname: own\nengine:\n  compile: true\n", encoding="utf-8"
    )
    made = recipe(file)
    policy = made.policy.build({"device": torch.device("cpu")})
    policy.weights.module.sets["live"] = nn.Linear(1, 1)
    from zoo.training.build import _tune

    with pytest.raises(RecipeError, match=r"own.yaml:4: engine.compile: Linear has no list"):
        _tune(made, policy)
