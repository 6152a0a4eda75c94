"""Images from prompts, in micro-batches of one shape: for collecting, evaluating and sampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.rollout import Cond, Path, Weights, join, take
from zoo.sampler.base import Sampler
from zoo.seeds import Draws
from zoo.training.micro_batches import even_batch, micro_batches, num_micro_batches


@dataclass(frozen=True)
class Wanted:
    """The images that one process makes, of at least one prompt: each an index of one, and a key.

    `largest` is the number of images of the process that makes most, which settles how many
    micro-batches all processes run. `member` says for each which of its prompt's own images it is,
    where they are stored and not made.
    """

    prompts: Sequence[Prompt]
    prompt: Int[Tensor, " images"]
    key: Int[Tensor, " images"]
    largest: int
    member: Int[Tensor, " images"] | None = None

    def or_one(self) -> "Wanted":
        """The same, or where no image is wanted the first of the first prompt."""
        if len(self.key):
            return self
        none = torch.zeros(1, dtype=torch.long)
        return replace(self, prompt=none, key=none, member=None if self.member is None else none)

    def asked(self, rows: Int[Tensor, " rows"]) -> list[Prompt]:
        """The prompt of each of some images."""
        prompts = [self.prompts[i] for i in self.prompt[rows].tolist()]
        if self.member is None:
            return prompts
        members = self.member[rows].tolist()
        return [prompt.member(i) for prompt, i in zip(prompts, members, strict=True)]


@dataclass(frozen=True)
class Generated:
    """Clean latents (and paths, if kept), the prompts encoded, and the forwards it took.

    The latents of an image with a NaN or an infinity in its latents or pixels are zeroed; such an
    image was not received.
    """

    path: Path
    cond: Cond
    num_evals: int


def generate(
    policy: Policy,
    sampler: Sampler,
    wanted: Wanted,
    draws: Callable[[Int[Tensor, " rows"]], Draws],
    *,
    weights: Weights,
    micro_batch: int,
    keep_path: bool,
    receive: Callable[[Float[Tensor, "batch *frames 3 height width"], Int[Tensor, " batch"]], None],
    between: Callable[[], None] = lambda: None,
) -> Generated:
    """Samples and decodes; `receive(images, rows)` gets the finite images of each micro-batch.

    `between` is called after each. A process that wants no image does the same forwards, on its
    first prompt. `draws` are by key.
    """
    some = wanted.or_one()
    keyed = draws(some.key)
    with torch.no_grad():
        cond = take(policy.encode(wanted.prompts, guidance=sampler.guidance), some.prompt)
    batch = even_batch(wanted.largest, micro_batch)
    count = num_micro_batches(wanted.largest, batch)
    paths, num_evals = [], 0
    for micro in micro_batches(torch.arange(len(wanted.key)), batch, count):
        before = policy.weights.num_rows
        with torch.no_grad(), policy.weights.using(weights):
            path = sampler.sample(
                policy,
                some.asked(micro.index),
                take(cond, micro.index),
                keyed.take(micro.index),
                keep_path=keep_path,
            )
            images = policy.decode(path.clean)
        num_evals += (policy.weights.num_rows - before) * micro.num_real // batch
        if micro.num_real < batch:
            path, images = take(path, torch.arange(micro.num_real)), images[: micro.num_real]
        whole = path.clean.flatten(1).isfinite().all(1) & images.flatten(1).isfinite().all(1)
        if not bool(whole.all()):
            path, images = _zeroed(path, ~whole), images[whole]
        receive(images, micro.index[: micro.num_real][whole.cpu()])
        paths.append(path)
        between()
    return Generated(join(paths), cond, num_evals)


def _zeroed(path: Path, broken: Bool[Tensor, " batch"]) -> Path:
    """The path with its broken rows 0, so that a row of weight 0 cannot spread a NaN."""

    def fill(value: Tensor) -> Tensor:
        return value.masked_fill(broken.reshape(-1, *[1] * (value.ndim - 1)), 0.0)

    return replace(
        path,
        clean=fill(path.clean),
        x=None if path.x is None else fill(path.x),
        log_prob=None if path.log_prob is None else fill(path.log_prob),
    )
