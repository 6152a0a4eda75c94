"""What a run's checkpoint holds: every set of weights that moves, the optimizer, the counters."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from zoo import __version__, checkpoint, registry
from zoo.build import Run
from zoo.rollout import Weights


@dataclass(frozen=True)
class Progress:
    """How far a run is. `seconds` are of collecting and learning; evaluation is not counted."""

    epoch: int = 0
    step: int = 0
    num_evals: int = 0
    seconds: float = 0.0
    num_invalid: int = 0
    num_dropped: int = 0


def save(run: Run, run_dir: Path, progress: Progress, *, wandb_id: str | None) -> None:
    """Writes a checkpoint; called by every process, written by the first."""
    tensors: dict[str, Tensor] = {}
    for which in sorted({Weights.LIVE, *run.copies}, key=lambda which: which.value):
        for name, parameter in run.policy.weights.parameters(which).items():
            tensors[f"{which.value}/{name}"] = parameter.detach()
    tensors |= {f"optimizer/{name}": value for name, value in run.engine.state().items()}
    if run.engine.rank == 0:
        state = {
            "progress": asdict(progress),
            "objective": run.objective.state(),
            "wandb_id": wandb_id,
            "zoo": __version__,
            "packages": registry.packages(),
        }
        checkpoint.save(run_dir, progress.epoch, tensors, state, keep=run.recipe.checkpoint.keep)


def restore(run: Run, folder: Path) -> tuple[Progress, str | None]:
    """Puts a run where its checkpoint was, at any number of processes; with the wandb id it had.

    Raises:
        CheckpointError: it is damaged, or of another model or recipe.
    """
    saved = checkpoint.load(folder)
    load_weights(run, saved.tensors, folder)
    optimizer = {
        name.removeprefix("optimizer/"): value
        for name, value in saved.tensors.items()
        if name.startswith("optimizer/")
    }
    run.engine.load(optimizer)
    run.objective.load(saved.state["objective"])
    return Progress(**saved.state["progress"]), saved.state["wandb_id"]


def load_weights(run: Run, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Copies every set of weights out of a checkpoint's tensors."""
    for which in {Weights.LIVE, *run.copies}:
        for name, parameter in run.policy.weights.parameters(which).items():
            value = tensors.get(f"{which.value}/{name}")
            if value is None or value.shape != parameter.shape:
                found = "missing" if value is None else f"of shape {list(value.shape)}"
                raise checkpoint.CheckpointError(
                    f"{folder}: {which.value} weights '{name}' are {found}, this recipe's are "
                    f"{list(parameter.shape)}; resume with the recipe that the run was started with"
                )
            with torch.no_grad():
                parameter.copy_(value)
