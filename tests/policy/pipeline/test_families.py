"""Every pipeline that has once worked still does; some of each kind are trained by every objective.

What is recorded is `benchmarks/results/pipelines.json`, which `benchmarks/pipelines.py` writes.
"""

import json
from pathlib import Path

import pytest

from benchmarks.pipelines import OUT, row
from tests.train_here import train_here
from zoo.recipe.errors import RecipeError
from zoo.recipe.recipe import load_recipe
from zoo.training.build import build

RECORDED = json.loads(Path(OUT).read_text(encoding="utf-8"))
HOLD = sorted(name for name, found in RECORDED.items() if found.get("holds"))

RECIPE = """\
name: family
seed: 1
epochs: 1
policy: {{name: diffusers, pretrained: none, pipeline: {pipeline}, lora: {{rank: 4, alpha: 8}}}}
sampler: {{solver: {solver}, steps: 3, guidance: {guidance}}}
rewards: [{{name: jpeg_compressibility{frames}}}]
objective: {{name: {objective}}}
data: {{train: "builtin:{data}", groups_per_epoch: 2, group_size: 4}}
optim: {{lr: 1.0e-3}}
engine: {{device: cpu}}
"""
OBJECTIVES = {"nft": "{name: dpm2}", "flow_grpo": "{name: flow_sde}", "dpo": "{name: dpm2}"}
TRAINED = {
    "StableDiffusionXLPipeline": "general/eval",
    "QwenImagePipeline": "general/eval",
    "FluxKontextPipeline": "edits/train",
    "WanPipeline@2.2-A14B": "general/eval",
    "WanImageToVideoPipeline": "edits/moving",
    "LTXImageToVideoPipeline": "edits/moving",
}


def recipe_of(kind, folder, *, guidance=1.0, objective="nft", data="general/eval"):
    """A file with the recipe of a tiny one: its words choose it in the published model's name."""
    pipeline, _, variant = kind.partition("@")
    text = RECIPE.format(
        pipeline=pipeline,
        solver=OBJECTIVES[objective],
        guidance=guidance,
        frames=", frames: mean" if kind.startswith(("Wan", "LTX")) else "",
        objective=objective,
        data=data,
    )
    path = folder / "family.yaml"
    path.write_text(text.replace("pretrained: none", f"pretrained: none-{variant}"))
    return path


def test_many_are_recorded():
    assert len(HOLD) >= 74


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HOLD)
def test_a_pipeline_that_worked_works(name, tmp_path):
    found = row(name, tmp_path)
    assert found.get("holds"), found


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", TRAINED)
def test_a_family_is_trained(name, objective, tmp_path):
    of_noise = name.startswith("StableDiffusionXL")
    if of_noise and objective == "nft":
        pytest.skip("refused: see test_policy")
    guidance = 5.0 if of_noise else 1.0
    path = recipe_of(name, tmp_path, guidance=guidance, objective=objective, data=TRAINED[name])
    lines = train_here(load_recipe(path, tiny=True), tmp_path / "run")
    assert lines[-1]["step"] > 0
    assert lines[-1]["dropped_updates"] == 0


@pytest.mark.slow
def test_what_learns_nothing_without_guidance_is_refused_before_it_is_trained(tmp_path):
    made = load_recipe(recipe_of("StableDiffusionPipeline", tmp_path), tiny=True)
    with pytest.raises(RecipeError, match=r"predicts noise.*policy.allow_unguided: true"):
        train_here(made, tmp_path / "run")


@pytest.mark.slow
def test_experts_are_refused_where_every_process_must_make_as_many_forwards(tmp_path):
    path = recipe_of("WanPipeline@2.2-A14B", tmp_path)
    path.write_text(path.read_text().replace("engine: {", "engine: {zero_stage: 3, "))
    with pytest.raises(RecipeError, match=r"one for each expert.*engine.zero_stage: 2"):
        build(load_recipe(path, tiny=True))
