"""What a checkpoint keeps of a run, and what it is refused for; the best evaluation so far."""

import math

import pytest
import torch

from tests.runs import RECIPES
from tests.train_here import epoch_here, recipe
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.checkpoint import CheckpointError
from zoo.run.tracker import Tracker
from zoo.training.build import build
from zoo.training.state import BestSoFar, Progress, load_weights, progress_of, restore, save

SHORT = {
    "epochs": 4, "data__groups_per_epoch": 3, "data__group_size": 4, "sampler__steps": 2,
    "optim__ema": "{cap: 0.9}", "eval": "null",
}  # fmt: skip
PROGRESS = Progress(3, step=5, num_evals=70, seconds=1.5, watched=BestSoFar(2, 0.5, 0.1, 1))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run that has learned, and the folder of its one checkpoint."""
    out = tmp_path_factory.mktemp("run")
    run = build(recipe(RECIPES["nft"], **SHORT))
    epoch_here(run.stages[0])
    save(run.stages[0], Tracker(out), PROGRESS)
    return run, checkpoint.latest(out)


def weights(run, which):
    return {name: value.whole() for name, value in run.model.policy.weights.tensors(which).items()}


def test_everything_that_moves_is_as_it_was(saved):
    run, folder = saved
    again = build(recipe(RECIPES["nft"], **SHORT, seed=9), resumed=True)
    progress, wandb_id = restore(again, folder)
    assert (progress, wandb_id) == (PROGRESS, None)
    for which in (Weights.LIVE, Weights.OLD, Weights.EMA):
        for name, value in weights(run, which).items():
            assert torch.equal(weights(again, which)[name], value), (which, name)
    state = {name: value.whole() for name, value in run.model.engine.state().items()}
    assert state
    for name, value in again.model.engine.state().items():
        assert torch.equal(value.whole(), state.pop(name)), name
    assert not state


def test_how_far_a_run_is_can_be_read_without_its_model(saved):
    assert progress_of(saved[1]) == PROGRESS


def test_the_weights_of_another_model_are_refused_by_name(saved):
    other = build(recipe(RECIPES["nft"], **SHORT, policy__lora="{rank: 3, alpha: 4}"))
    with pytest.raises(CheckpointError, match=r"weights '.*' are of shape .*, this recipe's are"):
        load_weights(other.model, checkpoint.load(saved[1]).tensors, saved[1])


def test_a_set_that_the_checkpoint_lacks_is_said(saved, tmp_path):
    plain = build(recipe(RECIPES["nft"], **SHORT | {"optim__ema": "null"}))
    save(plain.stages[0], Tracker(tmp_path), Progress(1))
    folder = checkpoint.latest(tmp_path)
    with pytest.raises(CheckpointError, match=r"ema weights '.*' are missing, this recipe's are"):
        restore(build(recipe(RECIPES["nft"], **SHORT)), folder)


def after(*scores, error=0.01):
    watched = BestSoFar()
    for epoch, score in enumerate(scores):
        watched = watched.after(epoch, score, error)
    return watched


def test_the_best_is_the_first_of_the_highest():
    assert after(0.2, 0.5, 0.5, 0.4).best_epoch == 1
    assert after(0.2, 0.5, 0.6).best == 0.6


def test_falling_counts_evaluations_in_a_row_below_the_best_by_more_than_its_error():
    assert after(0.5, 0.48, 0.47).num_falling == 2
    assert after(0.5, 0.48, 0.495, 0.48).num_falling == 1  # within the error in between
    assert after(0.5, 0.48, 0.6).num_falling == 0


def test_without_an_error_every_fall_counts():
    assert after(0.5, 0.4999, error=math.nan).num_falling == 1


def test_a_score_that_is_nan_tells_nothing():
    assert after(math.nan) == BestSoFar()
    assert after(0.5, 0.4, math.nan) == after(0.5, 0.4)
