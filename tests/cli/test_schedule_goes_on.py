"""A run that goes on: what of it stays as it was, and what is said where it cannot."""

import json
import shutil

import pytest

from tests.runs import RECIPES, metrics, only_run, overrides

SMALL = {"epochs": 2, "eval": "null", "data__groups_per_epoch": 2, "sampler__steps": 2}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A run of two epochs, two updates each, whose rate fell to its end."""
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("ended")
    train(RECIPES["nft"], overrides("nft", root, **SMALL)[1::2], None, None)
    return only_run(root)


@pytest.fixture
def run(ended, tmp_path):
    return shutil.copytree(ended, tmp_path / "run")


def rates(run):
    return [line["lr"] for line in metrics(run)[1:]]


def log(run):
    path = run / "run.log"
    return path.read_text() if path.is_file() else ""


def test_a_longer_run_keeps_its_schedule_and_says_that_it_has_ended(run, zoo_here):
    before = rates(run)
    went = zoo_here("train", "--resume", run, "--epochs", 3)
    assert went.code == 0, went.err
    assert rates(run) == [*before, 0]
    assert "goes on as it was, to update 4 (optim.total)" in went.out
    assert "from update 4 on the learning rate is 0 and nothing is learned" in log(run)
    assert json.loads((run / "recipe.json").read_text())["optim"]["total"] == 4


@pytest.mark.slow
def test_a_schedule_is_stretched_where_that_is_asked_for(run, zoo_here):
    before = rates(run)
    went = zoo_here("train", "--resume", run, "--epochs", 3, "-s", "optim.total=6")
    assert went.code == 0, went.err
    assert "was to end at update 4, now at update 6 (optim.total)" in went.out
    assert log(run) == ""
    # Cosine, 5 of 6 updates done.
    assert rates(run) == [*before, pytest.approx(3e-3 * 0.0669873, rel=1e-4)]


@pytest.mark.slow
def test_null_ends_the_schedule_with_the_run(run, zoo_here):
    went = zoo_here("train", "--resume", run, "--epochs", 3, "-s", "optim.total=null")
    assert went.code == 0, went.err
    assert rates(run)[-1] > 0
    assert "now at update 6" in went.out


@pytest.mark.slow
def test_a_checkpoint_of_other_cuts_and_draws_goes_on_and_says_so_once(run, zoo_here):
    (state,) = (run / "checkpoints" / "000002").glob("state.json")
    written = json.loads(state.read_text())
    # Nor had that version checksums.
    saved = {key: written[key] for key in ("format", "epoch", "state")}
    del saved["state"]["cut"], saved["state"]["draws"]
    state.write_text(json.dumps(saved))
    for epochs in (3, 4):
        went = zoo_here("train", "--resume", run, "--epochs", epochs, "-s", "optim.total=8")
        assert went.code == 0, went.err
    said = log(run)
    assert said.count("an earlier version began this run") == 2
    assert said.count("drew at random which images are trained in which update") == 1
    assert said.count("drew its noise by 32 bits of each image's seed") == 1
