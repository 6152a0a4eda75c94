"""What a run has to remember to go on: its progress, and the best evaluation so far."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo import __version__, registry
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.tracker import Tracker
from zoo.storage import tensor_file
from zoo.storage.tensor_file import TensorFile
from zoo.training.build import Model, Run, StageRun
from zoo.training.learn import CUT


@dataclass(frozen=True)
class BestSoFar:
    """The best evaluation's epoch, score and standard error, and how many since are below it.

    `num_falling` counts evaluations in a row, up to the last one, that were below the best by more
    than its standard error.
    """

    best_epoch: int | None = None
    best: float = math.nan
    best_error: float = math.nan
    num_falling: int = 0

    def after(self, epoch: int, score: float, error: float) -> "BestSoFar":
        """With one more evaluation; a score that is NaN tells nothing."""
        if math.isnan(score):
            return self
        if self.best_epoch is None or score > self.best:
            return BestSoFar(epoch, score, error)
        fell = score < self.best - (0.0 if math.isnan(self.best_error) else self.best_error)
        falling = self.num_falling + 1 if fell else 0
        return BestSoFar(self.best_epoch, self.best, self.best_error, falling)


@dataclass(frozen=True)
class Progress:
    """How far a run is. `seconds` are of collecting and learning; evaluation is not counted."""

    epoch: int = 0
    step: int = 0
    num_evals: int = 0
    num_images: int = 0
    seconds: float = 0.0
    num_invalid: int = 0
    num_dropped: int = 0
    watched: BestSoFar = field(default_factory=BestSoFar)


def save(run: StageRun, tracker: Tracker, progress: Progress) -> None:
    """Writes a checkpoint; called by every process, written by the first."""
    engine = run.model.engine
    tensors = {f"{_OPTIMIZER}{name}": value for name, value in engine.state().items()}
    for which in {Weights.LIVE, *run.model.copies}:
        for name, value in run.model.policy.weights.tensors(which).items():
            tensors[_name(which, name)] = value
    if engine.rank > 0:
        tensor_file.take_part(tensors)
        return
    state: dict[str, Any] = {
        "progress": asdict(progress),
        "objective": run.objective.state(),
        "wandb_id": tracker.wandb_id,
        "cut": CUT,
        "zoo": __version__,
        "packages": registry.packages(),
    }
    options = run.recipe.checkpoint
    best = progress.watched.best_epoch if options.best else None
    checkpoint.save(tracker.run_dir, progress.epoch, tensors, state, keep=options.keep, best=best)


def restore(run: Run, folder: Path) -> tuple[Progress, str | None]:
    """Puts a run where its checkpoint was, at any number of processes; with the wandb id it had.

    Raises:
        CheckpointError: it is damaged, or of another model or recipe.
    """
    saved = checkpoint.load(folder)
    load_weights(run.model, saved.tensors, folder)
    names = [name for name in saved.tensors if name.startswith(_OPTIMIZER)]
    moments = _Part(saved.tensors, {name.removeprefix(_OPTIMIZER): name for name in names})
    run.model.engine.load(moments)
    progress = _progress(saved)
    run.stage_at(progress.epoch).objective.load(saved.state["objective"])
    return progress, saved.state["wandb_id"]


def tell_other_cut(run: Run, folder: Path) -> tuple[str, ...]:
    """What to warn of where a checkpoint's run was cut into updates in another way until now.

    With one update an epoch every way is the same.

    Raises:
        CheckpointError: it is damaged.
    """
    saved = checkpoint.load(folder)
    left = [stage for stage in run.stages if saved.epoch < stage.stage.end]
    if saved.state.get("cut", 1) == CUT or all(each.learner.num_updates == 1 for each in left):
        return ()
    return (
        "an earlier version began this run and drew at random which images are trained in which "
        "update of an epoch; from here on each group's are spread evenly over them: as good, "
        "not bit for bit what that version would have given",
    )


def progress_of(folder: Path) -> Progress:
    """How far the run was when a checkpoint was saved; reads no weights.

    Raises:
        CheckpointError: it is damaged.
    """
    return _progress(checkpoint.load(folder))


def _progress(saved: checkpoint.Checkpoint) -> Progress:
    counted = saved.state["progress"]
    return Progress(**{**counted, "watched": BestSoFar(**counted.get("watched", {}))})


def load_weights(model: Model, tensors: TensorFile, folder: Path) -> None:
    """Copies the sets of weights out of a checkpoint's tensors; before the optimizer's state.

    Raises:
        CheckpointError: a set is of another model or recipe.
    """
    for which in sorted({Weights.LIVE, *model.copies}, key=lambda which: which.value):
        names = {}
        for name, wanted in model.policy.weights.tensors(which).items():
            names[name] = _name(which, name)
            shape = tensors.shape(names[name]) if names[name] in tensors else None
            if shape != wanted.shape:
                saved = "missing" if shape is None else f"of shape {list(shape)}"
                raise checkpoint.CheckpointError(
                    f"{folder}: {which.value} weights '{name}' are {saved}, this recipe's are "
                    f"{list(wanted.shape)}; resume with the recipe that the run was started with"
                )
        model.policy.weights.assign(which, _Part(tensors, names))


_OPTIMIZER = "optimizer/"


def _name(which: Weights, name: str) -> str:
    return f"{which.value}/{name}"


class _Part(Mapping[str, Tensor]):
    """Some tensors of a file under other names, each still read when it is asked for."""

    def __init__(self, tensors: TensorFile, names: Mapping[str, str]) -> None:
        self._tensors, self._names = tensors, names

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
