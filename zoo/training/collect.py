"""Collecting: every group's images, sampled or read, and scored while that goes on."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.engine import watchdog
from zoo.engine.base import Engine
from zoo.errors import UserError
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.reward.judge import Judge, RewardError, Verdict
from zoo.rollout import Rollout, Weights, join
from zoo.sampler.base import Sampler
from zoo.seeds import Draws
from zoo.training.asked import Asked, asked_of
from zoo.training.generate import Batch, Wanted, encode, generate
from zoo.training.image_stats import ImageNumbers, ImageStats
from zoo.training.micro_batches import largest_shard, shard
from zoo.training.stored import EncodedImages, own_prompt, read_stored
from zoo.training.waits import Waits


class PolicyError(UserError):
    """A policy whose images are not finite."""


@dataclass(frozen=True)
class Collector:
    """What makes images, or reads stored ones, and scores them: at most `micro_batch` at a time."""

    engine: Engine
    policy: Policy
    sampler: Sampler | EncodedImages
    judge: Judge
    micro_batch: int


@dataclass(frozen=True)
class Groups:
    """The images to collect over all processes: `size` of each prompt, with these weights.

    Image i of group g has the key g * size + i, which with seed, purpose and epoch seeds its noise.
    """

    prompts: Sequence[Prompt]
    size: int
    weights: Weights
    seed: int
    purpose: str
    epoch: int = 0
    keep_path: bool = False
    keep_means: bool = False
    guidance: float = 1.0
    """Of forwards that are made later of what was collected, which prompts are encoded for."""

    @property
    def of_image(self) -> Int[Tensor, " images"]:
        """The group of each image, in the order of their keys."""
        return torch.arange(len(self.prompts)).repeat_interleave(self.size)


@dataclass(frozen=True)
class Shard:
    """What one process collects of the groups: group g is made by process g mod size."""

    collector: Collector
    groups: Groups
    wanted: Wanted
    encoding: float
    """Seconds that the prompts took."""

    @property
    def num_batches(self) -> int:
        """How many micro-batches it has; as many on every process."""
        return self.wanted.num_batches(self.collector.micro_batch)

    def generate(self) -> Iterator[Batch]:
        """Makes the images, or reads them where they come with the prompts."""
        collector, groups, sampler = self.collector, self.groups, self.collector.sampler
        if isinstance(sampler, EncodedImages):
            return read_stored(
                sampler, self.wanted,
                micro_batch=collector.micro_batch, reads_pixels=collector.judge.reads_pixels,
            )  # fmt: skip
        return generate(
            collector.policy, sampler, self.wanted,
            weights=groups.weights, micro_batch=collector.micro_batch, keep_path=groups.keep_path,
            keep_means=groups.keep_means,
        )  # fmt: skip


@dataclass(frozen=True)
class Collected:
    """This process's images, and the scores of all processes' in the order of their keys.

    `num_evals` counts network forwards on images over all processes, `num_broken` images that
    came out non-finite (their scores are NaN). `stats` says what the others are like;
    `out_of_range` is how far any pixel of this process's is outside [0, 1], and None where they
    have none: stored images that no reward looks at. `asked` says by label which of all images the
    reward was to score. `waited` are seconds of this process by what it stood still for: `rewards`,
    far behind it or with no image left to make, and `data`, prompts to be encoded and stored images
    to be read.
    """

    rollout: Rollout
    verdict: Verdict
    group: Int[Tensor, " images"]
    num_evals: int
    num_broken: int
    stats: ImageNumbers
    out_of_range: float | None
    asked: Asked
    waited: Mapping[str, float]


def shard_groups(collector: Collector, groups: Groups) -> Shard:
    """This process's share of the groups, its prompts encoded; it may be without an image."""
    engine, prompts = collector.engine, groups.prompts
    mine = shard(len(prompts), rank=engine.rank, size=engine.size)
    local_group = torch.arange(len(mine)).repeat_interleave(groups.size)
    member = torch.arange(groups.size).repeat(len(mine))
    key = mine[local_group] * groups.size + member
    started = time.perf_counter()
    wanted = encode(
        collector.policy,
        collector.sampler,
        prompts_here(collector, prompts),
        local_group,
        Draws(groups.seed, groups.purpose, groups.epoch, key, engine.device),
        largest=largest_shard(len(prompts), size=engine.size) * groups.size,
        guidance=groups.guidance,
    )
    if isinstance(collector.sampler, EncodedImages):
        own = zip(wanted.prompts, member.tolist() or [0], strict=True)
        wanted = replace(wanted, prompts=[own_prompt(prompt, i) for prompt, i in own])
    return Shard(collector, groups, wanted, time.perf_counter() - started)


