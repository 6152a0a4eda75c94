"""A reward in a Python environment of its own, whose packages cannot live beside zoo's.

The environment has `zoo-reward-worker` and the reward's package, and need not have zoo. Images go
there rounded to 8 bits, as they would into any file. A worker that dies, or is ended because it
hangs, is started anew at the next call: the judge tries again as the recipe's `scoring` says.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from zoo_reward_worker.wire import Message

from zoo.prompt import Prompt
from zoo.reward.base import ImagesOrVideos, KnownAnswer, Reward
from zoo.reward.outside import messages as message
from zoo.reward.outside.process import Worker, WorkerError


class IsolatedReward(Reward):
    """Asks a worker, which it starts and keeps."""

    takes = "both"

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        python: str,
        name: str,
        options: Mapping[str, Any],
        start_timeout: float,
    ) -> None:
        """Starts the worker: `python` runs the reward `name` that is registered there.

        Raises:
            ValueError: it cannot be started; in one line.
        """
        self._start: Callable[[], Worker] = partial(
            Worker, python, name, device=str(device), options=options, start_timeout=start_timeout
        )
        try:
            self._worker = self._start()
        except WorkerError as error:
            raise ValueError(str(error)) from error

    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> Any:
        """What the worker says; the judge looks at whether it is one number an image.

        Raises:
            WorkerError: the reward raised, or the worker died or cannot be started again.
        """
        asked = message.question(message.pixels(images), prompts)
        return message.scores(self._alive().ask(asked), images.device)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Those of the reward in the worker."""
        return message.known_answers(self._alive().ask(Message({"kind": "known_answers"})))

    def interrupt(self) -> bool:
        """Ends the worker; the next call starts another."""
        self._worker.end()
        return True

    def _alive(self) -> Worker:
        if not self._worker.alive:
            self._worker = self._start()
        return self._worker
