"""One reward's own thread: calls it batch by batch, tries again what raised, leaves what hangs.

A call that hangs is interrupted, where the reward can be, and counts as one that raised. One that
hangs on cannot be ended, and calling the same reward beside it could break it: so the rest of that
collection's images are invalid at once, and the next collection tries anew.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo.devices import OutOfMemory, Turn
from zoo.errors import one_line
from zoo.prompt import Prompt
from zoo.reward.base import PerImage, Reward, Scores
from zoo.reward.timed_call import RewardError, TimedCall, interrupt

MOST_HELD = 3
"""Batches that a reward scores or that wait for it while the next is made."""


@dataclass(frozen=True)
class WeightedReward:
    """A reward under the label that its metrics carry, and its weight in the mix."""

    label: str
    reward: Reward
    weight: float = 1.0


@dataclass(frozen=True)
class RewardInput:
    """Images and their prompts, to be scored in one call; on an accelerator, where its turn is."""

    images: Tensor
    prompts: tuple[Prompt, ...]
    turn: Turn


@dataclass(frozen=True)
class FailedBatch:
    """A batch that could not be scored, and why in one line."""

    num_images: int
    reason: str
    by_prompt: bool = False
    """Whether a prompt in it cannot be used."""


Result = Scores | FailedBatch


@dataclass(frozen=True)
class Scored:
    """All results of a collection in order, and how many calls were made again."""

    results: tuple[Result, ...]
    retried: int


class RewardThread:
    """Scores the batches that are put, in order, beside whatever the caller does."""

    def __init__(self, weighted: WeightedReward, *, timeout: float, retries: int) -> None:
        """`timeout` seconds for a call; `retries` more calls after one that raised."""
        self.weighted = weighted
        self._timeout = timeout
        self._retries = retries
        self._todo: queue.Queue[RewardInput | None] = queue.Queue()
        self._done: queue.Queue[list[Result] | RewardError] = queue.Queue()
        self._held = 0
        self._room = threading.Condition()
        self._pending = 0
        self._retried = 0
        self._hung = False
        self._left_behind = False
        # A daemon: a reward that hangs for ever must not keep the process from ending.
        threading.Thread(target=self._work, name=f"reward {weighted.label}", daemon=True).start()

    def put(self, batch: RewardInput) -> None:
        """Queues a batch."""
        self._pending += 1
        with self._room:
            self._held += 1
        self._todo.put(batch)

    def wait_for_room(self, progress: Callable[[], None]) -> None:
        """Until fewer than `MOST_HELD` batches are here; calls `progress` every second."""
        with self._room:
            while not self._room.wait_for(lambda: self._held < MOST_HELD, timeout=1.0):
                progress()

    def drain(self, progress: Callable[[], None] = lambda: None) -> Scored:
        """Waits for all that was put since the last `drain`; calls `progress` every second.

        That is progress however slow the reward is: each call has its time, and its end.

        Raises:
            RewardError: the reward returned something that is not one number an image.
        """
        batches: list[list[Result] | RewardError] = []
        while len(batches) < self._pending:
            with suppress(queue.Empty):
                batches.append(self._done.get(timeout=1.0))
            progress()
        results = [result for batch in batches if isinstance(batch, list) for result in batch]
        drained = Scored(tuple(results), self._retried)
        self._pending, self._retried = 0, 0
        self._left_behind, self._hung = self._hung, False
        for batch in batches:
            if isinstance(batch, RewardError):
                raise batch
        return drained

    def rest(self) -> str:
        """Lets the reward rest; in one line why it could not, else nothing.

        One that hangs is left alone: it may hold what this would wait for.
        """
        if self._left_behind:
            return ""
        try:
            self.weighted.reward.rest()
        # Its scores are there: whatever goes wrong now must not cost them.
        except Exception as error:
            return f"reward '{self.weighted.label}' could not rest: {one_line(error)}"
        return ""

    def end(self) -> None:
        """Ends the thread."""
        self._todo.put(None)

    def _work(self) -> None:
        while (batch := self._todo.get()) is not None:
            self._done.put(self._answer(batch))
            # Else the images would be kept until the next batch comes.
            del batch
            with self._room:
                self._held -= 1
                self._room.notify_all()

    def _answer(self, batch: RewardInput) -> list[Result] | RewardError:
        """What `drain` waits for, whatever happens."""
        try:
            return self._score(batch)
        except Exception as error:
            reason = f"reward '{self.weighted.label}' cannot be called: {one_line(error)}"
            return [FailedBatch(len(batch.prompts), f"{reason}; its images are invalid")]

    def _score(self, batch: RewardInput) -> list[Result] | RewardError:
        """A batch's scores, or why there are none; in parts where a prompt cannot be used."""
        whole = self._try(batch)
        if isinstance(whole, RewardError):
            return whole
        runs = _by_prompt(batch)
        if isinstance(whole, Scores) or not whole.by_prompt or len(runs) == 1:
            return [whole]
        # It costs its own images, and not those that happen to be beside them.
        results: list[Result] = []
        for run in runs:
            result = self._try(run)
            if isinstance(result, RewardError):
                return result
            results.append(result)
        return results

    def _try(self, batch: RewardInput) -> Result | RewardError:
        """One call, and more after one that failed."""
        label, tries = self.weighted.label, 1 + self._retries
        reason = f"reward '{label}' hangs"
        for attempt in range(tries):
            if self._hung:
                break
            call = TimedCall(lambda: self._call(batch), batch.images.device)
            outcome = call.within(self._timeout)
            if isinstance(outcome, Scores):
                return outcome
            if outcome is None:
                reason = f"reward '{label}' took over {self._timeout:g} s"
                if not interrupt(self.weighted.reward, call):
                    self._hung = True
                    break
            elif outcome.broken:
                return RewardError(outcome.line)
            elif outcome.memory is not None and attempt == self._retries:
                return self._too_large(batch, outcome.memory)
            else:
                reason = f"reward '{label}' raised {outcome.line}"
            if outcome is not None and outcome.by_prompt:
                # The prompt will say no more the next time.
                reason = f"{reason}; its images are invalid"
                return FailedBatch(len(batch.prompts), reason, by_prompt=True)
            reason += f" ({tries} tries)" if tries > 1 else ""
            self._retried += attempt < self._retries
        return FailedBatch(len(batch.prompts), f"{reason}; its images are invalid")

    def _too_large(self, batch: RewardInput, memory: OutOfMemory) -> RewardError:
        """Ends the run: what does not fit once will not the next time."""
        tries = f", {1 + self._retries} tries" if self._retries else ""
        return RewardError(
            f"out of memory on {memory.place} while reward '{self.weighted.label}' scored "
            f"{len(batch.prompts)} images{memory.wanted}{tries}: fewer images at a time need less "
            "(-s engine.micro_batch.sample=N), and so does a reward that leaves the device or has "
            "one of its own (offload: true, run_on: cpu, where it has these options); `zoo check "
            "RECIPE` estimates the need"
        )

    def _call(self, batch: RewardInput) -> Scores:
        # Gradient mode and the stream are per thread; the numbers are read where they are made.
        with torch.no_grad(), batch.turn.take():
            result = self._ask(batch)
            value, extras = (
                (result.value, result.extras) if isinstance(result, Scores) else (result, {})
            )
            numbers = {name: self._numbers(batch, extra) for name, extra in extras.items()}
            return Scores(self._numbers(batch, value), numbers)

    def _ask(self, batch: RewardInput) -> object:
        """What the reward returns, of whatever kind.

        Raises:
            RewardError: it changed the images, as far as torch sees that.
        """
        # The same memory, whose changes are counted anew: other rewards score it at this time, and
        # each would else be blamed for what one of them did. Inference tensors have one, too.
        images = batch.images.data
        before = images._version
        try:
            return self.weighted.reward.score(images, batch.prompts)
        finally:
            if images._version != before:
                raise RewardError(
                    f"reward '{self.weighted.label}' changed the images that other rewards score "
                    "too; it must change a copy: images = images.clone()"
                )

    def _numbers(self, batch: RewardInput, value: object) -> PerImage:
        """The value as float64 on the CPU, if it is one number an image; not finite is NaN."""
        label, wanted = self.weighted.label, len(batch.prompts)
        if not isinstance(value, Tensor):
            raise RewardError(
                f"reward '{label}' returned {type(value).__name__}; "
                f"it must return a tensor of one number an image, shape [{wanted}]"
            )
        if value.shape != (wanted,):
            raise RewardError(
                f"reward '{label}' returned shape {list(value.shape)} for {wanted} images; "
                f"it must return one number an image, shape [{wanted}]"
            )
        if value.is_complex():
            raise RewardError(
                f"reward '{label}' returned complex numbers; it must return real ones"
            )
        value = value.detach().to("cpu", torch.float64)
        return value.masked_fill(~value.isfinite(), torch.nan)


def _by_prompt(batch: RewardInput) -> list[RewardInput]:
    """The batch in its order, cut where another prompt begins."""
    starts = [
        i for i, prompt in enumerate(batch.prompts) if not i or prompt != batch.prompts[i - 1]
    ]
    ends = [*starts[1:], len(batch.prompts)]
    return [
        replace(batch, images=batch.images[start:end], prompts=batch.prompts[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]


def invalid_scores(failed: FailedBatch) -> PerImage:
    """NaN for every image of a batch that could not be scored."""
    return torch.full((failed.num_images,), torch.nan, dtype=torch.float64)


def value_of(result: Result) -> PerImage:
    """A batch's scores."""
    return invalid_scores(result) if isinstance(result, FailedBatch) else result.value


def extra_of(result: Result, name: str) -> PerImage:
    """A batch's further number of that name; NaN where it has none."""
    if isinstance(result, FailedBatch):
        return invalid_scores(result)
    return result.extras.get(name, torch.full_like(result.value, torch.nan))
