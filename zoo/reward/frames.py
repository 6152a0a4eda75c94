"""A reward of images on videos: which frames it looks at, and how their scores become one.

Frame by frame, in as many calls as there are frames to look at: a call has no more images than the
reward gets from a model of images, and a groupwise one compares the frames of one time.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import ImagesOrVideos, KnownAnswer, PerImage, Reward, Scores

How = Literal["mean", "first", "last", "min"]
"""The mean over frames, a single frame, or the worst of all."""


class OnFrames(Reward):
    """Another reward, on the frames of videos; of single images it is that reward itself.

    A video of which a frame could not be scored is invalid. Extras are made from the frames' as the
    score is, those of `min` being of the worst frame.
    """

    takes = "both"

    def __init__(self, reward: Reward, how: How, *, sample: int | None = None) -> None:
        """The mean over `sample` frames, evenly spaced from first to last, if a number is given."""
        self._reward, self._how, self._sample = reward, how, sample
        self.groupwise = reward.groupwise  # type: ignore[misc]
        self.reads_pixels = reward.reads_pixels  # type: ignore[misc]

    def score(self, images: ImagesOrVideos, prompts: Sequence[Prompt]) -> PerImage | Scores:
        """The frames' scores, made into one."""
        if images.ndim == 4:
            return self._reward.score(images, prompts)
        chosen = chosen_frames(images.shape[1], self._how, self._sample)
        scored = [self._reward.score(images[:, i], prompts) for i in chosen]
        whole = [one if isinstance(one, Scores) else Scores(one) for one in scored]
        values = torch.stack([one.value for one in whole])
        worst = values.argmin(0) if self._how == "min" else None
        names = {name for one in whole for name in one.extras}
        extras = {name: _join(_column(whole, name), worst) for name in sorted(names)}
        return Scores(_join(values, worst), extras)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Those of the reward."""
        return self._reward.known_answers()

    def interrupt(self) -> bool:
        """As the reward does."""
        return self._reward.interrupt()

    def rest(self) -> None:
        """As the reward does."""
        self._reward.rest()


def chosen_frames(num: int, how: How, sample: int | None = None) -> list[int]:
    """Which of `num` frames are looked at; a sample of one is the frame in the middle."""
    if sample == 1:
        return [(num - 1) // 2]
    if sample is not None and sample < num:
        return [round(i * (num - 1) / (sample - 1)) for i in range(sample)]
    return {"first": [0], "last": [num - 1]}.get(how, list(range(num)))


def misfit(
    label: str,
    takes: Literal["images", "videos", "both"],
    *,
    videos: bool,
    frames: int | None = None,
    least: int = 1,
) -> str | None:
    """Why a reward cannot look at what a policy makes, and the fix; None where it can.

    A video has so many `frames`, where that is known, and the reward needs at `least` so many.
    """
    if takes == "images" and videos:
        return (
            f"the reward '{label}' looks at single images, and the policy makes videos; write "
            "frames: mean beside its name (or first, last, min, {sample: 4})"
        )
    if takes == "videos" and not videos:
        return (
            f"the reward '{label}' looks at videos, and the policy makes single images; remove it"
        )
    if videos and frames is not None and frames < least:
        return (
            f"the reward '{label}' needs videos of {least} frames or more, and those here have "
            f"{frames}; remove it, or make them longer (policy.frames, eval.frames)"
        )
    return None


def _join(values: Float[Tensor, "frames batch"], worst: Tensor | None) -> PerImage:
    return values.mean(0) if worst is None else values.gather(0, worst[None])[0]


def _column(scored: Sequence[Scores], name: str) -> Float[Tensor, "frames batch"]:
    """An extra by frame; NaN where a frame has none."""
    extras: list[Mapping[str, Tensor]] = [one.extras for one in scored]
    some = next(extra[name] for extra in extras if name in extra)
    return torch.stack([extra.get(name, torch.full_like(some, torch.nan)) for extra in extras])
