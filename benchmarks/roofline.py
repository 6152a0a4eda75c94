"""How long an epoch takes on a card at best, from what its operations move and compute.

    python benchmarks/roofline.py [--recipe recipes/nft_sd3_multi.yaml] [--card H200]

Every operation of SD3.5 Medium's transformer is given the time of its bytes at the card's bandwidth
or of its FLOPs at its speed, whichever is longer, by the data sheet: hardly a real one is faster.
So are the epoch's forwards and backwards added up: with diffusers' norms and PEFT's layer for LoRA,
with zoo's, and with zoo's where a compiler fuses all but products and attention with what is beside
it, which none does quite; then the sampling alone with products in float8. Launches, the
autoencoder, rewards and text encoders are not in it.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import random_sd3
from benchmarks.counts import Batch, Operation, Traffic, forward_of, spelt_out
from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy.float8 import products_in, quantize
from zoo.policy.lora import ATTENTION
from zoo.policy.weights import Lora, WeightSets
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.rollout import Weights


@dataclass(frozen=True)
class Card:
    """What a data sheet says, a second: bytes, and FLOPs of dense bfloat16, TF32 and float8."""

    bytes: float
    flops: float
    wide_flops: float
    narrow_flops: float | None = None
    """None where it has no float8."""

    def seconds(self, operation: Operation) -> float:
        """At best."""
        rate = self.wide_flops if operation.wide else self.flops
        if operation.narrow and operation.flops:
            assert self.narrow_flops is not None
            rate = self.narrow_flops
        return max(operation.bytes / self.bytes, operation.flops / rate)


CARDS = {
    "H200": Card(4.8e12, 989e12, 494e12, 1979e12),
    "H100": Card(3.35e12, 989e12, 494e12, 1979e12),
    "A100-80GB": Card(2.04e12, 312e12, 156e12),
}


@dataclass(frozen=True)
class Passes:
    """Seconds of one micro-batch: the base's forward, one with LoRA, and a backward."""

    base: float
    forward: float
    backward: float
    float8: float | None = None
    """One with LoRA over products in float8."""


def passes(batch: Batch, lora: Lora, card: Card, *, fused: bool = False) -> Passes:
    """Of SD3.5 Medium's transformer in bfloat16; `fused`: of its products and attention alone."""

    def seconds(call: Callable[[], object]) -> float:
        with Traffic() as traffic:
            call()
        timed = (each for each in traffic.operations if each.flops or not fused)
        return sum(map(card.seconds, timed))

    with LiveBytes(), META:
        weights = WeightSets(
            random_sd3.transformer(torch.bfloat16), lora, default_targets=ATTENTION
        )
        weights.allocate((), seed=0)
        forward = forward_of(weights, batch, torch.bfloat16)
        with torch.no_grad():
            found = []
            for which in (Weights.REFERENCE, Weights.LIVE):
                with weights.using(which):
                    forward()
                    found.append(seconds(forward))
            float8 = None
            if card.narrow_flops is not None:
                quantize(weights.network)
                with products_in(weights.network, "fp8"):
                    float8 = seconds(forward)
        out = forward()
        back = seconds(lambda: out.backward(torch.empty_like(out)))  # type: ignore[no-untyped-call]
        return Passes(*found, back, float8)


def epoch(recipe: Recipe, of: Passes, batch: Batch) -> dict[str, float]:
    """Seconds of NFT's parts: each image is sampled, and trained at by old, reference and live."""
    named, data = recipe.resolved(), recipe.data
    steps = int(named["sampler"]["steps"])
    trained = named["objective"]["trained_steps"] or max(1, int(0.99 * steps))
    batches = data.groups_per_epoch * data.group_size / batch.images
    return {
        "sampling": batches * steps * of.forward,
        "old": batches * trained * of.forward,
        "reference": batches * trained * of.base,
        "trained, forward": batches * trained * of.forward,
        "trained, backward": batches * trained * of.backward,
    }


def main() -> None:
    """Prints a line for each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/nft_sd3_multi.yaml"))
    parser.add_argument("--card", choices=CARDS, default="H200")
    chosen = parser.parse_args()
    recipe, card = load_recipe(chosen.recipe), CARDS[chosen.card]
    batch, lora = Batch(8, 512, 205), Lora(rank=32, alpha=64)
    timed = [passes(batch, lora, card, fused=fused) for fused in (False, True)]
    ours, fused = (epoch(recipe, of, batch) for of in timed)
    in_float8 = [
        epoch(recipe, replace(of, forward=of.float8), batch)["sampling"]
        for of in timed
        if of.float8 is not None
    ]
    with spelt_out():
        theirs = epoch(recipe, passes(batch, lora, card), batch)
    print(f"{'':16} {'theirs':>8} {'zoo':>8} {'fused':>8}")
    for name in ours:
        print(f"{name:16} {theirs[name]:8.0f} {ours[name]:8.0f} {fused[name]:8.0f}")
    sums = (sum(of.values()) for of in (theirs, ours, fused))
    print(f"{'all':16}", *(f"{of:8.0f}" for of in sums))
    if in_float8:
        print(f"{'sampling in fp8':16} {'':8}", *(f"{of:8.0f}" for of in in_float8))


if __name__ == "__main__":
    main()
