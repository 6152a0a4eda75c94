"""Training from Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.api.run import Run
from zoo.cli import train as command
from zoo.errors import UserError
from zoo.plan.preflight import num_processes
from zoo.recipe.errors import OptionOrigin
from zoo.recipe.load import Override
from zoo.recipe.recipe import load_recipe
from zoo.run import folder as run_dir

Changes = Mapping[str, Any] | Sequence[str]
"""`{"optim.lr": 1e-3}`, or `["optim.lr=1e-3"]` as -s has it."""


def train(
    recipe: str | Path | None = None,
    overrides: Changes = (),
    *,
    epochs: int | None = None,
    resume: str | Path | Run | None = None,
    tiny: bool = False,
) -> Run:
    """Trains in this process, as `zoo train` does, and gives the run.

    An interrupt (Ctrl-C, a notebook's stop button) saves at the next safe point and returns; going
    on is `train(resume=run)`. A second interrupt leaves at once.

    Args:
        recipe: a file, or the name of a recipe that comes with zoo.
        overrides: parts of it to change: `{"optim.lr": 1e-3, "rewards": [{"name": "digit"}]}`.
        epochs: in place of the recipe's.
        resume: a run, or its folder, to go on with in place of a recipe.
        tiny: random weights and few small images, to try a recipe anywhere.

    Raises:
        UserError: something is wrong with the recipe, in a line each with the fix; both a recipe
            and a run are given, or neither; or the recipe asks for several processes.
    """
    changes = _overrides(overrides)
    if (recipe is None) == (resume is None):
        raise UserError('train needs a recipe, train("nft_digits"), or a run, train(resume=run)')
    if resume is None:
        assert recipe is not None
        folder, made = None, load_recipe(recipe, changes, epochs, tiny=tiny)
    elif tiny:
        raise UserError("tiny starts a run; one that goes on is as it was started")
    else:
        folder = resume.folder if isinstance(resume, Run) else Path(resume)
        made = run_dir.recipe_of(folder, changes, epochs)
    processes = num_processes(made)
    if processes > 1:
        raise UserError(
            f"train is of one process, and engine.processes makes {processes}; give "
            '{"engine.processes": 1}, or use the command: zoo train'
        )
    trained = command.run(made, folder)
    if trained is None:
        assert folder is not None
        return Run(folder)
    return Run(trained.run_dir)


def _overrides(changes: Changes) -> list[str | Override]:
    if isinstance(changes, str):
        raise UserError(f"overrides are a mapping or a list, not text: [{changes!r}]")
    if not isinstance(changes, Mapping):
        return list(changes)
    return [
        Override(tuple(key.split(".")), value, OptionOrigin(f"overrides['{key}']"))
        for key, value in changes.items()
    ]
