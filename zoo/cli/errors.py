"""Which errors are the user's to mend, and how an error is said in one line."""

from collections.abc import Sequence


def exit_code(error: Exception) -> int:
    """2 for a mistake that the user can mend, 1 for a run that failed."""
    return 2 if isinstance(error, _mistakes()) else 1


def lines(error: Exception) -> Sequence[str]:
    """An error as it is printed; of an unexpected one its kind, and how to see more."""
    from zoo.train import RunError

    if isinstance(error, (*_mistakes(), RunError)):
        return str(error).splitlines()
    said = str(error).splitlines() or [""]
    return [f"{type(error).__name__}: {said[0]} (--debug shows the traceback)"]


def _mistakes() -> tuple[type[Exception], ...]:
    from zoo.checkpoint import CheckpointError
    from zoo.prompt import PromptError
    from zoo.recipe.errors import RecipeError
    from zoo.registry import BrokenPluginError, UnknownComponentError
    from zoo.reward.judge import RewardError

    return (
        CheckpointError,
        PromptError,
        RecipeError,
        BrokenPluginError,
        UnknownComponentError,
        RewardError,
    )
