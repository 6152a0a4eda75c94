"""Every recipe that ships is valid, can be planned for any number of processes, and trains."""

import json
import math

import pytest

from tests.engine.many_runs import run_all
from tests.runs import ROOT, metrics
from tests.training import recipe, train_here
from zoo.plan import plan
from zoo.recipe.options import component_class
from zoo.recipe.recipe import load_recipe, recipe_from

PATHS = sorted((ROOT / "recipes").rglob("*.yaml"))
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)

TINY = {
    "epochs": 2,
    "sampler__steps": 3,
    "data__groups_per_epoch": 3,
    "data__group_size": 8,
    "optim__updates_per_epoch": 2,
    "engine__micro_batch": "{sample: 16, train: 16}",
    "eval__images_per_prompt": 2,
    "eval__steps": 2,
}


def test_there_are_recipes():
    assert len(PATHS) >= 4


@EACH
def test_a_recipe_is_named_as_its_file(path):
    assert load_recipe(path).name == path.stem


@EACH
def test_a_resolved_recipe_reads_back_as_the_same(path):
    once = load_recipe(path).resolved()
    assert recipe_from(once).resolved() == once


@EACH
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_recipe_can_be_planned(path, processes):
    made = load_recipe(path)
    planned, alone = plan(made, processes), plan(made, 1)
    assert planned.images == made.data.groups_per_epoch * made.data.group_size
    for same in ("rows", "collect_forwards", "train_forwards", "gradient_forwards"):
        # None: the solver makes as many as its data needs.
        assert getattr(planned, same) == getattr(alone, same) != 0
    for batches, wanted in ((planned.sampling, planned.images), (planned.training, planned.rows)):
        assert 0 <= batches.filled < 1
        assert processes * batches.count * batches.rows * (1 - batches.filled) == pytest.approx(
            wanted
        )


def with_tiny_weights(path, folder):
    """A copy of the recipe that loads nothing published: small random weights instead."""
    data = load_recipe(path).resolved()
    named = [("policies", data["policy"]), *(("rewards", entry) for entry in data["rewards"])]
    named += [("rewards", entry) for entry in (data["eval"] or {}).get("rewards", ())]
    for i, (kind, entry) in enumerate(named):
        if entry.get("isolate") is None:
            entry |= component_class(kind, entry["name"]).write_tiny(folder / f"weights{i}")
    if data["engine"]["processes"] == "auto":
        data["engine"]["processes"] = 2
    copy = folder / path.name
    copy.write_text(json.dumps(data), encoding="utf-8")
    return copy


@EACH
def test_a_recipe_trains(path, tmp_path, tmp_path_factory):
    path = with_tiny_weights(path, tmp_path_factory.mktemp("tiny"))
    made = recipe(path, **TINY)
    if made.engine.zero_stage is None:
        lines = train_here(made, tmp_path)
    else:  # DeepSpeed needs processes of its own
        changes = {"engine.device": "cpu", **TINY}
        overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
        run = {"recipe": str(path), "overrides": overrides, "out": str(tmp_path)}
        run_all([run], made.engine.processes, tmp_path / "runs")
        lines = metrics(tmp_path)
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert [line["step"] for line in lines] == [0, 2, 4]
    for line in lines:
        assert all(value is not None and math.isfinite(value) for value in line.values()), line
    labels = [entry.label for entry in made.rewards]
    judged = [entry.label for entry in (made.eval.rewards or made.rewards)]
    assert {f"reward/{label}" for label in labels} <= lines[-1].keys()
    assert {f"eval/{label}" for label in judged} <= lines[-1].keys()
    log = tmp_path / "run.log"
    assert not log.exists() or "probe failed" not in log.read_text()
    assert (tmp_path / "checkpoints").is_dir()
    assert list((tmp_path / "images").glob("*.png"))
