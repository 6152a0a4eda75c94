"""The judge: runs every reward beside the sampling, and puts the scores together.

Each reward has a thread of its own and gets its batches in order, so that a batch is scored while
the next one is sampled; on an accelerator on a stream beside the sampling's, one for all rewards:
some share a network that is lent to the device. What stays failed is NaN, never 0, and is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.devices import Turn, send
from zoo.prompt import Prompt
from zoo.reward.asking import AskingReward
from zoo.reward.base import ImagesOrVideos, Reward, Scores
from zoo.reward.frames import misfit
from zoo.reward.reward_thread import (
    RewardInput,
    RewardThread,
    Scored,
    WeightedReward,
    extra_of,
    value_of,
)
from zoo.reward.timed_call import RewardError

__all__ = ["Judge", "RewardError", "Verdict", "WeightedReward", "require_enough_valid"]


@dataclass(frozen=True)
class Verdict:
    """All scores of what was submitted, in the order of submission, in float64.

    NaN is invalid, or was not asked for: see `Prompt.asks`.
    `extras` are the further numbers that rewards record, as `label/name`. `retried` counts calls
    made again by label, `failures` are one line each.
    """

    scores: dict[str, Float[Tensor, " images"]]
    extras: dict[str, Float[Tensor, " images"]] = field(default_factory=dict)
    retried: dict[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()


@dataclass
class _Group:
    """One group's images so far, and their places in the order of submission."""

    images: list[Tensor] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


class Judge:
    """Scores images with several rewards: `submit` any number of batches, then `finish`."""

    def __init__(self, rewards: Sequence[WeightedReward], *, timeout: float, retries: int) -> None:
        """`timeout` seconds for a call of a reward; `retries` more calls after one that raised."""
        self.rewards = tuple(rewards)
        threads = [
            RewardThread(weighted, timeout=timeout + _patience(weighted.reward), retries=retries)
            for weighted in self.rewards
        ]
        self._threads = threads
        self._single = [thread for thread in threads if not thread.weighted.reward.groupwise]
        self._whole = [thread for thread in threads if thread.weighted.reward.groupwise]
        self._groups: dict[int, _Group] = {}
        self._submitted = 0
        self._places: dict[RewardThread, list[int]] = {thread: [] for thread in threads}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each label in the mix; without those that are scored and not mixed."""
        return {judged.label: judged.weight for judged in self.rewards if judged.weight}

    @property
    def reads_pixels(self) -> bool:
        """Whether any of the rewards does."""
        return any(judged.reward.reads_pixels for judged in self.rewards)

    def submit(
        self,
        images: ImagesOrVideos,
        prompts: Sequence[Prompt],
        group: Int[Tensor, " batch"],
    ) -> None:
        """Starts scoring a batch, which may be empty; returns at once.

        A reward is given the images of those prompts that ask for it: `Prompt.asks`. Where no
        reward `reads_pixels` the images may have none: [batch, 3, 0, 0].

        Raises:
            RewardError: a reward of single images is given videos, or one of videos images.
        """
        if not prompts:
            return
        for weighted in self.rewards:
            if wrong := misfit(weighted.label, weighted.reward.takes, videos=images.ndim == 5):
                raise RewardError(wrong)
        for thread in self._single:
            asked = [i for i, prompt in enumerate(prompts) if _asks(prompt, thread)]
            if asked:
                thread.put(_some(images, prompts, asked))
            self._places[thread] += [self._submitted + i for i in asked]
        for i, number in enumerate(group.tolist()):
            if any(_asks(prompts[i], thread) for thread in self._whole):
                gathered = self._groups.setdefault(number, _Group())
                gathered.images.append(images[i])
                gathered.prompts.append(prompts[i])
                gathered.places.append(self._submitted + i)
        self._submitted += len(prompts)

    def wait_for_room(
        self, prompts: Sequence[Prompt], progress: Callable[[], None] = lambda: None
    ) -> None:
        """Waits where a reward that they ask for is `MOST_HELD` batches behind.

        Else images would heap up in memory; the slowest reward sets the pace in any case. Whole
        groups are there at the end only, and are not waited for. Calls `progress` every second.
        """
        for thread in self._single:
            if any(_asks(prompt, thread) for prompt in prompts):
                thread.wait_for_room(progress)

    def finish(self, progress: Callable[[], None] = lambda: None) -> Verdict:
        """Waits for all scores since the last `finish`; calls `progress` every second.

        Then the rewards rest: see `Reward.rest`. One that cannot is among the failures.

        Raises:
            RewardError: a reward returned something that is not one number an image.
        """
        self._put_groups()
        places = [torch.tensor(self._places[thread]).long() for thread in self._threads]
        num, self._submitted = self._submitted, 0
        self._places = {thread: [] for thread in self._threads}
        try:
            scored = _drain_all(self._threads, progress)
        finally:
            tired = [complaint for thread in self._threads if (complaint := thread.rest())]
        scores, extras = {}, {}
        for thread, place, done in zip(self._threads, places, scored, strict=True):
            label = thread.weighted.label
            scores[label] = _place([value_of(result) for result in done.results], place, num)
            extras_of_batches = [
                result.extras for result in done.results if isinstance(result, Scores)
            ]
            for name in sorted({name for names in extras_of_batches for name in names}):
                parts = [extra_of(result, name) for result in done.results]
                extras[f"{label}/{name}"] = _place(parts, place, num)
        return Verdict(
            scores,
            extras,
            {
                thread.weighted.label: done.retried
                for thread, done in zip(self._threads, scored, strict=True)
            },
            (*_reasons(scored), *tired),
        )

    def _put_groups(self) -> None:
        """Starts scoring all groups that were gathered, by the rewards that look at whole ones."""
        for _, group in sorted(self._groups.items()):
            batch = _input(torch.stack(group.images), group.prompts)
            group.images.clear()
            for thread in self._whole:
                if not _asks(batch.prompts[0], thread):
                    continue
                if isinstance(thread.weighted.reward, AskingReward):
                    thread.weighted.reward.expect(batch.images, batch.prompts[0])
                thread.put(batch)
                self._places[thread] += group.places
        self._groups = {}

    def hurry(self) -> None:
        """Rewards that wait for people's answers wait no longer."""
        for weighted in self.rewards:
            if isinstance(weighted.reward, AskingReward):
                weighted.reward.hurry()

    def close(self) -> None:
        """Ends the threads; nothing can be submitted after."""
        for thread in self._threads:
            thread.end()


