"""Which checkpoint of a run `--epoch` names, and which weights `--weights` does."""

from pathlib import Path

from zoo.recipe.recipe import RecipeError
from zoo.rollout import Weights
from zoo.run import checkpoint


def checkpoint_folder(run_folder: Path, epoch: int | None) -> Path:
    """The folder of an epoch's checkpoint, there or not; with no epoch the last one.

    Raises:
        CheckpointError: there is none yet.
    """
    if epoch is not None:
        return checkpoint.folder_of(run_folder, epoch)
    folder = checkpoint.latest(run_folder)
    if folder is None:
        raise checkpoint.CheckpointError(f"{run_folder} has no checkpoint yet")
    return folder


def weights_named(name: str | None) -> Weights | None:
    """The set of that name, if one is given.

    Raises:
        RecipeError: there is no such set.
    """
    allowed = [which.value for which in Weights]
    if name is not None and name not in allowed:
        raise RecipeError(f"--weights {name}: allowed are {', '.join(allowed)}")
    return Weights(name) if name else None
