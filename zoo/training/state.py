"""What a run has to remember to go on: its progress, and the best evaluation so far."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge
from pydantic import AliasChoices, AllowInfNan, BaseModel, ConfigDict, Field, Strict, TypeAdapter
from torch import Tensor

from zoo import __version__, registry, seeds
from zoo.engine import watchdog
from zoo.errors import one_line
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run.tracker import Tracker
from zoo.storage import tensor_file
from zoo.storage.tensor_file import Sharded, TensorFile, dtype_name, is_finite
from zoo.training.build import Model, Run, StageRun
from zoo.training.cut import CUT

Count = Annotated[int, Strict(), Ge(0)]
Number = Annotated[float, Strict()]

_FIELDS_ALONE = ConfigDict(extra="forbid")
"""What a checkpoint has besides is of another version, which knows what for."""


@dataclass(frozen=True)
class BestSoFar:
    """The best evaluation's epoch, score and standard error, and how many since are below it.

    `num_falling` counts evaluations in a row, up to the last one, that were below the best by more
    than its standard error.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FIELDS_ALONE

    best_epoch: Count | None = None
    best: Number = math.nan
    best_error: Number = math.nan
    num_falling: Count = 0

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
    """How far a run is. `seconds` are of collecting and learning; evaluation is not counted.

    `unevaluated` is the record of the last epoch where a signal cut off its evaluation, which is
    made up for when the run goes on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _FIELDS_ALONE

    epoch: Count = 0
    step: Count = 0
    num_evals: Count = 0
    num_images: Count = 0
    seconds: Annotated[float, Strict(), Ge(0), AllowInfNan(False)] = 0.0
    num_invalid: Count = 0
    num_dropped: Count = 0
    watched: BestSoFar = field(default_factory=BestSoFar)
    unevaluated: Mapping[str, int | float | None] | None = None


_FORMERLY = "wandb_id"
"""The id that trackers have, in checkpoints of versions that knew no other tracker."""


_Scale = dict[str, Annotated[float, Strict(), Ge(0), AllowInfNan(False)]]


class _Saved(BaseModel):
    """The state of a checkpoint, less what only says by what it was made."""

    progress: Progress
    objective: dict[str, Any]
    loss_scale: _Scale = Field(default_factory=dict)
    tracking_id: Annotated[
        str | None, Field(validation_alias=AliasChoices("tracking_id", _FORMERLY))
    ]


_STATE = TypeAdapter(_Saved).validate_python


def save(run: StageRun, tracker: Tracker, progress: Progress) -> None:
    """Writes a checkpoint; called by every process, written by the first, awaited by all."""
    engine = run.model.engine
    tensors = {f"{_OPTIMIZER}{name}": value for name, value in engine.state().items()}
    for which in {Weights.LIVE, *run.model.copies}:
        for name, value in run.model.policy.weights.tensors(which).items():
            tensors[_name(which, name)] = value
    tensors = {name: _with_pulse(value) for name, value in tensors.items()}
    if engine.rank == 0:
        _write(run, tracker, progress, tensors)
    else:
        tensor_file.take_part(tensors)
    # Nobody leaves before it is written: the launcher soon ends those that stay behind.
    engine.barrier()


def _with_pulse(tensor: Sharded) -> Sharded:
    """The same; to write many gigabytes is progress, and takes longer than the watchdog waits."""

    def whole() -> Tensor:
        watchdog.pulse()
        return tensor.whole()

    return replace(tensor, whole=whole)


def _write(
    run: StageRun, tracker: Tracker, progress: Progress, tensors: Mapping[str, Sharded]
) -> None:
    state: dict[str, Any] = {
        "progress": asdict(progress),
        "objective": run.objective.state(),
        "loss_scale": run.model.engine.loss_scale.state(),
        "tracking_id": tracker.tracking_id,
        "cut": CUT,
        "draws": seeds.VERSION,
        "zoo": __version__,
        "packages": registry.packages(),
    }
    options = run.recipe.checkpoint
    best = progress.watched.best_epoch if options.best else None
    folder = checkpoint.save(
        tracker.run_dir, progress.epoch, tensors, state, keep=options.keep, best=best
    )
    why = checkpoint.why_unsound(folder)
    if why is not None:
        tracker.warn(
            f"epoch {progress.epoch}: {why} in its checkpoint: --resume, eval and export take the "
            "one before it"
        )


def restore(run: Run, folder: Path) -> tuple[Progress, str | None]:
    """Puts a run where its checkpoint was, at any number of processes; the id of its trackers too.

    Raises:
        CheckpointError: it is damaged, not finite, or of another model or recipe.
    """
    read = checkpoint.load(folder, _STATE)
    saved = _saved(folder, read)
    tensors, progress = read.tensors, saved.progress
    load_weights(run.model, tensors, folder)
    weights = run.model.policy.weights.tensors(Weights.LIVE)
    run.model.engine.load(_moments(weights, tensors, progress.step, folder))
    run.model.engine.loss_scale.load(saved.loss_scale)
    try:
        run.stage_at(progress.epoch).objective.load(saved.objective)
    except (KeyError, TypeError, ValueError) as error:
        why = f"{folder}: the objective refuses its state ({one_line(error)})"
        raise checkpoint.refusal(folder, why) from error
    return progress, saved.tracking_id


def tell_other_version(run: Run, folder: Path) -> tuple[str, ...]:
    """What to warn of where a run was drawn, or cut into updates, in another way until now.

    With one update an epoch every way of cutting is the same.

    Raises:
        CheckpointError: it is damaged.
    """
    saved = checkpoint.load(folder)
    left = [stage for stage in run.stages if saved.epoch < stage.stage.end]
    one_update = all(each.learner.num_updates == 1 for each in left)
    other = []
    if saved.state.get("cut", 1) != CUT and not one_update:
        other.append(
            "drew at random which images are trained in which update of an epoch; from here on "
            "each group's are spread evenly over them"
        )
    if saved.state.get("draws", 1) != seeds.VERSION:
        other.append(
            "drew its noise by 32 bits of each image's seed; from here on all of them count"
        )
    return tuple(
        f"an earlier version began this run and {how}: as good, not bit for bit what that version "
        "would have given"
        for how in other
    )


def progress_of(folder: Path) -> Progress:
    """How far the run was when a checkpoint was saved; reads no weights.

    Raises:
        CheckpointError: it is damaged.
    """
    return _saved(folder, checkpoint.load(folder, _STATE)).progress


def _saved(folder: Path, read: checkpoint.Checkpoint) -> _Saved:
    saved: _Saved = _STATE(read.state)
    if saved.progress.epoch != read.epoch:
        raise checkpoint.refusal(
            folder,
            f"{folder}: state.json is damaged (progress.epoch: {saved.progress.epoch}, in the "
            f"checkpoint of epoch {read.epoch})",
        )
    return saved


def _moments(
    weights: Mapping[str, Sharded], tensors: TensorFile, step: int, folder: Path
) -> "_Part":
    """The optimizer's state: none before the first update, then all of it.

    Raises:
        CheckpointError: a part of it is missing, or is none that an optimizer could have.
    """
    have = {name for name in tensors if name.startswith(_OPTIMIZER)}
    wanted = {
        f"{_OPTIMIZER}{name}/{kept}": () if kept == "step" else weight.shape
        for name, weight in weights.items()
        for kept in _KEPT
    }
    if not have and not step:
        return _Part(tensors, {}, folder)
    for name in sorted(have ^ wanted.keys()):
        what = "missing" if name in wanted else "of no weights of this recipe"
        raise checkpoint.refusal(folder, f"{folder}: '{name}' is {what}, after {step} updates")
    for name, shape in wanted.items():
        if tensors.shape(name) != tuple(shape) or not tensors.is_float(name):
            raise checkpoint.refusal(
                folder,
                f"{folder}: '{name}' is {tensors.dtype(name)} {list(tensors.shape(name))}, its "
                f"weights are {list(shape)}",
            )
        if name.endswith("/step") and not _is_count(float(tensors[name])):
            why = f"{folder}: '{name}' is {float(tensors[name])}, not a number of updates"
            raise checkpoint.refusal(folder, why)
    return _Part(tensors, {name.removeprefix(_OPTIMIZER): name for name in wanted}, folder)


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0 and value == int(value)


def load_weights(model: Model, tensors: TensorFile, folder: Path) -> None:
    """Copies the sets of weights out of a checkpoint's tensors; before the optimizer's state.

    Raises:
        CheckpointError: a set is of another model or recipe, or not finite.
    """
    for which in sorted({Weights.LIVE, *model.copies}, key=lambda which: which.value):
        names = {}
        for name, wanted in model.policy.weights.tensors(which).items():
            names[name] = _name(which, name)
            here = f"{dtype_name(wanted.dtype)} {list(wanted.shape)}"
            saved = "missing"
            if names[name] in tensors:
                kind, shape = tensors.dtype(names[name]), tensors.shape(names[name])
                saved = f"{kind} {list(shape)}"
            if saved != here:
                raise checkpoint.CheckpointError(
                    f"{folder}: {which.value} weights '{name}' are {saved}, this recipe's are "
                    f"{here}; resume with the recipe that the run was started with"
                )
        model.policy.weights.assign(which, _Part(tensors, names, folder))


_OPTIMIZER = "optimizer/"
_KEPT = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of each weight."""


def _name(which: Weights, name: str) -> str:
    return f"{which.value}/{name}"


class _Part(Mapping[str, Tensor]):
    """Some tensors of a file under other names, each still read when it is asked for.

    One that is not finite is refused then.
    """

    def __init__(self, tensors: TensorFile, names: Mapping[str, str], folder: Path) -> None:
        self._tensors, self._names, self._folder = tensors, names, folder

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._tensors[self._names[name]]
        if not is_finite(tensor):
            why = f"{self._folder}: '{self._names[name]}' is not finite"
            raise checkpoint.refusal(self._folder, why)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
