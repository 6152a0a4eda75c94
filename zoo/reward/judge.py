"""The judge: runs every reward beside the sampling, retries failures, marks the lasting invalid.

Each reward has a thread of its own and gets its batches in order, so that a batch is scored while
the next one is sampled. A reward that raises or hangs is tried again; then its images are NaN,
never 0, and the failure is counted and reported. A result of the wrong shape is a mistake in the
reward and stops the run.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import Reward, Scores


class RewardError(Exception):
    """A reward broke its contract, or fails too often to go on."""


@dataclass(frozen=True)
class Judged:
    """A reward under the label that its metrics carry, and its weight in the mix."""

    label: str
    reward: Reward
    weight: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """All scores of what was submitted, in the order of submission, in float64; NaN is invalid.

    `extras` are the further numbers that rewards record, as `label/name`. `failures` are one line
    each.
    """

    scores: dict[str, Float[Tensor, " images"]]
    extras: dict[str, Float[Tensor, " images"]] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Batch:
    images: Tensor
    prompts: tuple[Prompt, ...]


class Judge:
    """Scores images with several rewards: `submit` any number of batches, then `finish`."""

    def __init__(self, rewards: Sequence[Judged], *, timeout: float, retries: int) -> None:
        """`timeout` seconds for a call of a reward; `retries` more calls after one that failed."""
        self.rewards = tuple(rewards)
        self._timeout = timeout
        self._retries = retries
        self._lanes = [_Lane(judged, self._attempt) for judged in self.rewards]
        self._groups: list[int] = []
        self._held: list[_Batch] = []

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each label in the mix."""
        return {judged.label: judged.weight for judged in self.rewards}

    def submit(
        self,
        images: Float[Tensor, "batch *frames 3 height width"],
        prompts: Sequence[Prompt],
        group: Int[Tensor, " batch"],
    ) -> None:
        """Starts scoring a batch, which may be empty; returns at once."""
        if not prompts:
            return
        batch = _Batch(images, tuple(prompts))
        self._groups += group.tolist()
        if any(lane.judged.reward.groupwise for lane in self._lanes):
            self._held.append(batch)
        for lane in self._lanes:
            if not lane.judged.reward.groupwise:
                lane.put(batch)

    def finish(self) -> Verdict:
        """Waits for all scores since the last `finish`.

        Raises:
            RewardError: a reward returned something that is not one number an image.
        """
        groups = torch.tensor(self._groups, dtype=torch.long)
        order = torch.arange(len(groups))
        grouped = [torch.nonzero(groups == group)[:, 0] for group in torch.unique(groups).tolist()]
        by_group = torch.cat(grouped) if grouped else order
        for lane in self._lanes:
            if lane.judged.reward.groupwise:
                for member in grouped:
                    lane.put(self._whole(member))
        scores, extras, failures = {}, {}, []
        for lane in self._lanes:
            results = lane.drain()
            place = by_group if lane.judged.reward.groupwise else order
            names = {
                name for result in results if isinstance(result, Scores) for name in result.extras
            }
            label = lane.judged.label
            scores[label] = _placed([_value(result) for result in results], place)
            for name in sorted(names):
                extras[f"{label}/{name}"] = _placed(
                    [_extra(result, name) for result in results], place
                )
            failures += [result.reason for result in results if isinstance(result, _Failed)]
        self._groups, self._held = [], []
        return Verdict(scores, extras, tuple(failures))

    def _whole(self, member: Int[Tensor, " members"]) -> _Batch:
        """One group's images, from whichever batches they came in."""
        images = torch.cat([batch.images for batch in self._held])
        prompts = [prompt for batch in self._held for prompt in batch.prompts]
        return _Batch(images[member.to(images.device)], tuple(prompts[i] for i in member.tolist()))

    def _attempt(self, judged: Judged, batch: _Batch) -> "Scores | _Failed":
        """Scores a batch, with retries; never raises but for a broken contract."""
        reason = ""
        for _ in range(1 + self._retries):
            outcome = _within(self._timeout, lambda: _score(judged, batch))
            if isinstance(outcome, Scores | RewardError):
                return _checked(judged, batch, outcome)
            reason = (
                f"reward '{judged.label}' took over {self._timeout:g} s"
                if outcome is None
                else f"reward '{judged.label}' raised "
                f"{type(outcome).__name__}: {_first_line(outcome)}"
            )
        return _Failed(
            len(batch.prompts), f"{reason} ({1 + self._retries} tries); its images are invalid"
        )


