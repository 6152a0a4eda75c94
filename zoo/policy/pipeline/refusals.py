"""Why a pipeline cannot be a policy, in one line of our words, whatever its code raises."""

import inspect
import linecache
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import Parameter
from pathlib import Path
from types import TracebackType

from zoo.errors import join_lines
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.seam import Seam

_SOLVING = ("scheduler.step(", "_timesteps(", "scheduler.timesteps")
"""In lines of a pipeline that set its scheduler or step it."""
_ASKED = {
    "network": "its prompts were encoded",
    "step": "it was asked for one step",
    "grid": "it was asked for its grid",
    "end": "it was asked to decode",
}


@contextmanager
def telling_why(seam: Seam) -> Iterator[None]:
    """Whatever a pipeline does with what it is asked inside is why it is not supported.

    Raises:
        UnsupportedError: in one line.
    """
    name = type(seam.real).__name__
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(f"{name} cannot be trained: {error}") from error
    except Exception as error:
        raise UnsupportedError(
            f"{name} cannot be asked for a step by itself: {_reason(error, seam)}"
        ) from error


def require_arguments(seam: Seam) -> None:
    """Sees that all is given that a pipeline's call has no default for.

    Raises:
        UnsupportedError: something is missing.
    """
    given = seam.given()
    for name, parameter in seam.keywords.takes.items():
        plain = parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        if plain and parameter.default is Parameter.empty and name not in ("self", *given):
            raise UnsupportedError(
                f"its call needs '{name}', which it is not given: write policy.call: "
                f"{{{name}: ...}}, or train another pipeline of the model by policy.pipeline"
            )


def _reason(error: Exception, seam: Seam) -> str:
    """The pipeline's own words where it has some, else where it stopped and what may be missing."""
    frames = list(_frames(error.__traceback__))
    last, line, _ = frames[-1]
    library = f"{Path(inspect.getfile(type(seam.real)))}".partition("pipelines")[0]
    if last.startswith(library) and linecache.getline(last, line).lstrip().startswith("raise"):
        return f"it says: {join_lines(error)[:300]}"
    asked = seam.run.question.until
    file, line, function = _last_own(frames, seam)
    shown = f"line {line} of {Path(file).name}, in {function}"
    if any(word in linecache.getline(file, line) for word in _SOLVING):
        return f"its scheduler is not set or stepped as others are ({shown})"
    if isinstance(error, UnboundLocalError) and function == "__call__":
        if asked == "end":
            return f"its end needs more than its last latents, or is of another kind ({shown})"
        return f"its loop makes no step where there is one time alone ({shown})"
    takes, given = seam.keywords.takes, seam.given()
    missing = [name for name in ("image", "video") if name in takes and name not in given]
    hint = (
        f"it was given no {missing[0]}, which it may need: write policy.family.inputs: 1, or what "
        "else it needs in policy.call"
        if missing
        else "it loops otherwise than others, or needs what policy.call can give it"
    )
    return f"its code stops when {_ASKED[asked]} ({shown}); {hint}"


def _last_own(frames: list[tuple[str, int, str]], seam: Seam) -> tuple[str, int, str]:
    """The last place in the pipeline's own file."""
    own = inspect.getfile(type(seam.real))
    return [frames[-1], *(frame for frame in frames if frame[0] == own)][-1]


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, int, str]]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield code.co_filename, traceback.tb_lineno, code.co_name
        traceback = traceback.tb_next
