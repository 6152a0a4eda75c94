"""`engine.micro_batch: auto`: what was found is said, checked and kept for a run that goes on."""

import pytest

from tests.runs import RECIPES, only_run, overrides
from zoo.plan import footprint
from zoo.run.folder import read_resolved_recipe

NFT = RECIPES["nft"]
AUTO = {"engine__micro_batch": "{sample: auto, train: auto}"}


@pytest.fixture
def fits(monkeypatch):
    """Estimates stand for a machine that holds five images to make and three to train."""

    def peaks(recipe, of_stages, processes):
        sizes = recipe.engine.micro_batch.sizes
        return {"collecting": 180 * sizes.sample, "learning": 300 * sizes.train}

    monkeypatch.setattr("zoo.plan.fit._peaks", peaks)
    monkeypatch.setattr("zoo.plan.fit.footprints", lambda recipe, processes: [])
    monkeypatch.setattr("zoo.plan.fit.memory_of_a_process", lambda recipe, processes: 1001)


@pytest.mark.slow
def test_a_run_takes_what_fits_says_so_and_goes_on_with_it(fits, tmp_path, zoo_here):
    ended = zoo_here("train", NFT, *overrides("nft", tmp_path, epochs=1, **AUTO))
    assert ended.code == 0, ended.err
    assert "micro-batches of 5 to make images and of 3 to train; of 1 MB 10% to spare" in ended.out
    run = only_run(tmp_path)
    assert read_resolved_recipe(run)["engine"]["micro_batch"] == {"sample": 5, "train": 3}
    ended = zoo_here("train", "--resume", run, "--epochs", 2)
    assert ended.code == 0, ended.err
    assert "micro-batches" not in ended.out
    ended = zoo_here("train", "--resume", run, "--epochs", 3, "-s", "engine.micro_batch.train=auto")
    assert ended.code == 0, ended.err
    assert "micro-batches of 5 to make images and of 3 to train" in ended.out


@pytest.mark.slow
def test_what_is_held_no_more_is_said(fits, tmp_path, zoo_here, monkeypatch):
    import torch

    from zoo.policy.digits import Digits

    own = Digits.velocity

    def velocity(self, x, t, cond):
        if torch.is_grad_enabled() and len(x) > 1:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        return own(self, x, t, cond)

    monkeypatch.setattr(Digits, "velocity", velocity)
    ended = zoo_here("train", NFT, *overrides("nft", tmp_path, epochs=1, **AUTO))
    assert ended.code == 0, ended.err
    assert "out of memory; micro-batches of 5 and 1 fit" in ended.out
    found = read_resolved_recipe(only_run(tmp_path))["engine"]["micro_batch"]
    assert found == {"sample": 5, "train": 1}


@pytest.mark.slow
def test_check_says_what_fits_here(fits, zoo_here, monkeypatch):
    monkeypatch.setattr("zoo.cli.check.memory_of_a_process", lambda recipe, processes: 1001)
    ended = zoo_here("check", NFT, "-s", "engine.micro_batch={sample: auto, train: auto}")
    assert ended.code == 0, ended.err
    assert "of 5 to make images and of 3 to train" in " ".join(ended.out.split())


def test_without_an_estimate_numbers_are_asked_for(tmp_path, zoo_here, monkeypatch):
    def none(recipe, processes):
        raise footprint.NoEstimateError("the policy 'digits' cannot be run on shapes alone")

    monkeypatch.setattr("zoo.plan.fit.footprints", none)
    ended = zoo_here("train", NFT, *overrides("nft", tmp_path, epochs=1, **AUTO))
    assert ended.code == 2
    (line,) = ended.lines
    assert "engine.micro_batch is auto, and nothing says what fits: the policy 'digits'" in line
    assert line.endswith("write numbers: {sample: 8, train: 4}, say")


@pytest.mark.parametrize(
    "written", ["engine.micro_batch.train=most", "engine.micro_batch.sample=0"]
)
def test_another_word_is_refused(written, tmp_path, zoo_here):
    ended = zoo_here("train", NFT, *overrides("nft", tmp_path, epochs=1), "-s", written)
    assert ended.code == 2
    (line,) = ended.lines
    assert written in line
    assert "auto" in line
