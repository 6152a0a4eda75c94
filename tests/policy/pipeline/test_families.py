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
    path = tmp_path / "family.yaml"
    pipeline, _, variant = name.partition("@")
    text = RECIPE.format(
        pipeline=pipeline,
        solver=OBJECTIVES[objective],
        guidance=5.0 if of_noise else 1.0,
        frames=", frames: mean" if name.startswith(("Wan", "LTX")) else "",
        objective=objective,
        data=TRAINED[name],
    )
    # A tiny model is chosen by the words of the published one's name.
    path.write_text(text.replace("pretrained: none", f"pretrained: none-{variant}"))
    lines = train_here(load_recipe(path, tiny=True), tmp_path / "run")
    assert lines[-1]["step"] > 0
    assert lines[-1]["dropped_updates"] == 0


@pytest.mark.slow
def test_what_learns_nothing_without_guidance_is_refused_before_it_is_trained(tmp_path):
    path = tmp_path / "family.yaml"
    path.write_text(
        RECIPE.format(
            pipeline="StableDiffusionPipeline",
            solver="{name: dpm2}",
            guidance=1.0,
            frames="",
            objective="nft",
            data="general/eval",
        )
    )
    made = load_recipe(path, tiny=True)
    with pytest.raises(RecipeError, match=r"predicts noise.*policy.allow_unguided: true"):
        train_here(made, tmp_path / "run")


@pytest.mark.slow
def test_experts_are_refused_where_every_process_must_make_as_many_forwards(tmp_path):
    path = tmp_path / "family.yaml"
    text = RECIPE.format(
        pipeline="WanPipeline",
        solver="{name: dpm2}",
        guidance=1.0,
        frames=", frames: mean",
        objective="nft",
        data="general/eval",
    ).replace("pretrained: none", "pretrained: none-2.2-A14B")
    path.write_text(text.replace("engine: {", "engine: {zero_stage: 3, "))
    with pytest.raises(RecipeError, match=r"one for each expert.*engine.zero_stage: 2"):
        build(load_recipe(path, tiny=True))
