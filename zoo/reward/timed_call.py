"""A call of a reward in a thread of its own, which is left behind where it hangs."""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from zoo.devices import OutOfMemory, chosen, out_of_memory
from zoo.errors import UserError, one_line
from zoo.prompt import PromptError
from zoo.reward.base import Reward

_INTERRUPT_TIMEOUT = 10.0
"""Seconds for `Reward.interrupt`, and then for the call that it was to make raise."""

T = TypeVar("T")


class RewardError(UserError):
    """A reward broke its contract, or fails too often to go on."""


@dataclass(frozen=True)
class Raised:
    """That a call raised, in words: the error itself would hold all that the call had made.

    Its traceback has the frames, and these the tensors, for which the next try may want the memory.
    """

    line: str
    trace: str = ""
    by_prompt: bool = False
    broken: bool = False
    """Whether the reward broke its contract."""
    memory: OutOfMemory | None = None

    @classmethod
    def of(cls, error: BaseException) -> "Raised":
        """What there is to say of it."""
        broken = isinstance(error, RewardError)
        line = str(error) if broken else one_line(error)
        trace = "".join(traceback.format_tb(error.__traceback__))
        return cls(line, trace, isinstance(error, PromptError), broken, out_of_memory(error))


class TimedCall(Generic[T]):
    """A call in a thread of its own, which is left behind if it never comes back."""

    def __init__(self, call: Callable[[], T], device: torch.device) -> None:
        """Starts it; `device` is its thread's own."""
        self._outcome: list[T | Raised] = []
        # A daemon: what hangs for ever must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, args=(call, device), daemon=True)
        self._thread.start()

    def within(self, timeout: float) -> T | Raised | None:
        """What it returns, or that it raised; None if it takes longer, in seconds."""
        self._thread.join(timeout)
        return self._outcome[0] if self._outcome else None

    def _work(self, call: Callable[[], T], device: torch.device) -> None:
        try:
            with chosen(device):
                self._outcome.append(call())
        # Whatever it is: whoever waits must hear that the call has ended.
        except BaseException as error:
            self._outcome.append(Raised.of(error))


def interrupt(reward: Reward, call: TimedCall[Any]) -> bool:
    """Whether a reward can be interrupted, and a call that hangs in it came back then."""
    asked = TimedCall(reward.interrupt, torch.device("cpu")).within(_INTERRUPT_TIMEOUT)
    return asked is True and call.within(_INTERRUPT_TIMEOUT) is not None
