"""How a command ends that cannot go on: by a mistake, a failed run, or memory that ran out."""

import sys
import traceback
from collections.abc import Sequence

from zoo.cli.options import TINY
from zoo.errors import TRY_TINY, UserError, first_line, one_line


def exit_code(error: Exception) -> int:
    """2 for a mistake that the user can mend, 1 for a run that failed."""
    return 2 if isinstance(error, UserError) else 1


def lines(error: Exception) -> Sequence[str]:
    """An error as it is printed; of an unexpected one its kind, and how to see more."""
    memory = out_of_memory(error)
    if memory is not None:
        return [memory]
    if isinstance(error, UserError):
        # Who tries it so already is not told to.
        hint = TRY_TINY if TINY in sys.argv else None
        return [line.replace(hint, "") if hint else line for line in error.lines]
    shown = one_line(error)
    return [first_line(error) if _is_expected(error) else f"{shown} (--debug shows the traceback)"]


def last_words(error: Exception, *, debug: bool) -> tuple[str, str]:
    """All that a worker's error says; its traceback where it is unexpected or to be debugged."""
    whole, last = traceback.format_exception(error), traceback.format_exception_only(error)
    trace = "".join(whole[: -len(last)])
    memory = out_of_memory(error)
    if memory is not None or _is_expected(error):
        return memory or "\n".join(lines(error)), trace if debug else ""
    return "".join(last).rstrip(), trace


def _is_expected(error: Exception) -> bool:
    from zoo.training.loop import RunError

    return isinstance(error, (UserError, RunError))


def out_of_memory(error: BaseException) -> str | None:
    """The line to say, if memory ran out."""
    from zoo import devices

    found = devices.out_of_memory(error)
    if found is None:
        return None
    phase, fix = _phase(error)
    return (
        f"out of memory on {found.place}{phase}{found.wanted}: {fix}; `zoo check RECIPE` estimates "
        "the need"
    )


_TRAINING = {"zoo.training.learn", "zoo.training.probes", "zoo.training.first_step"}


def _phase(error: BaseException) -> tuple[str, str]:
    """What was being done, and what to change, from the functions that the error went through."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = {frame.f_globals.get("__name__") for frame in frames}
    sampling = "fewer images at a time need less (-s engine.micro_batch.sample=N)"
    training = (
        "fewer rows at a time need less (-s engine.micro_batch.train=N), and so does keeping no "
        "activations (-s engine.gradient_checkpointing=true)"
    )
    if modules & _TRAINING:
        return " while training", training
    if "zoo.training.generate" not in modules:
        return "", f"{sampling}, in training {training}"
    if any(frame.f_code.co_name == "decode" for frame in frames):
        portion = "-s policy.decode_batch=N, where the policy has it"
        return " while decoding", f"{sampling[:-1]}; {portion})"
    return " while sampling", sampling
