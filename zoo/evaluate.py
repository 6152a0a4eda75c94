"""Evaluation: held-out prompts, the same noise every time, every reward, and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo import pictures
from zoo.build import Run
from zoo.collect import collect
from zoo.engine.base import Engine
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.reward.judge import Judge
from zoo.rollout import Weights
from zoo.sampler.base import Sampler
from zoo.seeds import Draws
from zoo.tracking import Tracker

_SHOWN_PROMPTS, _SHOWN_IMAGES = 10, 4


@dataclass(frozen=True)
class Evaluated:
    """`eval/<label>`: means over all valid images; and some images to see, a column a prompt."""

    metrics: dict[str, float]
    shown: Float[Tensor, "images 3 height width"]
    columns: int
    failures: tuple[str, ...] = ()

    def shown_in(self, tracker: Tracker, epoch: int) -> dict[str, float]:
        """The metrics, with the picture and the warnings given to the run's tracker."""
        tracker.warn(*self.failures)
        if len(self.shown):
            picture = pictures.grid(self.shown, self.columns)
            tracker.picture(picture, epoch)
        return self.metrics


@dataclass
class _Shown:
    """The first images of the first prompts, as bytes."""

    images_per_prompt: int
    images: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)

    def see(self, images: Tensor, key: Int[Tensor, " rows"]) -> None:
        wanted = (key // self.images_per_prompt < _SHOWN_PROMPTS) & (
            key % self.images_per_prompt < _SHOWN_IMAGES
        )
        stills = images[:, 0] if images.ndim == 5 else images  # a video's first frame
        chosen = stills[wanted.to(images.device)]
        self.images.append((chosen * 255).round().to("cpu", torch.uint8))
        self.keys.append(key[wanted])


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
) -> Evaluated:
    """Makes `images_per_prompt` images of each prompt with these weights and scores them."""
    shown = _Shown(images_per_prompt)
    collected = collect(
        engine, policy, sampler, judge, prompts,
        group_size=images_per_prompt, acts_with=weights, keep_path=False,
        draws=lambda key: Draws(seed, "evaluate", 0, key, engine.device),
        micro_batch=micro_batch, see=shown.see,
    )  # fmt: skip
    verdict = collected.verdict
    metrics = {
        f"eval/{name}": float(values.nanmean())
        for name, values in {**verdict.scores, **verdict.extras}.items()
    }
    images, key = engine.gather(torch.cat(shown.images)), engine.gather(torch.cat(shown.keys))
    columns, rows = min(len(prompts), _SHOWN_PROMPTS), min(images_per_prompt, _SHOWN_IMAGES)
    # A row of the picture is the i-th image of every prompt; a broken image stays grey.
    sheet = torch.full((rows * columns, *images.shape[1:]), 0.5)
    sheet[key % images_per_prompt * columns + key // images_per_prompt] = images.float() / 255
    return Evaluated(metrics, sheet, columns, verdict.failures)


def evaluated(run: Run) -> Evaluated:
    """A run's evaluation with its weights as they are; of nothing where it has no `eval`."""
    options, evaluation = run.recipe.eval, run.evaluation
    if options is None or evaluation is None:
        return Evaluated({}, torch.zeros(0, 3, 1, 1), 1)
    return evaluate(
        run.engine, run.policy, evaluation.sampler, evaluation.judge, evaluation.prompts,
        images_per_prompt=options.images_per_prompt,
        weights=evaluation.weights,
        seed=run.recipe.seed,
        micro_batch=run.recipe.engine.micro_batch.sample,
    )  # fmt: skip
