"""Collecting on shapes alone, as in a run: of micro-batches that are alike one is run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo.data.mixture import load
from zoo.objective.base import Objective
from zoo.plan.flops import counter
from zoo.plan.geometry import Plan
from zoo.plan.live_bytes import META, LiveBytes
from zoo.plan.one_forward import OneForward
from zoo.plan.stored import StoredOnShapes
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.recipe.model import Recipe
from zoo.reward.reward_thread import MOST_HELD
from zoo.rollout import Cond, Path, Weights, join, take
from zoo.sampler.base import Sampler, StoredImages
from zoo.sampler.ode import Euler
from zoo.seeds import Draws
from zoo.training.components import evaluated_weights, evaluation_sampler
from zoo.training.generate import conditions
from zoo.training.micro_batches import balanced_batch_size, largest_shard, num_micro_batches

S = TypeVar("S", bound=Sampler | StoredImages)


@dataclass(frozen=True)
class Images:
    """The images of one process: so many micro-batches of `rows`, by these weights.

    `wait` says that all of them wait for their scores until the last is there, as those of a
    groupwise reward do. For others sampling waits where it is ahead of them: `MOST_HELD`.
    """

    prompts: Sequence[Prompt]
    count: int
    rows: int
    weights: Weights
    wait: bool
    keep_path: bool = False
    keep_means: bool = False
    guidance: float = 1.0


def training_images(recipe: Recipe, planned: Plan, objective: Objective[Any]) -> Images:
    """Those of an epoch."""
    groups = largest_shard(planned.groups, size=planned.processes)
    prompts = load(recipe.data.sources("train")).drawn(groups, seed=recipe.seed, epoch=0)
    wait = any(reward.cls.groupwise for reward in recipe.rewards)
    sampling = planned.sampling
    return Images(
        prompts, sampling.count, sampling.rows, objective.acts_with, wait,
        objective.needs_path, objective.needs_means, objective.guidance,
    )  # fmt: skip


def evaluated_images(recipe: Recipe, processes: int) -> tuple[Sampler, Images] | None:
    """Those of an evaluation, and what makes them; none where the recipe has none."""
    options = recipe.eval
    if options is None:
        return None
    every = load(recipe.data.sources(recipe.data.evaluated)).prompts
    prompts = every[: largest_shard(len(every), size=processes)]
    num = len(prompts) * options.images_per_prompt
    rows = balanced_batch_size(num, recipe.engine.micro_batch.sizes.sample)
    wait = any(reward.cls.groupwise for reward in options.rewards or recipe.rewards)
    images = Images(prompts, num_micro_batches(num, rows), rows, evaluated_weights(recipe), wait)
    return with_steps(evaluation_sampler(recipe, options)), images


def with_steps(sampler: S) -> S:
    """The sampler, with Euler's method for a solver that reads numbers to choose its steps.

    The few latents that such a one holds between its evaluations, and others do not, are small
    beside the network.
    """
    if sampler.solver is not None and sampler.solver.num_evals(1) is None:
        sampler.solver = Euler()
    return sampler


class DryCollect:
    """Collects some images on the meta device."""

    def __init__(
        self,
        policy: Policy,
        sampler: Sampler | StoredImages,
        images: Images,
        live: LiveBytes,
        stored: StoredOnShapes | None = None,
    ) -> None:
        """`stored` is what reads them where the sampler makes none."""
        self._policy, self._sampler, self._images = policy, sampler, images
        self._live, self._stored = live, stored

    def run(self) -> tuple[Path, Cond]:
        """The last micro-batch is made while what is left of all before is held."""
        images, own = self._images, OneForward(self._policy, self._live)
        with torch.no_grad(), self._policy.weights.using(images.weights):
            cond = conditions(self._policy, self._sampler, images.prompts, images.guidance)
            held = self._before_the_last(own, cond)
            path, _ = self._make(own, images.rows, cond)
            whole = join([*(path for path, _ in held), path])
        return whole, cond

    def count_flops(self, cond: Cond) -> int:
        """Of all micro-batches. Counted apart: the counter holds on to tensors."""
        images, counted = self._images, counter()
        if self._stored is not None:
            return self._stored.count_flops(images.count)
        own = OneForward(self._policy, self._live, counted)
        with counted, torch.no_grad(), self._policy.weights.using(images.weights):
            self._make(own, images.rows, cond)
        return (counted.get_total_flops() + own.left_out) * images.count

    def _make(self, own: OneForward, rows: int, cond: Cond) -> tuple[Path, Tensor]:
        if self._stored is not None:
            return self._stored.read(rows)
        assert isinstance(self._sampler, Sampler)
        prompts = self._images.prompts
        entry = torch.arange(rows) % len(prompts)
        draws = Draws(0, "plan", 0, torch.arange(rows), META)
        path = self._sampler.sample(
            own.policy,
            [prompts[i] for i in entry.tolist()],
            take(cond, entry),
            draws,
            keep_path=self._images.keep_path,
        )
        path = path if self._images.keep_means else replace(path, mean=None)
        return path, self._policy.decode(path.clean)

    def _before_the_last(self, own: OneForward, cond: Cond) -> list[tuple[Path, Tensor | None]]:
        """What all micro-batches but one leave: as many rows of one image's."""
        images = self._images
        before = images.count - 1
        if not before:
            return []
        (path, image), batch = self._make(own, 1, cond), torch.zeros(images.rows, dtype=torch.long)
        waiting = before if images.wait else MOST_HELD
        return [
            (take(path, batch), take(image, batch) if i >= before - waiting else None)
            for i in range(before)
        ]
