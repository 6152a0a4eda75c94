"""How far collecting in float8 is from bfloat16: velocities, images and rewards of shipped models.

    python benchmarks/float8.py [--recipes nft_scenes nft_digits] [--groups 96]

An epoch of each recipe's images is collected of the same noise three times: with the base in
float32, in bfloat16, and in bfloat16 with `sampler.quantization: fp8`. Errors are norms of the
difference by the norm of what they are from; velocities are at the images of float32 with noise
again, at times from 0.1 to 0.9.
A reward's difference has its standard error over prompts. On a CPU these are numbers of rounding;
how fast float8 is they do not say.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from zoo.flow import noised
from zoo.policy.float8 import products_in
from zoo.recipe.recipe import load_recipe
from zoo.rollout import take
from zoo.training.build import build
from zoo.training.collect import collect, shard_groups
from zoo.training.epoch import groups_of
from zoo.training.generate import Batch

ROOT = Path(__file__).parent.parent
KINDS = {
    "float32": ("float32", "none"), "bfloat16": ("bfloat16", "none"), "fp8": ("bfloat16", "fp8")
}  # fmt: skip
"""The base's type, and what the sampler does with it."""


@dataclass(frozen=True)
class Made:
    """What came of the noise: latents, images, each image's reward by prompt; and velocities."""

    velocity: Tensor
    clean: Tensor
    images: Tensor
    reward: Tensor


def made(name: str, kind: str, groups: int, clean: Tensor | None = None) -> Made:
    """An epoch of a recipe's images; velocities at `clean` with noise, by default its own."""
    dtype, quantization = KINDS[kind]
    changes = {
        "engine.device": "cpu", "policy.lora": "{rank: 4, alpha: 8}", "policy.dtype": dtype,
        "sampler.quantization": quantization, "data.groups_per_epoch": groups, "eval": "null",
    }  # fmt: skip
    overrides = [f"{key}={value}" for key, value in changes.items()]
    run = build(load_recipe(ROOT / "recipes" / f"{name}.yaml", overrides)).stages[0]
    share, images = shard_groups(run.collector, groups_of(run, 0)), {}

    def seen() -> Iterator[Batch]:
        for batch in share.generate():
            images.update(zip(batch.key.tolist(), batch.images, strict=True))
            yield batch

    collected = collect(share, seen(), lambda: None)
    scores = torch.stack(list(collected.verdict.scores.values())).mean(0)
    own, policy = collected.rollout.path.clean, run.model.policy
    some = torch.arange(min(256, share.wanted.num))
    noise = share.wanted.draws.take(some).at("velocity").normal(policy.latent_shape)
    t = torch.linspace(0.1, 0.9, len(some))
    x = noised(own[some] if clean is None else clean[some], noise, t)
    with torch.no_grad(), products_in(policy.weights.network, quantization):  # type: ignore[arg-type]
        velocity = policy.velocity(x, t, take(share.wanted.cond, some))
    in_order = torch.stack([images[key] for key in sorted(images)])
    return Made(velocity, own, in_order, scores.reshape(groups, -1))


def relative(found: Tensor, right: Tensor) -> float:
    """The distance by the length of what it is from."""
    return float((found.double() - right.double()).norm() / right.double().norm())


def lines(name: str, of: dict[str, Made]) -> Iterator[str]:
    """What a recipe came to."""
    for one, other in (("bfloat16", "float32"), ("fp8", "float32"), ("fp8", "bfloat16")):
        velocity = relative(of[one].velocity, of[other].velocity)
        images = float((of[one].images - of[other].images).abs().double().mean())
        change = (of[one].reward - of[other].reward).mean(1)
        error = float(change.std() / len(change) ** 0.5)
        yield (
            f"{name}: {one} from {other}: velocity {velocity:.2%}, a pixel {images:.4f}, "
            f"reward {float(change.mean()):+.4f} +- {error:.4f}"
        )
    rewards = ", ".join(f"{kind} {float(each.reward.mean()):.4f}" for kind, each in of.items())
    yield f"{name}: mean reward of {of['fp8'].reward.numel()} images: {rewards}"


def main() -> None:
    """Prints what each recipe comes to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["nft_scenes", "nft_digits"])
    parser.add_argument("--groups", type=int, default=96, help="prompts, of a group of images each")
    chosen = parser.parse_args()
    for name in chosen.recipes:
        of: dict[str, Made] = {}
        for kind in KINDS:
            clean = of["float32"].clean if of else None
            of[kind] = made(name, kind, chosen.groups, clean)
        print("\n".join(lines(name, of)))


if __name__ == "__main__":
    main()
