"""Evaluation: held-out prompts, the same noise every time, every reward, and a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from PIL.Image import Image
from torch import Tensor

from zoo import pictures
from zoo.build import Run
from zoo.collect import collect
from zoo.engine.base import Engine
from zoo.estimates import Summary, metrics, summaries
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.reward.judge import Judge
from zoo.rollout import Weights
from zoo.sampler.base import Sampler
from zoo.seeds import Draws
from zoo.tracking import Tracker

_SHOWN_PROMPTS, _SHOWN_IMAGES = 10, 4

See = Callable[[Tensor, Int[Tensor, " rows"]], None]
"""Gets the images of a micro-batch and their keys."""


@dataclass(frozen=True)
class Evaluated:
    """Every image's scores and extras in the order of keys, what they come to, and a picture.

    The key of image i of prompt p is p * images_per_prompt + i. `shown` has a column a prompt.
    """

    scores: dict[str, Float[Tensor, " images"]]
    summaries: dict[str, Summary]
    shown: Float[Tensor, "tiles 3 height width"]
    columns: int
    failures: tuple[str, ...] = ()
    num_broken: int = 0

    @property
    def metrics(self) -> dict[str, float]:
        """`eval/<label>`: means over valid images; with tags also of each, and over the tags."""
        return {f"eval/{name}": value for name, value in metrics(self.summaries).items()}

    def shown_in(self, tracker: Tracker, epoch: int) -> dict[str, float]:
        """The metrics, with the picture and the warnings given to the run's tracker."""
        tracker.warn(*self.failures)
        if len(self.shown):
            tracker.picture(self.picture(), epoch)
        return self.metrics

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
    see: See = lambda images, key: None,
    between: Callable[[], None] = lambda: None,
) -> Evaluated:
    """Makes `images_per_prompt` images of each prompt with these weights and scores them.

    `see` gets all images that this process makes, `between` is called after each micro-batch.
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
    images, key = engine.gather(torch.cat(shown.images)), engine.gather(torch.cat(shown.keys))
    columns, rows = min(len(prompts), _SHOWN_PROMPTS), min(images_per_prompt, _SHOWN_IMAGES)
    # A row of the picture is the i-th image of every prompt; a broken image stays grey.
    sheet = torch.full((rows * columns, *images.shape[1:]), 0.5)
    sheet[key % images_per_prompt * columns + key // images_per_prompt] = images.float() / 255
    return Evaluated(
        scores,
        summaries(scores, prompts, collected.group),
        sheet,
        columns,
        verdict.failures,
        collected.num_broken,
    )


def evaluated(run: Run) -> Evaluated:
    """A run's evaluation with its weights as they are; of nothing where it has no `eval`."""
    options, evaluation = run.recipe.eval, run.evaluation
    if options is None or evaluation is None:
        return Evaluated({}, {}, torch.zeros(0, 3, 1, 1), 1)
    return evaluate(
        run.engine, run.policy, evaluation.sampler, evaluation.judge, evaluation.prompts,
        images_per_prompt=options.images_per_prompt,
        weights=evaluation.weights,
        seed=run.recipe.seed,
        micro_batch=run.recipe.engine.micro_batch.sample,
    )  # fmt: skip
