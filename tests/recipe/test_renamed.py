"""Recipes with `tracking.wandb`, as it once was, mean the tracker `wandb`."""

import json

import pytest

from zoo.recipe.recipe import RecipeError, load_recipe, recipe_from
from zoo.run import folder as run_folder


def trackers(recipe):
    return recipe.resolved()["trackers"]


def wandb(project="zoo", mode="auto"):
    return {"name": "wandb", "project": project, "mode": mode}


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "r.yaml"
        path.write_text(f"extends: nft_digits\n{text}\n")
        return path

    return write


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("tracking: {wandb: {project: old}}", [], [wandb("old")]),
        ("tracking: {wandb: null}", [], []),
        ("tracking: {}", [], []),
        ("", ["tracking.wandb={}"], [wandb()]),
        ("", ["tracking.wandb.project=p", "tracking.wandb.mode=offline"], [wandb("p", "offline")]),
        ("tracking: {wandb: {project: old}}", ["trackers=[]"], []),
        ("trackers: [{name: wandb, project: a}]", ["tracking.wandb.mode=offline"],
         [wandb("a", "offline")]),
        ("trackers: [{name: tensorboard}]", ["tracking.wandb={}"],
         [{"name": "tensorboard"}, wandb()]),
        ("trackers: [{name: wandb}, {name: tensorboard}]", ["tracking.wandb=null"],
         [{"name": "tensorboard"}]),
    ],
)  # fmt: skip
def test_it_is_the_options_of_the_tracker(file, text, overrides, expected):
    recipe = load_recipe(file(text), overrides)
    assert trackers(recipe) == expected
    assert recipe_from(recipe.resolved()) == recipe


def test_what_it_extends_may_say_one_option_and_the_file_another(file, tmp_path):
    base = file("tracking: {wandb: {project: base}}")
    over = tmp_path / "over.yaml"
    over.write_text(f"extends: {base}\ntracking: {{wandb: {{mode: offline}}}}\n")
    assert trackers(load_recipe(over)) == [wandb("base", "offline")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tracking: {wandb: {projct: x}}", "r.yaml:2: unknown key 'trackers.0.projct'; did you"),
        ("tracking: {wandb: yes please}", "r.yaml:2: trackers.0 must be a mapping that names a"),
        ("tracking: {wandb: {}, mlflow: {}}", "r.yaml:2: unknown key 'tracking'; did you mean"),
        ("tracking: on", "r.yaml:2: unknown key 'tracking'; did you mean 'trackers'?"),
    ],
)
def test_what_is_wrong_in_it_is_refused_where_it_is_written(file, text, said):
    with pytest.raises(RecipeError) as refused:
        load_recipe(file(text))
    assert said in str(refused.value)


def test_the_folder_of_an_older_run_is_read_and_may_change_either(file, tmp_path):
    resolved = load_recipe(file("")).resolved()
    del resolved["trackers"]
    for tracking, expected in (({"wandb": None}, []), ({"wandb": {"project": "p"}}, [wandb("p")])):
        data = {**resolved, "tracking": tracking}
        assert trackers(recipe_from(data)) == expected
        (tmp_path / run_folder.RECIPE).write_text(json.dumps(data))
        assert trackers(run_folder.recipe_of(tmp_path)) == expected
        changed = run_folder.recipe_of(tmp_path, ["tracking.wandb.mode=offline"])
        assert [each["mode"] for each in trackers(changed)] == ["offline"]
        changed = run_folder.recipe_of(tmp_path, ["trackers=[{name: tensorboard}]"])
        assert trackers(changed) == [{"name": "tensorboard"}]
