"""Micro-batches that memory does not hold after all are halved before anything is made."""

import pytest
import torch

from tests.engine.in_processes import in_processes
from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, recipe
from zoo.policy.digits import Digits
from zoo.training.build import build
from zoo.training.trial import halve_until_they_fit

SMALL = {**ONE_UPDATE, "eval": "{every: 1, steps: 2}"}


@pytest.fixture
def memory(monkeypatch):
    """Forwards of more than so many rows have no place: without gradients, and with them."""
    allowed = {"sample": 100, "train": 100}
    own, seen = Digits.velocity, []

    def velocity(self, x, t, cond):
        what = "train" if torch.is_grad_enabled() else "sample"
        if len(x) > allowed[what]:
            raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
        seen.append((what, len(x)))
        return own(self, x, t, cond)

    monkeypatch.setattr(Digits, "velocity", velocity)
    allowed["seen"] = seen
    return allowed


def tried(algorithm="nft", **changes):
    made = recipe(RECIPES[algorithm], **{**SMALL, **changes})
    return halve_until_they_fit(build(made), made.engine.micro_batch.sizes)


def test_what_fits_stays_after_one_forward_of_each(memory):
    result = tried()
    assert result.sizes == (8, 8)
    # Collecting, the evaluation, and learning, which looks at two other sets of weights.
    assert [rows for what, rows in memory["seen"] if what == "train"] == [8]
    assert len(memory["seen"]) == 5


@pytest.mark.slow
def test_each_is_halved_by_itself(memory):
    memory["sample"], memory["train"] = 100, 3
    result = tried()
    assert result.sizes == (8, 2)
    stage = result.run.stages[0]
    assert (stage.collector.micro_batch, stage.learner.micro_batch) == (8, 2)
    memory["sample"], memory["train"] = 4, 4
    result = tried()
    assert result.sizes == (4, 4)
    assert result.run.stages[0].evaluator.collector.micro_batch == 4


def test_nothing_stays_of_the_tries(memory):
    memory["train"] = 2
    result = tried()
    weights = result.run.model.policy.weights
    assert weights.num_rows == 0
    assert all(p.grad is None for p in weights.parameters().values())


@pytest.mark.slow
def test_one_image_that_is_too_much_is_the_error(memory):
    memory["train"] = 0
    with pytest.raises(torch.OutOfMemoryError):
        tried()


@pytest.mark.slow
def test_a_pair_is_not_parted(memory):
    memory["train"] = 1
    with pytest.raises(torch.OutOfMemoryError):
        tried("dpo", data__group_size=8)


def test_another_error_is_not_taken_for_memory(monkeypatch):
    def broken(self, x, t, cond):
        raise RuntimeError("of another kind")

    monkeypatch.setattr(Digits, "velocity", broken)
    with pytest.raises(RuntimeError, match="of another kind"):
        tried()


def test_what_is_tried_is_as_large_as_what_the_run_makes(memory):
    """12 images are made 4 at a time; half of them, the prompts of one micro-batch, 3 at a time."""
    tried(data__group_size=6, engine__micro_batch="{sample: 4, train: 4}", eval="null")
    assert next(rows for what, rows in memory["seen"] if what == "sample") == 4


@pytest.mark.slow
def test_all_processes_end_a_try_where_one_runs_out_of_memory(tmp_path):
    in_processes("tests.training.one_lacks_memory:check", 2, tmp_path)
