"""Paths of recipes are expanded wherever they are written, and other texts never."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from tests.runs import RECIPES
from zoo.compare.suite import load_suite
from zoo.recipe.component import Component
from zoo.recipe.constructor_schema import options_model
from zoo.recipe.errors import RecipeError
from zoo.recipe.isolated import _annotation
from zoo.recipe.recipe import load_recipe, recipe_from
from zoo.reward.outside.description import OptionSchema
from zoo.storage.place import Place


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Recipes are in the folder that two variables name; the working folder is another one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.delenv("NONE", raising=False)
    (tmp_path / "base.yaml").write_text(RECIPES["nft"].read_text())
    (tmp_path / "mine.py").write_text("def score(images, prompts): ...\n")


def refused(read, *arguments):
    with pytest.raises(RecipeError) as raised:
        read(*arguments)
    (line,) = raised.value.lines
    return line


def test_every_path_of_a_recipe_is_expanded(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "extends: ${HERE}/base.yaml\n"
        "output_dir: ~/runs\n"
        "data: {train: $HERE/train.txt, eval: ~/eval.txt?column=x}\n"
        "policy: {checkpoint: $HERE/digits.safetensors, lora: {start: ~/lora}}\n"
        "rewards: [{name: python, path: '~/mine.py:score'}]\n"
        "eval: {rewards: [{name: python, path: '${HERE}/mine.py:score', label: a}]}\n"
        "epochs: 3\n"
        "stages: [{epochs: 1}, {epochs: 2, data: {train: ~/later.txt}}]\n"
    )
    recipe = load_recipe(path, ["data.tiny=$HERE/tiny.txt"])
    options = recipe.policy.options
    assert recipe.output_dir == f"{tmp_path}/runs"
    assert recipe.data.train == f"{tmp_path}/train.txt"
    assert recipe.data.eval == f"{tmp_path}/eval.txt?column=x"
    assert recipe.data.tiny == f"{tmp_path}/tiny.txt"
    assert options["checkpoint"] == tmp_path / "digits.safetensors"
    assert options["lora"].option_start == f"{tmp_path}/lora"
    assert recipe.rewards[0].options["path"] == f"{tmp_path}/mine.py:score"
    assert recipe.eval.rewards[0].options["path"] == f"{tmp_path}/mine.py:score"
    assert recipe.timeline[1].recipe.data.train == f"{tmp_path}/later.txt"
    assert recipe_from(json.loads(json.dumps(recipe.resolved()))) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: $NONE/base.yaml\n", "r.yaml:1: extends: the variable NONE of '$NONE/base.yaml'"),
        ("extends: base.yaml\noutput_dir: ${NONE}\n", "r.yaml:2: output_dir: the variable NONE of"),
        ("extends: base.yaml\nrewards:\n- {name: python,\n   path: '$NONE/m.py:f'}\n",
         "r.yaml:4: rewards.0.path: the variable NONE of '$NONE/m.py:f' is not set; export NONE="),
        ("extends: base.yaml\npolicy: {checkpoint: $NONE/x}\n", "r.yaml:2: policy.checkpoint: the"),
        ("extends: base.yaml\npolicy: {lora: {start: $NONE/x}}\n", "r.yaml:2: policy.lora.start:"),
        ("extends: base.yaml\nrewards: [{name: x, isolate: {python: $NONE/x}}]\n",
         "r.yaml:2: rewards.0.isolate.python: the variable NONE"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_set_is_refused_with_its_line(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    assert refused(load_recipe, "r.yaml").startswith(said)


def test_of_an_override_the_line_is_the_override(tmp_path):
    line = refused(load_recipe, tmp_path / "base.yaml", ["data.train=$NONE/a.txt"])
    assert line.startswith("-s data.train=$NONE/a.txt: data.train: the variable NONE of")


def test_a_suite_names_its_recipes_so_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (
        "name: s\nrecipe: ~/base.yaml\nseeds: [0]\nbudget: {epochs: 1}\n"
        "contenders:\n  a: {extends: $HERE/base.yaml, data: {train: ~/a.txt}}\n  b: {}\n"
        "  c: {data: {train: $NONE/c.txt}}\n  d: {extends: $NONE/x.yaml}\n"
    )
    (tmp_path / "s.yaml").write_text(text)
    suite = load_suite("s.yaml")
    assert suite.recipe("a").data.train == f"{tmp_path}/a.txt"
    assert suite.recipe("b").name
    assert "s.yaml:8: contender 'c': data.train: the variable NONE" in refused(suite.recipe, "c")
    assert "s.yaml:9: contender 'd': extends: the variable NONE" in refused(suite.recipe, "d")


@dataclass(frozen=True)
class Inner:
    files: tuple[Path, ...] = ()


class Options:
    def __init__(
        self, *, template: str = "", place: Place | None = None, inner: Inner = Inner()
    ) -> None:
        pass


def test_texts_that_are_no_paths_keep_their_dollars(tmp_path):
    model = options_model(Options)
    written = {
        "template": "~/ costs $NONE/${NONE}",
        "place": "$HERE/a",
        "inner": {"files": ["~/b"]},
    }
    options = Component(
        Options, model.model_validate_json(json.dumps({"name": "x", **written}))
    ).options
    assert options["template"] == written["template"]
    assert options["place"] == f"{tmp_path}/a"
    assert options["inner"].option_files == (tmp_path / "b",)


def test_paths_of_a_reward_in_another_python_are_expanded_too(tmp_path):
    path = {"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}
    for schema, read in ((path, f"{tmp_path}/a"), ({"type": "string"}, "$HERE/a")):
        kind = _annotation(OptionSchema.model_validate(schema))
        assert TypeAdapter(kind).validate_json('"$HERE/a"') == read


def test_in_python_nothing_is_expanded():
    from zoo.policy.digits import Digits

    with pytest.raises(ValueError, match=r"~/none"):
        Digits(torch.device("cpu"), checkpoint=Path("~/none"))
