"""The signals that ask a run to save and leave: a person's, a scheduler's, a closing terminal's."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

WARNINGS = (signal.SIGHUP, signal.SIGUSR1)
"""A terminal sends the first when it is closed; SLURM's --signal=USR1@120 comes before the end."""

STOPPING = (signal.SIGINT, signal.SIGTERM, *WARNINGS)


@contextmanager
def catch_stopping(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, `handler` gets each of them; not SIGHUP where nohup has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    before = {
        number: signal.signal(number, handler)
        for number in STOPPING
        if not (ignored and number == signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
