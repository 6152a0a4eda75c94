"""Images from prompts, in micro-batches of one shape: what collecting, evaluating and sampling share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.dealing import even_batch, micro_batches, num_micro_batches
from zoo.policy.base import Policy
from zoo.prompt import Prompt
from zoo.rollout import Cond, Path, Weights, join, take
from zoo.sampler.base import Sampler
from zoo.seeds import Draws


@dataclass(frozen=True)
class Wanted:
    """The images that one process makes: an entry of `prompts` (one at least) for each, and its key.

    `largest` is the number of images of the process that makes most, which settles how many micro-batches
    all processes run.
    """

    prompts: Sequence[Prompt]
    prompt: Int[Tensor, " images"]
    key: Int[Tensor, " images"]
    largest: int


@dataclass(frozen=True)
class Generated:
    """Clean latents (and paths, if kept) of what was wanted, the prompts encoded, and the forwards it took.

    `finite` is False for an image with a NaN or an infinity in its latents or pixels; its latents are zeroed.
    """

    path: Path
    cond: Cond
    finite: Tensor
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
    """Samples and decodes; `receive(images, rows)` gets each batch, `between` is called after each.

    A process that wants no image does the same forwards, on its first prompt. `draws` are by key.
    """
    none = torch.zeros(1, dtype=torch.long)
    entry, key = (wanted.prompt, wanted.key) if len(wanted.key) else (none, none)
    keyed = draws(key)
    cond = take(policy.encode(wanted.prompts, guidance=sampler.guidance), entry)
    batch = even_batch(wanted.largest, micro_batch)
    count = num_micro_batches(wanted.largest, batch)
    paths, finite, num_evals = [], [], 0
    for micro in micro_batches(torch.arange(len(wanted.key)), batch, count):
        before = policy.weights.num_rows
        prompts = [wanted.prompts[i] for i in entry[micro.index].tolist()]
        with torch.no_grad(), policy.weights.using(weights):
            path = sampler.sample(
                policy,
                prompts,
                take(cond, micro.index),
                keyed.take(micro.index),
                keep_path=keep_path,
            )
            images = policy.decode(path.clean)
        num_evals += (policy.weights.num_rows - before) * micro.num_real // batch
        real = torch.arange(micro.num_real)
        path, images = take(path, real), images[: micro.num_real]
        whole = path.clean.flatten(1).isfinite().all(1) & images.flatten(1).isfinite().all(1)
        receive(images.nan_to_num(), micro.index[: micro.num_real])
        paths.append(path)
        finite.append(whole)
        between()
    path, all_finite = join(paths), torch.cat(finite)
    if not bool(all_finite.all()):
        path = _zeroed(path, ~all_finite)
    return Generated(path, cond, all_finite.cpu(), num_evals)


def _zeroed(path: Path, broken: Tensor) -> Path:
    """The path with its broken rows 0, so that a row of weight 0 cannot spread a NaN."""

    def fill(value: Tensor | None) -> Tensor | None:
        if value is None:
            return None
        return value.masked_fill(broken.reshape(-1, *[1] * (value.ndim - 1)), 0.0)

    clean = fill(path.clean)
    assert clean is not None
    return Path(clean, path.num_evals, fill(path.x), path.grid, fill(path.log_prob))
