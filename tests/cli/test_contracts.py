"""A run of a pipeline keeps what it found exactly, and goes on with that."""

import json
import shutil
from types import SimpleNamespace

import diffusers
import pytest

from tests.cli.conftest import zoo_here
from tests.runs import RECIPES, only_run, overrides
from tests.train_here import ONE_UPDATE
from zoo.cli.train import _run_folder, train
from zoo.errors import UserError
from zoo.policy.base import EXACT
from zoo.policy.pipeline import known, learned
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.written import from_json
from zoo.recipe.recipe import load_recipe

__all__ = ["zoo_here"]


@pytest.fixture(autouse=True)
def nothing_known(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known, "_FOUND", {})
    monkeypatch.setattr(known, "_FORGOTTEN", set())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One epoch of a tiny Stable Diffusion 3."""
    root = tmp_path_factory.mktemp("finished")
    made = Diffusers.write_tiny(root / "model", "StableDiffusion3Pipeline")
    policy = (
        f"{{name: diffusers, pretrained: {made['pretrained']}, resolution: 64, dtype: float32, "
        "lora: {rank: 2, alpha: 2}}"
    )
    changes = {
        **ONE_UPDATE, "policy": policy, "epochs": 1, "rewards": "[{name: jpeg_compressibility}]",
        "data__groups_per_epoch": 1, "data__group_size": 2, "sampler__steps": 2,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        train(RECIPES["nft"], overrides("nft", root / "out", **changes)[1::2], None, None)
    return only_run(root / "out")


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def kept(run):
    return json.loads((run / "contracts.json").read_text())


def test_a_run_goes_on_with_what_it_found(run, zoo_here, monkeypatch):
    ((asked, contract),) = kept(run).items()
    assert asked.startswith('["StableDiffusion3Pipeline", {"height": 64, "width": 64}')
    assert from_json(contract).shapes == ((16, 8, 8),)
    assert "exact" not in json.loads((run / "model.json").read_text())

    def learn(seam):
        raise AssertionError("it is known")

    monkeypatch.setattr(learned, "learn", learn)
    monkeypatch.setattr(diffusers, "__version__", "99.0")
    done = zoo_here("train", "--resume", run, "--epochs", 2)
    assert done.code == 0, done.err
    assert "by 99.0 its pipeline still does the same" in done.out + done.err
    assert kept(run) == {asked: contract}


def test_its_images_are_made_by_what_it_found(run, zoo_here, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def learn(seam):
        raise AssertionError("it is known")

    monkeypatch.setattr(learned, "learn", learn)
    for command in (("sample", run, "-p", "a one"), ("eval", run, "--limit", 1)):
        done = zoo_here(*command, "-n", 1)
        assert done.code == 0, done.err


def test_what_does_otherwise_now_is_refused_in_a_line(run, zoo_here):
    text = (run / "contracts.json").read_text()
    assert '"offset": 0.0' in text
    slower = text.replace('"numbers": [1.0]', '"numbers": [0.5]')
    assert slower != text
    (run / "contracts.json").write_text(slower)
    done = zoo_here("train", "--resume", run, "--epochs", 2)
    assert done.code == 2
    line = done.lines[-1]
    assert "contracts.json: the run began with a pipeline of which 'passes' was another" in line
    assert line.endswith(f"install diffusers {diffusers.__version__}, or start a new run")


def test_processes_that_found_different_things_are_refused():
    engine = SimpleNamespace(rank=0, gather_lines=lambda local: (*local, "another"))
    sizes = SimpleNamespace(findings=lambda: {EXACT: {"asked": {"format": 1}}})
    run = SimpleNamespace(model=SimpleNamespace(engine=engine), sizes=sizes)
    with pytest.raises(UserError, match=r"found different things.*delete the cache's folder"):
        _run_folder(load_recipe(RECIPES["nft"]), None, run)


def test_a_damaged_file_is_named_and_may_be_deleted(run, zoo_here):
    right = kept(run)
    (run / "contracts.json").write_text('{"a": {"format": 1}}')
    done = zoo_here("train", "--resume", run, "--epochs", 2)
    assert done.code == 2
    assert done.lines[-1].endswith("; delete it to have it found anew")
    (run / "contracts.json").unlink()
    done = zoo_here("train", "--resume", run, "--epochs", 2)
    assert done.code == 0, done.err
    assert kept(run) == right
