"""Evaluation: prompts, the same noise every time, every reward, what images are like; a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from PIL.Image import Image
from torch import Tensor

from zoo.engine.base import Engine
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.reward.judge import Judge
from zoo.rollout import Weights
from zoo.run import pictures
from zoo.sampler.base import Sampler
from zoo.seeds import Draws
from zoo.training.collect import collect
from zoo.training.drift import Base, drift
from zoo.training.standard_errors import Summary, metrics, summaries

_SHOWN_PROMPTS, _SHOWN_IMAGES = 10, 4

See = Callable[[Tensor, Int[Tensor, " rows"]], None]
"""Gets the images of a micro-batch and their keys."""


@dataclass(frozen=True)
class Evaluated:
    """Every image's scores and extras in the order of keys, what they come to, and a picture.

    The key of image i of prompt p is p * images_per_prompt + i. `shown` has a column a prompt.
    `monitor` has the numbers of `ImageStats`, and `drift` where there is a base to compare with.
    """

    scores: dict[str, Float[Tensor, " images"]]
    summaries: dict[str, Summary]
    monitor: dict[str, float]
    shown: Float[Tensor, "tiles 3 height width"]
    columns: int
    failures: tuple[str, ...] = ()
    num_broken: int = 0

    @property
    def metrics(self) -> dict[str, float]:
        """`eval/<label>`: means over valid images; with tags also of each, and over the tags."""
        return {f"eval/{name}": value for name, value in metrics(self.summaries).items()}

    def picture(self) -> Image:
        """The first images of the first prompts."""
        return pictures.grid(self.shown, self.columns)


@dataclass
class _Shown:
    """The first images of the first prompts, as bytes; all go on to `see`."""

    images_per_prompt: int
    see: See
    images: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)

    def receive(self, images: Tensor, key: Int[Tensor, " rows"]) -> None:
        wanted = (key // self.images_per_prompt < _SHOWN_PROMPTS) & (
            key % self.images_per_prompt < _SHOWN_IMAGES
        )
        self.images.append(pictures.stills(images[wanted.to(images.device)]))
        self.keys.append(key[wanted])
        self.see(images, key)


def evaluate(
    engine: Engine,
    policy: Policy,
    sampler: Sampler,
    judge: Judge,
    prompts: Sequence[Prompt],
    *,
    images_per_prompt: int,
    weights: Weights,
    seed: int,
    micro_batch: int,
    base: Base | None = None,
    see: See = lambda images, key: None,
    between: Callable[[], None] = lambda: None,
) -> Evaluated:
    """Makes `images_per_prompt` images of each prompt with these weights and scores them.

    `see` gets all images that this process makes, `between` is called after each micro-batch. The
    drift is from `base`, where there is one.
    """
    shown = _Shown(images_per_prompt, see)
    collected = collect(
        engine, policy, sampler, judge, prompts,
        group_size=images_per_prompt, acts_with=weights, keep_path=False,
        draws=lambda key: Draws(seed, "evaluate", 0, key, engine.device),
        micro_batch=micro_batch, see=shown.receive, between=between,
    )  # fmt: skip
    verdict = collected.verdict
    scores = {**verdict.scores, **verdict.extras}
    monitor = dict(collected.stats)
    if base is not None:
        monitor["drift"] = drift(
            engine, policy, collected.rollout, base, weights=weights,
            num_images=len(collected.group), micro_batch=micro_batch, seed=seed,
        )  # fmt: skip
    images, key = engine.gather(torch.cat(shown.images)), engine.gather(torch.cat(shown.keys))
    columns, rows = min(len(prompts), _SHOWN_PROMPTS), min(images_per_prompt, _SHOWN_IMAGES)
    # A row of the picture is the i-th image of every prompt; a broken image stays grey.
    sheet = torch.full((rows * columns, *images.shape[1:]), 0.5)
    sheet[key % images_per_prompt * columns + key // images_per_prompt] = images.float() / 255
    return Evaluated(
        scores,
        summaries(scores, prompts, collected.group),
        monitor,
        sheet,
        columns,
        verdict.failures,
        collected.num_broken,
    )
