"""What comes with zoo: found by name, listed with the truth, copied to be edited."""

import json
from pathlib import Path

import pytest

from tests.runs import ROOT
from zoo import registry
from zoo.errors import UserError
from zoo.recipe import shipped
from zoo.recipe.load import read
from zoo.recipe.recipe import load_recipe

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SUITES = sorted((ROOT / "benchmarks").glob("*.yaml"))
KINDS = {
    "policy": "policies", "sampler": "samplers", "solver": "solvers", "inside": "solvers",
    "outside": "solvers", "rewards": "rewards", "objective": "objectives",
}  # fmt: skip
GATED = {
    "stabilityai/stable-diffusion-3.5-medium", "black-forest-labs/FLUX.1-dev",
    "black-forest-labs/FLUX.1-Kontext-dev",
}  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["nft_digits", "nft_digits.yaml", "recipes/nft_digits.yaml"])
def test_a_recipe_is_found_by_its_name_from_anywhere(name, elsewhere):
    assert load_recipe(name) == load_recipe(ROOT / "recipes" / "nft_digits.yaml")


def test_a_suite_is_found_by_its_name(elsewhere):
    for name in ("solvers", "benchmarks/solvers.yaml"):
        assert shipped.locate(Path(name)) == ROOT / "benchmarks" / "solvers.yaml"


def test_a_file_of_that_path_wins(elsewhere):
    own = elsewhere / "nft_digits"
    own.write_text("extends: nft_digits.yaml\nname: mine\nepochs: 3\n")
    assert (load_recipe("nft_digits").name, load_recipe("nft_digits").epochs) == ("mine", 3)


@pytest.mark.parametrize(
    "name", ["other/nft_digits.yaml", "a/recipes/nft_digits.yaml", "/nft_digits", "nft_digits.txt"]
)
def test_what_names_another_place_is_meant_as_written(name, elsewhere):
    assert shipped.locate(Path(name)) == Path(name)


def test_no_recipe_has_the_name_of_a_suite():
    assert len(shipped.names()) == len(set(shipped.names())) == len(RECIPES) + len(SUITES)


def test_a_name_that_is_none_is_refused_with_the_nearest(elsewhere):
    with pytest.raises(UserError, match=r"nft_digit: .* did you mean 'nft_digits'\? `zoo recipes`"):
        load_recipe("nft_digit")
    with pytest.raises(UserError, match=r"qqqq: .*; `zoo recipes` lists"):
        load_recipe("qqqq")


def test_a_copy_is_the_recipe_and_goes_on_extending(elsewhere):
    copied = shipped.copy("nft_digits_multi")
    assert copied == Path("nft_digits_multi.yaml")
    assert "extends" in copied.read_text()
    assert load_recipe(copied) == load_recipe(ROOT / "recipes" / copied.name)


def test_a_copy_replaces_nothing(elsewhere):
    shipped.copy("nft_digits", Path("deep/mine.yaml"))
    with pytest.raises(UserError, match=r"deep/mine\.yaml: there is a file already; .*--out"):
        shipped.copy("nft_digits", Path("deep/mine.yaml"))
    with pytest.raises(UserError, match=r"nft_digit; did you mean 'nft_digits'\? there are: "):
        shipped.copy("nft_digit")
    assert shipped.copy("nft_digits", Path("deep")) == Path("deep/nft_digits.yaml")


def components(part, key=""):
    """Kind and name of each component in a recipe as written."""
    if isinstance(part, list):
        for each in part:
            yield from components(each, key)
    if isinstance(part, dict):
        if "name" in part and key in KINDS:
            yield KINDS[key], part["name"]
        for inner, value in part.items():
            yield from components(value, inner)


@pytest.mark.slow
def test_each_needs_what_is_said_of_it():
    """The model, whether it asks for a licence, and the plugins of its components."""
    for recipe in shipped.recipes():
        data = read(recipe.path).data
        own = {registry.find(kind, name).package for kind, name in components(data)}
        plugins = sorted(own - {"diffusion-rl-zoo"})
        model = data["policy"].get("pretrained")
        gated = " (gated)" * (model in GATED)
        expected = ["a CPU"] if model is None else ["a GPU", f"{model}{gated}"]
        if any(name == "vlm_judge" for _, name in components(data)):
            plugins.append("a server of a vision model")
        assert recipe.needs == ", ".join([*expected, *plugins]), recipe.name


def test_each_has_a_level():
    assert [recipe.path for recipe in shipped.recipes()] == RECIPES
    assert {recipe.level for recipe in shipped.recipes()} == shipped.LEVELS.keys()


def test_the_facts_are_of_recipes_that_there_are():
    facts = json.loads((ROOT / "zoo" / "assets" / "recipes.json").read_text())
    assert list(facts) == [path.stem for path in RECIPES]


def test_each_says_what_it_is_in_a_sentence():
    for recipe in shipped.recipes():
        assert 20 < len(recipe.about) < 230, recipe.name
        assert not recipe.about.endswith(".")


def test_a_sentence_ends_where_the_next_begins(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("# Of SD3.5 Medium, 0.98 after\n# 1,000 epochs. Another one.\nname: x\n# No.\n")
    assert shipped.about(path) == "Of SD3.5 Medium, 0.98 after 1,000 epochs"
