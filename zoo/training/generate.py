"""Images from prompts, in micro-batches of one shape: for collecting, evaluating and sampling.

`generate` is an iterator: whoever needs the images loops over it, and what only looks on (a bar, an
interrupt) is a generator around it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zoo.devices import send
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.rollout import Cond, Path, Weights, take
from zoo.sampler.base import ImageSource, Sampler
from zoo.seeds import Draws
from zoo.training.looks import Looks, look
from zoo.training.micro_batches import balanced_batch_size, micro_batches, num_micro_batches


@dataclass(frozen=True)
class Wanted:
    """The images that one process makes: of each its prompt, that encoded, and its draws.

    `largest` is the number of images of the process that makes most, which settles how many
    micro-batches all processes run. Where `num` is 0 there is one row still, which is run in vain.
    """

    prompts: Sequence[Prompt]
    cond: Cond
    draws: Draws
    num: int
    largest: int

    @property
    def key(self) -> Int[Tensor, " images"]:
        """The images' keys, which name them over all processes."""
        return self.draws.keys[: self.num]

    def prompts_of(self, rows: Int[Tensor, " rows"]) -> list[Prompt]:
        """The prompts of some images."""
        return [self.prompts[row] for row in rows.tolist()]

    def num_batches(self, micro_batch: int) -> int:
        """How many micro-batches of at most so many images every process runs."""
        return num_micro_batches(self.largest, balanced_batch_size(self.largest, micro_batch))


@dataclass(frozen=True)
class Batch:
    """A micro-batch: its path, and the images in [0, 1] that came out finite.

    `rows` are these images' places in `Wanted`, and `key` their keys. The latents of an image with
    a NaN or an infinity in its latents or pixels are zeroed. `looks` are what the images are like,
    also where they are stored and have no pixels here. `num_evals` counts the network's forwards on
    images, without those on fillers.
    """

    path: Path
    images: Float[Tensor, "finite *frames 3 height width"]
    looks: Looks
    rows: Int[Tensor, " finite"]
    key: Int[Tensor, " finite"]
    num_evals: int


def encode(
    policy: Policy,
    source: ImageSource,
    prompts: Sequence[Prompt],
    prompt: Int[Tensor, " images"],
    draws: Draws,
    largest: int,
    guidance: float = 1.0,
) -> Wanted:
    """Images of at least one prompt, each with the index of its own, ready to be generated.

    Each prompt is encoded once, also for forwards with a `guidance` that the source has not.
    Without an image the one row is of the first prompt and key 0.
    """
    num = len(prompt)
    if not num:
        prompt = torch.zeros(1, dtype=torch.long)
        draws = replace(draws, keys=prompt)
    with torch.no_grad():
        cond = take(conditions(policy, source, prompts, guidance), prompt)
    return Wanted([prompts[i] for i in prompt.tolist()], cond, draws, num, largest)


def conditions(
    policy: Policy, source: ImageSource, prompts: Sequence[Prompt], guidance: float
) -> Cond:
    """The prompts encoded for the source's guidance, and for another that an objective asks for."""
    encoded = policy.encode(prompts, guidance=asked_guidance(source, guidance))
    return replace(encoded, guidance=source.guidance)


def asked_guidance(source: ImageSource, guidance: float) -> float:
    """What prompts are encoded for: the source's, or where it has none an objective's."""
    return source.guidance if source.guidance != 1 else guidance


def generate(
    policy: Policy,
    sampler: Sampler,
    wanted: Wanted,
    *,
    weights: Weights,
    micro_batch: int,
    keep_path: bool,
    keep_means: bool = False,
) -> Iterator[Batch]:
    """Samples and decodes, at most `micro_batch` images at a time, with these weights."""
    size = balanced_batch_size(wanted.largest, micro_batch)
    count = num_micro_batches(wanted.largest, size)
    # A set that waits in the host's memory is on the device for all of them.
    with policy.weights.module.lend(weights):
        for micro in micro_batches(torch.arange(wanted.num), size, count):
            # From noise to clean latents to pixels; the last rows may be fillers.
            before = policy.weights.num_rows
            with torch.no_grad(), policy.weights.using(weights):
                path = sampler.sample(
                    policy,
                    wanted.prompts_of(micro.index),
                    take(wanted.cond, micro.index),
                    wanted.draws.take(micro.index),
                    keep_path=keep_path,
                )
                path = path if keep_means else replace(path, mean=None)
                images = policy.decode(path.clean)
            num_evals = (policy.weights.num_rows - before) * micro.num_real // size
            if micro.num_real < size:
                path, images = take(path, torch.arange(micro.num_real)), images[: micro.num_real]

            rows, looks = micro.index[: micro.num_real], look(images, path.clean)
            yield drop_broken(Batch(path, images, looks, rows, wanted.key[rows], num_evals))


def drop_broken(batch: Batch) -> Batch:
    """The batch with its finite images alone: a broken one is not scored, its row made harmless."""
    path, images = batch.path, batch.images
    finite = path.clean.flatten(1).isfinite().all(1) & images.flatten(1).isfinite().all(1)
    known = finite.cpu()  # the only wait of a micro-batch, where all is well
    if bool(known.all()):
        return batch
    kept = known.nonzero()[:, 0]
    return replace(
        batch,
        path=_zero(path, ~finite),
        images=images[send(kept, images.device)],
        looks=take(batch.looks, kept),
        rows=batch.rows[kept],
        key=batch.key[kept],
    )


def _zero(path: Path, broken: Bool[Tensor, " batch"]) -> Path:
    """The path with its broken rows 0, so that a row of weight 0 cannot spread a NaN."""

    def fill(value: Tensor) -> Tensor:
        return value.masked_fill(broken.reshape(-1, *[1] * (value.ndim - 1)), 0.0)

    return replace(
        path,
        clean=fill(path.clean),
        x=None if path.x is None else fill(path.x),
        log_prob=None if path.log_prob is None else fill(path.log_prob),
        mean=None if path.mean is None else fill(path.mean),
    )
