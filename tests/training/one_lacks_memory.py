"""In processes: one of two runs out of memory in the first of two stages, alone."""

from pathlib import Path

import torch

from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, recipe
from zoo.training import first_step, trial
from zoo.training.build import build

STAGES = "[{epochs: 1}, {epochs: 1}]"


def check(folder: Path) -> None:
    made = recipe(RECIPES["nft"], **{**ONE_UPDATE, "stages": STAGES, "epochs": 2})
    run = build(made)
    # Before the processes cut their rows together, and after it.
    for module, failing in ((trial, "unmade_rows"), (first_step, "with_lent_weights")):
        own = getattr(module, failing)
        calls = []

        def lacking(*arguments, own=own, calls=calls, **options):
            calls.append(1)
            if run.model.engine.rank == 1 and len(calls) == 1:
                raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")
            return own(*arguments, **options)

        setattr(module, failing, lacking)
        result = trial.halve_until_they_fit(run, made.engine.micro_batch.sizes)
        setattr(module, failing, own)
        assert result.sizes == (8, 4), (failing, result.sizes)
