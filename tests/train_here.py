"""Runs of a recipe inside this process, as `zoo train` builds them: seconds less than a command."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from tests.runs import metrics
from zoo.engine.interrupt import Interrupt
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.run.tracker import Tracker, open_tracker
from zoo.training.build import StageRun, build
from zoo.training.epoch import advantages, collect_epoch, learn_epoch
from zoo.training.generate import Batch
from zoo.training.loop import train
from zoo.training.state import Progress

ONE_UPDATE = {
    "sampler__steps": 3,
    "data__groups_per_epoch": 2,
    "data__group_size": 8,
    "optim__updates_per_epoch": 1,
    "engine__micro_batch": "{sample: 8, train: 8}",
    "eval": "null",
}
"""Changes that make an epoch short."""


def recipe(path: Path, **changes: object) -> Recipe:
    """A recipe on the CPU with changes, in whose names `__` stands for a dot."""
    changes = {"engine.device": "cpu", **changes}
    return load_recipe(
        path, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    )


def images_of(batches: Iterable[Batch], into: dict[int, Tensor]) -> Iterator[Batch]:
    """The same batches; puts each image in a dictionary, by its key."""
    for batch in batches:
        into.update(zip(batch.key.tolist(), batch.images, strict=True))
        yield batch


def train_here(recipe: Recipe, out: Path) -> list[dict]:
    """Trains it to its end, with all files under `out`; returns the lines of its metrics."""
    out.mkdir(parents=True, exist_ok=True)
    run = build(recipe)
    with open_tracker(out, recipe) as tracker:
        train(run, Progress(), tracker)
    return metrics(out)


def epoch_here(run: StageRun, epoch: int = 0) -> None:
    """Collects and learns once, and records nothing."""
    tracker, interrupt = Tracker(Path()), Interrupt(run.model.engine, print)
    collected = collect_epoch(run, epoch, tracker, interrupt)
    progress = Progress(epoch, step=epoch)
    learn_epoch(run, collected, advantages(run, collected), progress, tracker)
