"""What `zoo train` says beside the loop: of the rate, of prompts that are cut, of how it ended."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from zoo.engine.rendezvous import rank
from zoo.recipe.recipe import Recipe
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.plan.geometry import Plan
    from zoo.run.tracker import Tracker
    from zoo.training.loop import Trained
    from zoo.training.state import Progress
    from zoo.training.work import Work


def works_of(recipe: Recipe, plans: Sequence["Plan"]) -> list["Work"]:
    """What a row's forward takes in each stage, in the process that records; none elsewhere."""
    from zoo.plan.footprint import NoEstimateError
    from zoo.plan.work import works

    if rank():
        return []
    try:
        found = works(recipe, plans)
    except NoEstimateError as error:
        say(f"{recipe.name}: metrics have no tflops: {error}")
        return []
    if (reached := found[0].reachable) is not None:
        say(f"{recipe.name}: mfu is of the {reached / 1e12:.3g} TFLOP/s that products reach here")
    return found


def tell_rate(tracker: "Tracker", before: Recipe, now: Recipe, progress: "Progress") -> None:
    """Says what becomes of the learning rate where a run goes on otherwise than it began."""
    from zoo.training.learning_rate import compare_rates

    change = compare_rates(before, now, epoch=progress.epoch, step=progress.step)
    if change is not None:
        tracker.say(change.said)
        tracker.warn(*change.warnings)


def tell_lengths(tracker: "Tracker", recipe: Recipe) -> None:
    """Records how long the prompts are for those who read them, and says which of them are cut."""
    from zoo.plan.cut_prompts import prompt_lengths
    from zoo.run.folder import PROMPT_LENGTHS

    lengths = prompt_lengths(recipe)
    tracker.note(PROMPT_LENGTHS, asdict(lengths))
    tracker.warn(*lengths.warnings)


def say_the_end(trained: "Trained") -> None:
    """Says why the run has ended, and where to find what came of it."""
    from zoo.run import checkpoint
    from zoo.run.folder import EPOCHS
    from zoo.run.tracker import BEFORE_AFTER

    folder, progress = trained.run_dir, trained.progress
    if trained.signal and checkpoint.latest(folder) is None:
        say(f"stopped before the first epoch: nothing is saved in {folder}")
        return
    if trained.signal:
        say(f"saved after epoch {progress.epoch}; go on with: zoo train --resume {folder}")
        return
    if trained.end is not None and trained.end.reason != EPOCHS:
        say(f"ended by stop_when.{trained.end.reason}: {trained.end.text}")
    say(f"{progress.epoch} epochs, {progress.seconds:.1f} s of collecting and learning")
    for picture in (folder / "images").glob(f"{BEFORE_AFTER}.*"):
        say(f"pictures: {picture}")


def what_more(recipe: Recipe) -> str:
    """What a run that has its epochs could go on to."""
    of_stages = sum(entry.epochs for entry in recipe.stages or ())
    if not of_stages:
        return "; --epochs N goes on to more"
    if of_stages == recipe.epochs:
        return ", and its stages have no more"
    return f"; --epochs {of_stages} goes on to the end of its stages"
