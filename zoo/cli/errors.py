"""Which errors are the user's to mend, and how an error is said in one line, or by a worker."""

import traceback
from collections.abc import Sequence

from zoo.cli import out_of_memory


def exit_code(error: Exception) -> int:
    """2 for a mistake that the user can mend, 1 for a run that failed."""
    return 2 if isinstance(error, _mistakes()) else 1


def lines(error: Exception) -> Sequence[str]:
    """An error as it is printed; of an unexpected one its kind, and how to see more."""
    memory = out_of_memory.words(error)
    if memory is not None:
        return [memory]
    if _expected(error):
        return str(error).splitlines()
    said = str(error).splitlines() or [""]
    return [f"{type(error).__name__}: {said[0]} (--debug shows the traceback)"]


def last_words(error: Exception, *, debug: bool) -> tuple[str, str]:
    """All that a worker's error says; its traceback where it is unexpected or to be debugged."""
    whole, said = traceback.format_exception(error), traceback.format_exception_only(error)
    trace = "".join(whole[: -len(said)])
    memory = out_of_memory.words(error)
    if memory is not None or _expected(error):
        return memory or str(error), trace if debug else ""
    return "".join(said).rstrip(), trace


def _expected(error: Exception) -> bool:
    from zoo.training.loop import RunError

    return isinstance(error, (*_mistakes(), RunError))


def _mistakes() -> tuple[type[Exception], ...]:
    from zoo.prompt import PromptError
    from zoo.recipe.errors import RecipeError
    from zoo.registry import BrokenPluginError, UnknownComponentError
    from zoo.reward.judge import RewardError
    from zoo.run.checkpoint import CheckpointError

    return (
        CheckpointError,
        PromptError,
        RecipeError,
        BrokenPluginError,
        UnknownComponentError,
        RewardError,
    )
