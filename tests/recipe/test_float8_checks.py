"""What cannot be collected in float8 is refused with its recipe, before anything is loaded."""

import pytest

from tests.runs import ROOT
from tests.train_here import recipe
from zoo.recipe.errors import RecipeError

FP8 = {"sampler__quantization": "fp8", "policy__dtype": "bfloat16"}


def refused(name, **changes):
    with pytest.raises(RecipeError) as caught:
        recipe(ROOT / "recipes" / f"{name}_digits.yaml", **{**FP8, **changes})
    (line,) = caught.value.lines
    return line


@pytest.mark.parametrize("name", ["flow_grpo", "grpo_guard", "flow_dppo"])
def test_an_objective_on_paths_is_refused(name):
    line = refused(name)
    assert f"the objective '{name}' needs the path of each image with its log-probabiliti" in line
    assert "write sampler.quantization: none, or take an objective that learns from images" in line


@pytest.mark.parametrize("name", ["nft", "dpo", "awm", "dgpo", "crd", "kto", "elbo_pg"])
def test_one_that_learns_from_images_alone_is_not(name):
    made = recipe(ROOT / "recipes" / f"{name}_digits.yaml", **FP8)
    assert made.sampler.options["quantization"] == "fp8"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"policy__dtype": "float32"},
            "sampler.quantization is fp8, of a base in bfloat16, and policy.dtype is float32; "
            "write policy.dtype: bfloat16, or write sampler.quantization: none",
        ),
        ({"policy__lora": "null"}, "policy.lora is null, which trains the whole network"),
        ({"engine__zero_stage": 3}, "engine.zero_stage is 3, which keeps them in pieces; write"),
        ({"sampler__quantization": "int8"}, "sampler.quantization must be"),
    ],
)
def test_the_rest_must_suit_it(changes, said):
    assert said in refused("nft", **changes)


def test_a_stage_is_refused_where_it_asks_for_it():
    stages = "[{epochs: 1}, {epochs: 1, sampler: {quantization: fp8}}]"
    changes = {"sampler__quantization": "none", "policy__dtype": "float32", "epochs": 2}
    assert "policy.dtype is float32" in refused("nft", **changes, stages=stages)


def test_stored_images_are_not_made():
    line = refused("dpo", sampler="{name: dataset, quantization: fp8}", sampler__quantization="fp8")
    assert "unknown key 'sampler.quantization'" in line