def _asks(prompt: Prompt, thread: RewardThread) -> bool:
    return prompt.asks(thread.weighted.label)


def _some(images: Tensor, prompts: Sequence[Prompt], asked: Sequence[int]) -> RewardInput:
    """Those of a batch that a reward is to score; all of them are not copied."""
    if len(asked) == len(prompts):
        return _input(images, prompts)
    own = images[send(torch.tensor(asked), images.device)]
    return _input(own, [prompts[i] for i in asked])


def _input(images: Tensor, prompts: Sequence[Prompt]) -> RewardInput:
    return RewardInput(images, tuple(prompts), Turn(images))


def _patience(reward: Reward) -> float:
    """Seconds that a call of it may wait for people."""
    return reward.patience if isinstance(reward, AskingReward) else 0.0


def _drain_all(threads: Sequence[RewardThread], progress: Callable[[], None]) -> list[Scored]:
    """What each thread has; the first error only once all are empty."""
    scored, errors = [], []
    for thread in threads:
        try:
            scored.append(thread.drain(progress))
        except RewardError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return scored


def _reasons(scored: Sequence[Scored]) -> list[str]:
    """Why batches could not be scored, each reason once."""
    reasons = (
        result.reason
        for done in scored
        for result in done.results
        if not isinstance(result, Scores)
    )
    return list(dict.fromkeys(reasons))


def _place(
    parts: list[Tensor], place: Int[Tensor, " scored"], num: int
) -> Float[Tensor, " images"]:
    """Concatenated results, put where their images were submitted; NaN for the others of `num`."""
    out = torch.full((num,), torch.nan, dtype=torch.float64)
    if parts:
        out[place] = torch.cat(parts)
    return out


def require_enough_valid(
    scores: Mapping[str, Float[Tensor, " images"]], failures: Sequence[str], *, max_invalid: float
) -> None:
    """Stops a run whose rewards fail too often.

    Raises:
        RewardError: more than `max_invalid` of a reward's images are invalid, or all of them.
    """
    for label, score in scores.items():
        share = float(score.isnan().double().mean())
        if share > max_invalid or share == 1:
            why = next((line for line in failures if f"'{label}'" in line), "")
            raise RewardError(
                f"{share:.0%} of the images are invalid for reward '{label}' "
                f"(scoring.max_invalid allows {max_invalid:.0%}): "
                f"{why or 'it returned NaN or infinity'}"
            )
