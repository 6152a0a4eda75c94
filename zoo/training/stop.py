"""When a run ends before its epochs are done: the conditions of a recipe's `stop_when`."""

import math
from collections.abc import Mapping

from zoo.errors import suggest
from zoo.recipe.errors import RecipeError
from zoo.recipe.model import Recipe
from zoo.recipe.sections import StopWhen
from zoo.run.console import short
from zoo.run.folder import EPOCHS, End
from zoo.training.state import Progress


def at_checkpoint(recipe: Recipe, progress: Progress, record: Mapping[str, float]) -> End | None:
    """The end that a run had come to when it was saved, if it had.

    `record` is of the checkpoint's epoch; what an evaluation would tell is in it, or not.
    """
    end = at_budget(recipe.stop_when, progress, recipe.epochs)
    if end is None and any(key.startswith("eval/") for key in record):
        end = at_evaluation(recipe.stop_when, progress, record)
    return end


def require_target(recipe: Recipe, record: Mapping[str, float]) -> None:
    """Refuses a target that the first evaluation does not have: what rewards record is seen there.

    Raises:
        RecipeError: with what it has.
    """
    target = recipe.stop_when.target if recipe.stop_when is not None else None
    if target is None or f"eval/{target.label}" in record:
        return
    scored = [key.removeprefix("eval/") for key in record if key.startswith("eval/")]
    raise RecipeError(
        f"{recipe.origin(('stop_when', 'target', 'label'))}: stop_when.target.label is "
        f"'{target.label}', which evaluations do not score{suggest(target.label, scored, 'scored')}"
    )


def at_budget(when: StopWhen | None, progress: Progress, epochs: int) -> End | None:
    """The budget that is used up, if one is; or all epochs are done."""
    when = when or StopWhen()
    for key, limit, used in (
        ("seconds", when.seconds, progress.seconds),
        ("forwards", when.forwards, progress.num_evals),
        ("images", when.images, progress.num_images),
    ):
        if limit is not None and used >= limit:
            return End(progress.epoch, key, f"{short(used)} {key}, of {short(limit)} to spend")
    return End(epochs, EPOCHS, f"all {epochs} epochs") if progress.epoch >= epochs else None


def at_evaluation(
    when: StopWhen | None, progress: Progress, record: Mapping[str, float]
) -> End | None:
    """What an epoch's evaluation, which is in its record, has come to that ends the run."""
    if when is None:
        return None
    epoch, watched = progress.epoch, progress.watched
    if when.target is not None:
        key, least = f"eval/{when.target.label}", when.target.at_least
        score = record.get(key, math.nan)
        if score >= least:
            return End(epoch, "target", f"{key} is {short(score)}, at least {short(least)}")
    if when.drift is not None:
        drift = record.get("monitor/drift", math.nan)
        if drift > when.drift:
            text = f"the drift from the base model is {short(drift)}, above {short(when.drift)}"
            return End(epoch, "drift", text)
    if when.falling is not None and watched.num_falling >= when.falling:
        text = (
            f"the held-out score has been below its best, {short(watched.best)} after epoch "
            f"{watched.best_epoch}, in {watched.num_falling} evaluations"
        )
        return End(epoch, "falling", text)
    return None
