"""The folder of a run: made once, read again, and what may change when it goes on."""

import json
import os

import pytest

from tests.runs import RECIPES
from tests.train_here import recipe
from zoo.errors import UserError
from zoo.recipe.errors import RecipeError
from zoo.run import folder as run_folder
from zoo.run.folder import END, End


@pytest.fixture
def made(tmp_path):
    return recipe(RECIPES["nft"], output_dir=tmp_path / "out")


def test_two_runs_of_one_second_have_two_folders(made, monkeypatch):
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "now")
    names = [run_folder.create(made).name for _ in range(3)]
    assert names == ["now", "now_1", "now_2"]


def test_a_new_folder_has_the_recipe_and_the_environment(made):
    folder = run_folder.create(made)
    assert sorted(path.name for path in folder.iterdir()) == ["environment.json", "recipe.json"]
    assert run_folder.recipe_of(folder).resolved() == made.resolved()
    assert run_folder.read_resolved_recipe(folder) == json.loads(json.dumps(made.resolved()))
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["code"].keys() >= {"zoo"}
    assert environment["libraries"]["torch"]


def test_where_no_folder_can_be_is_said_with_the_place(made, tmp_path):
    (tmp_path / "out").write_text("a file")
    said = r"-s output_dir=.*: output_dir '.*out' cannot hold .*: Not a directory"
    for refuses in (run_folder.require_place, run_folder.create):
        with pytest.raises(RecipeError, match=said):
            refuses(made)


def test_a_place_is_looked_at_before_a_folder_is_made(made, tmp_path, monkeypatch):
    run_folder.require_place(made)
    assert list(tmp_path.iterdir()) == []
    # Who may write everywhere, as in a container, is refused nothing.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RecipeError, match=r"cannot hold .*: Permission denied"):
        run_folder.require_place(made)


def test_a_run_that_goes_on_has_not_ended(made):
    folder = run_folder.create(made)
    assert run_folder.read_end(folder) is None
    (folder / END).write_text('{"epoch": 3, "reason": "drift", "text": "far"}')
    assert run_folder.read_end(folder) == End(3, "drift", "far")
    run_folder.goes_on(folder, run_folder.recipe_of(folder, ["eval.every=7"]))
    assert run_folder.read_end(folder) is None
    assert run_folder.recipe_of(folder).eval.every == 7


@pytest.mark.parametrize(
    "override",
    ["optim.lr=1", "optim={total: 3}", "seed=2", "stages.0.rewards=[]"],
)
def test_what_would_make_it_another_run_is_refused(override, made):
    folder = run_folder.create(made)
    with pytest.raises(UserError, match=r"-s .*: a run that goes on may change only eng"):
        run_folder.recipe_of(folder, [override])


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a run folder: it has no recipe\.json"):
        run_folder.recipe_of(tmp_path)
