"""Micro-batches that were found to fit by estimates, tried once; those that do not are halved."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zoo import devices
from zoo.policy.stand_in import WithVelocity
from zoo.recipe.sections import Sizes
from zoo.rollout import Cond, take
from zoo.training.build import Run, StageRun
from zoo.training.collect import Collector, Groups, shard_groups
from zoo.training.epoch import groups_of
from zoo.training.first_step import try_gradient, unmade_rows
from zoo.training.micro_batches import balanced_batch_size, largest_shard
from zoo.training.stored import EncodedImages

_EPOCH = -1
"""Of its draws: those of what comes before any epoch."""

_DONE = object()


@dataclass(frozen=True)
class Tried:
    """A run whose micro-batches the memory held, on every process, and their sizes."""

    run: Run
    sizes: Sizes


def halve_until_they_fit(run: Run, sizes: Sizes) -> Tried:
    """Makes one micro-batch of images and one gradient of each stage; nothing stays of them.

    With the plain engine, where a process that runs out of memory can say so to the others.

    Raises:
        OutOfMemoryError, RuntimeError: one image is too much, as torch has it.
    """
    while True:
        for name, attempt in (("sample", _try_images), ("train", _try_gradients)):
            failed = _failure(run, attempt)
            if failed is not None:
                sizes = _half(run, sizes, name, failed)
                run = _with_sizes(run, sizes)
                break
        else:
            return Tried(run, sizes)


Parts = Generator[None, None, None]
"""Something that is tried, a part after the other; all processes come through one, or none go on.

A process that is out of memory would not be there where the others wait for it.
"""

Attempt = Callable[[StageRun], Parts]


def _failure(run: Run, attempt: Attempt) -> Exception | None:
    """What one process ran out of memory with; that of this one, if it did."""
    weights = run.model.policy.weights
    num_rows, failed = weights.num_rows, None
    for stage in run.stages:
        failed = failed or _failed_part(run, attempt(stage))
    weights.num_rows = num_rows
    for parameter in weights.parameters().values():
        parameter.grad = None
    if failed is not None:
        devices.release_memory()
    return failed


def _failed_part(run: Run, parts: Parts) -> Exception | None:
    """Of a stage's attempt: what the first part failed with that did not fit everywhere."""
    left = True
    while left:
        error = None
        try:
            left = next(parts, _DONE) is not _DONE
        except Exception as raised:
            if devices.out_of_memory(raised) is None:
                raise
            # What the attempt holds hangs on its traceback.
            error = raised.with_traceback(None)
        lacking = run.model.engine.gather_lines([str(error)] if error is not None else [])
        if lacking:
            parts.close()
            return error or torch.OutOfMemoryError(lacking[0])
    return None


def _try_images(run: StageRun) -> Parts:
    for collector, groups in (
        (run.collector, groups_of(run, _EPOCH)),
        *(((run.evaluator.collector, run.evaluator.groups),) if run.evaluator else ()),
    ):
        if not isinstance(collector.sampler, EncodedImages):
            _try_batch(collector, groups)
    yield


def _try_batch(collector: Collector, groups: Groups) -> None:
    """One forward, the path of all of them, and the images."""
    policy, sampler = collector.policy, collector.sampler
    assert not isinstance(sampler, EncodedImages)
    # Of no more prompts than it takes; its size is that of all, which are divided evenly.
    largest = largest_shard(len(groups.prompts), size=collector.engine.size) * groups.size
    size = balanced_batch_size(largest, collector.micro_batch)
    most = collector.micro_batch * collector.engine.size
    few = replace(groups, prompts=groups.prompts[: max(1, most // groups.size)])
    wanted = shard_groups(collector, few).wanted
    rows = torch.arange(size) % max(1, wanted.num)
    made: list[Tensor] = []

    def once(x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        if not made:
            made.append(policy.velocity(x, t, cond))
        return torch.zeros_like(x)

    with torch.no_grad(), policy.weights.using(groups.weights):
        path = sampler.sample(
            WithVelocity(policy, once), wanted.prompts_of(rows), take(wanted.cond, rows),
            wanted.draws.take(rows), keep_path=groups.keep_path,
        )  # fmt: skip
        policy.decode(path.clean)


def _try_gradients(run: StageRun) -> Parts:
    share = shard_groups(run.collector, groups_of(run, _EPOCH))
    rows = unmade_rows(run.learner, share)
    yield
    # From here on the processes wait for each other: they cut their rows together.
    try_gradient(run.learner, share, rows)
    yield


def _half(run: Run, sizes: Sizes, name: str, error: Exception) -> Sizes:
    least = 1
    if name == "train":
        least = max(stage.objective.images_per_row for stage in run.stages)
    size = getattr(sizes, name)
    if size <= least:
        raise error
    return sizes._replace(**{name: max(least, size // 2)})


def _with_sizes(run: Run, sizes: Sizes) -> Run:
    return replace(run, stages=tuple(_stage_with(stage, sizes) for stage in run.stages))


def _stage_with(stage: StageRun, sizes: Sizes) -> StageRun:
    evaluator = stage.evaluator
    if evaluator is not None:
        collector = replace(evaluator.collector, micro_batch=sizes.sample)
        evaluator = replace(evaluator, collector=collector)
    return replace(
        stage,
        collector=replace(stage.collector, micro_batch=sizes.sample),
        learner=replace(stage.learner, micro_batch=sizes.train),
        evaluator=evaluator,
    )