def prompts_here(collector: Collector, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """Those of a process's groups; of one that has none the first, which is run in vain."""
    return prompts[collector.engine.rank :: collector.engine.size] or prompts[:1]


def collect(
    share: Shard, batches: Iterable[Batch], hurries: Callable[[], bool] = lambda: False
) -> Collected:
    """Scores the images of `share.generate()`, while they are made.

    `batches` are these, or a generator around them that does something between one and the next.
    Once it `hurries`, people's answers are not waited for.

    Raises:
        RewardError: a reward breaks its contract on any process; all processes raise it.
    """
    engine, judge, groups, wanted = (
        share.collector.engine, share.collector.judge, share.groups, share.wanted
    )  # fmt: skip
    key = wanted.key
    group = key // groups.size
    stats, out_of_range = ImageStats(groups.size), []
    paths, rows, num_evals = [], [], 0
    waits = Waits()
    waits.add("data", share.encoding)

    def progress() -> None:
        watchdog.pulse()
        if hurries():
            judge.hurry()

    # Stored images are read where others are made.
    if isinstance(share.collector.sampler, EncodedImages):
        batches = waits.over("data", batches)
    for batch in batches:
        # Rewards score in threads of their own, while the next micro-batch is sampled.
        asking = wanted.prompts_of(batch.rows)
        with waits.of("rewards"):
            judge.wait_for_room(asking, progress)
        judge.submit(batch.images, asking, group[batch.rows])
        # Pixels are looked at now: what is kept of an image is its path.
        stats.see(batch.looks, batch.key)
        out_of_range += [furthest_outside(batch.images)] if batch.images.numel() else []
        paths.append(batch.path)
        rows.append(batch.rows)
        num_evals += batch.num_evals

    # The rewards may still be at work. Every process gets every process's scores.
    own = _agree(engine, judge, progress, waits)
    verdict = _gather_verdict(engine, own, torch.cat(rows), key)
    num_broken = engine.gather(torch.tensor([len(key) - sum(map(len, rows))]))
    grid = share.collector.sampler.grid(share.collector.policy)
    return Collected(
        rollout=Rollout(key, group, join(paths), wanted.cond, grid),
        verdict=verdict,
        group=groups.of_image,
        num_evals=int(engine.gather(torch.tensor([num_evals])).sum()),
        num_broken=int(num_broken.sum()),
        stats=stats.measure(engine.gather),
        out_of_range=float(torch.stack(out_of_range).max()) if out_of_range else None,
        asked=asked_of(list(verdict.scores), groups.prompts, groups.of_image),
        waited=waits.seconds,
    )


def require_finite(num_broken: int, num_images: int, *, max_invalid: float) -> None:
    """Stops a run whose model has broken down: that no reward could score its images is no fault.

    Raises:
        PolicyError: more than `max_invalid` of the images are not finite, or all of them.
    """
    share = num_broken / num_images
    if share > max_invalid or share == 1:
        raise PolicyError(
            f"{share:.0%} of the images that the policy made are NaN or infinity "
            f"(scoring.max_invalid allows {max_invalid:.0%}): its weights have gone astray, or its "
            "dtype cannot hold them; lower optim.lr or choose another dtype, and start a new run"
        )


def furthest_outside(images: Float[Tensor, "batch ..."]) -> Float[Tensor, ""]:
    """How far any pixel is outside [0, 1], where the images are; less than 0 where none is."""
    # Without a copy: of videos that is gigabytes.
    lowest, highest = (value.double() for value in images.aminmax())
    return torch.maximum(highest - 1.0, -lowest)


def _agree(engine: Engine, judge: Judge, progress: Callable[[], None], waits: Waits) -> Verdict:
    """This process's verdict; where a reward breaks its contract on any process, all of them stop.

    Raises:
        RewardError: with the first such process's reason.
    """
    verdict, broken = Verdict({}), []
    try:
        # Before anybody is asked, where nobody is waited for.
        progress()
        with waits.of("rewards"):
            verdict = judge.finish(progress)
    except RewardError as error:
        broken.append(str(error))
    reasons = engine.gather_lines(broken)
    if reasons:
        raise RewardError(reasons[0])
    return verdict


def _gather_verdict(
    engine: Engine, verdict: Verdict, rows: Int[Tensor, " scored"], key: Int[Tensor, " rows"]
) -> Verdict:
    """All processes' scores in the order of the images' keys; NaN for an image that was not scored.

    A number that only some processes' rewards recorded is NaN for the others' images.
    """
    order = engine.gather(key).argsort()

    def all_of(score: Float[Tensor, " scored"] | None) -> Float[Tensor, " images"]:
        mine = torch.full((len(key),), torch.nan, dtype=torch.float64)
        if score is not None:
            mine[rows] = score
        return engine.gather(mine)[order]

    return Verdict(
        {label: all_of(score) for label, score in verdict.scores.items()},
        {
            name: all_of(verdict.extras.get(name))
            for name in engine.gather_lines(sorted(verdict.extras))
        },
        {
            label: int(engine.gather(torch.tensor([count])).sum())
            for label, count in verdict.retried.items()
        },
        engine.gather_lines(verdict.failures),
    )