@dataclass(frozen=True)
class _Failed:
    num_images: int
    reason: str


_Result = Scores | _Failed


class _Lane:
    """One reward's own thread, and its results in order."""

    def __init__(self, judged: Judged, attempt: Callable[[Judged, _Batch], _Result]) -> None:
        self.judged = judged
        self._attempt = attempt
        self._todo: queue.Queue[_Batch] = queue.Queue()
        self._done: queue.Queue[_Result | Exception] = queue.Queue()
        self._pending = 0
        # A daemon: a reward that hangs for ever must not keep the process from ending.
        threading.Thread(target=self._work, name=f"reward {judged.label}", daemon=True).start()

    def put(self, batch: _Batch) -> None:
        self._pending += 1
        self._todo.put(batch)

    def drain(self) -> list[_Result]:
        results = [self._done.get() for _ in range(self._pending)]
        self._pending = 0
        for result in results:
            if isinstance(result, Exception):
                raise result
        return [result for result in results if not isinstance(result, Exception)]

    def _work(self) -> None:
        while True:
            batch = self._todo.get()
            try:
                self._done.put(self._attempt(self.judged, batch))
            except Exception as error:
                self._done.put(error)


def _within(timeout: float, call: Callable[[], Scores]) -> Scores | BaseException | None:
    """What a call returns or raises; None if it takes too long, its thread left behind."""
    outcome: list[Scores | BaseException] = []

    def work() -> None:
        try:
            outcome.append(call())
        except (Exception, SystemExit) as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    return outcome[0] if outcome else None


def _score(judged: Judged, batch: _Batch) -> Scores:
    # Gradient mode is per thread.
    with torch.no_grad():
        result = judged.reward.score(batch.images, batch.prompts)
    value, extras = (result.value, result.extras) if isinstance(result, Scores) else (result, {})
    return Scores(
        _numbers(judged.label, batch, value),
        {name: _numbers(judged.label, batch, extra) for name, extra in extras.items()},
    )


def _numbers(label: str, batch: _Batch, value: object) -> Float[Tensor, " batch"]:
    """The value as float64 on the CPU, if it is one number an image."""
    if not isinstance(value, Tensor):
        raise RewardError(
            f"reward '{label}' returned {type(value).__name__}; it must return a tensor [batch]"
        )
    if value.shape != (len(batch.prompts),):
        raise RewardError(
            f"reward '{label}' returned shape {list(value.shape)} for {len(batch.prompts)} images; "
            f"it must return one number an image, shape [{len(batch.prompts)}]"
        )
    value = value.detach().to("cpu", torch.float64)
    return value.masked_fill(~value.isfinite(), torch.nan)


def _checked(judged: Judged, batch: _Batch, outcome: Scores | RewardError) -> Scores:
    if isinstance(outcome, RewardError):
        raise outcome
    return outcome


def _value(result: _Result) -> Float[Tensor, " batch"]:
    return _invalid(result) if isinstance(result, _Failed) else result.value


def _extra(result: _Result, name: str) -> Float[Tensor, " batch"]:
    if isinstance(result, _Failed):
        return _invalid(result)
    return result.extras.get(name, torch.full_like(result.value, torch.nan))


def _invalid(failed: _Failed) -> Float[Tensor, " batch"]:
    return torch.full((failed.num_images,), torch.nan, dtype=torch.float64)


def _placed(parts: list[Tensor], place: Int[Tensor, " images"]) -> Float[Tensor, " images"]:
    """Concatenated results, put where their images were submitted."""
    joined = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
    out = torch.empty_like(joined)
    out[place] = joined
    return out


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else "no message"


def require_enough_valid(
    scores: Mapping[str, Float[Tensor, " images"]], failures: Sequence[str], *, max_invalid: float
) -> None:
    """Stops a run whose rewards fail too often.

    Raises:
        RewardError: more than `max_invalid` of a reward's images are invalid.
    """
    for label, score in scores.items():
        share = float(score.isnan().double().mean())
        if share > max_invalid or share == 1:
            why = next(
                (line for line in failures if f"'{label}'" in line), "it returned NaN or infinity"
            )
            raise RewardError(
                f"{share:.0%} of the images are invalid for reward '{label}' "
                f"(scoring.max_invalid allows {max_invalid:.0%}): {why}"
            )
