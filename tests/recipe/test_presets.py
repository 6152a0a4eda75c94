"""Recipes and runs with the policies `sd3` and `flux`, which there once were, mean the same now."""

import json

import pytest

from zoo.recipe.recipe import RecipeError, load_recipe, recipe_from
from zoo.run import folder as run_folder

SD3 = {
    "name": "diffusers", "pretrained": "stabilityai/stable-diffusion-3.5-medium",
    "pipeline": "StableDiffusion3Pipeline", "revision": None, "variant": None, "parts": None,
    "without": [], "resolution": 512, "frames": None, "negative": "", "call": None, "family": None,
    "allow_unguided": False, "dtype": "bfloat16",
    "lora": {"rank": 32, "alpha": 64, "targets": [], "init": "gaussian", "start": None},
    "trains": [], "max_text_tokens": 128, "cached_prompts": 1024, "decode_batch": 8,
    "copies_on": "device",
}  # fmt: skip
FLUX = {
    **SD3, "pretrained": "black-forest-labs/FLUX.1-dev", "pipeline": "FluxPipeline",
    "call": {"guidance_scale": 3.5}, "lora": {**SD3["lora"], "rank": 64, "alpha": 128},
    "max_text_tokens": 512,
}  # fmt: skip
WITHOUT_T5 = {"without": ["text_encoder_3", "tokenizer_3"]}


def policy(recipe):
    return recipe.resolved()["policy"]


@pytest.fixture
def file(tmp_path):
    def write(text, base="nft_digits", name="r.yaml"):
        path = tmp_path / name
        path.write_text(f"extends: {base}\n{text}\n")
        return path

    return write


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("policy: {name: sd3}", [], SD3),
        ("policy: {name: sd3, t5: true, resolution: 256}", [], SD3 | {"resolution": 256}),
        ("policy: {name: sd3, t5: false, max_text_tokens: 77}", [],
         SD3 | WITHOUT_T5 | {"max_text_tokens": 77}),
        ("policy: {name: sd3}", ["policy.t5=false"], SD3 | WITHOUT_T5),
        ("policy: {name: sd3, t5: false}", ["policy.t5=true"], SD3),
        ("policy: {name: flux}", [], FLUX),
        ("policy: {name: flux, lora: null, pretrained: a/b}", [],
         FLUX | {"lora": None, "pretrained": "a/b"}),
        ("policy: {name: flux, lora: {rank: 4}}", [],
         FLUX | {"lora": {**SD3["lora"], "rank": 4}}),
        ("policy: {name: flux, guidance_embedding: null}", [],
         FLUX | {"call": {"guidance_scale": None}}),
        ("policy: {name: flux}", ["policy.guidance_embedding=2"],
         FLUX | {"call": {"guidance_scale": 2}}),
        ("", ["policy={name: flux}"], FLUX),
        ("policy: {name: sd3}", ["policy={name: flux, dtype: float32}"],
         FLUX | {"dtype": "float32"}),
    ],
)  # fmt: skip
def test_a_preset_is_diffusers_with_all_that_it_meant(file, text, overrides, expected):
    recipe = load_recipe(file(text), overrides)
    assert policy(recipe) == expected
    assert recipe_from(recipe.resolved()) == recipe


def test_over_a_recipe_of_its_model_it_changes_what_it_says_alone(file):
    base = load_recipe("nft_flux_pickscore")
    said = {"call": {"guidance_scale": 2.0}, "decode_batch": 2}
    for name in ("name: flux, ", ""):
        text = f"policy: {{{name}guidance_embedding: 2.0, decode_batch: 2}}"
        assert policy(load_recipe(file(text, "nft_flux_pickscore"))) == policy(base) | said
    older = file("policy: {name: flux, max_text_tokens: 99}", name="older.yaml")
    over = file("policy: {name: flux, resolution: 256}", older)
    assert policy(load_recipe(over)) == FLUX | {"max_text_tokens": 99, "resolution": 256}


def test_over_a_recipe_of_another_model_it_is_that_model_in_full(file):
    recipe = load_recipe(file("policy: {name: sd3}", "nft_flux_pickscore"))
    assert policy(recipe) == SD3


@pytest.mark.parametrize("said", ["t5: maybe", "t6: true"])
def test_what_is_wrong_in_it_is_refused_where_it_is_written(file, said):
    with pytest.raises(RecipeError) as refused:
        load_recipe(file(f"policy:\n  name: sd3\n  {said}"))
    assert f"r.yaml:4: unknown key 'policy.{said[:2]}'" in str(refused.value)


def test_the_recipe_of_an_older_run_is_read(file, tmp_path):
    resolved = load_recipe(file("policy: {name: sd3}")).resolved()
    absent = ("pipeline", "without", "frames", "negative", "call", "family", "allow_unguided",
              "trains")  # fmt: skip
    kept = {key: value for key, value in SD3.items() if key not in absent}
    data = {**resolved, "policy": {**kept, "name": "sd3", "t5": False}}
    assert policy(recipe_from(data)) == SD3 | WITHOUT_T5
    (tmp_path / run_folder.RECIPE).write_text(json.dumps(data))
    assert policy(run_folder.recipe_of(tmp_path)) == SD3 | WITHOUT_T5
