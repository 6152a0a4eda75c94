"""What only a card can show: `make test-gpu`. All else is rehearsed without: tests/rehearsal."""

import pytest
import torch

import zoo.training.learn
from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, epoch_here, recipe
from zoo.training.build import build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize("algorithm", sorted(RECIPES))
def test_a_micro_batch_that_trains_waits_for_nothing(algorithm, monkeypatch):
    backward = zoo.training.learn._backward

    def watched(*args):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return backward(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(zoo.training.learn, "_backward", watched)
    changes = {**ONE_UPDATE, "engine.device": "cuda"}
    epoch_here(build(recipe(RECIPES[algorithm], **changes)).stages[0])
