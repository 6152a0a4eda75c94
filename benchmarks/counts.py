"""What a forward and a backward cost by their shapes: bytes moved, kernels, FLOPs, what is kept.

    python benchmarks/counts.py [--images 8] [--resolution 512] [--text-tokens 205] [--rank 32]
    python benchmarks/counts.py --json counts.json

Stable Diffusion 3.5 Medium's transformer at its published configuration in bfloat16, on the meta
device: tensors have shapes and no numbers, so it takes seconds on any machine. The base alone
(LoRA's adapters off, no gradients), with LoRA and no gradients as in sampling, and with gradients
as in training: its forward and its backward. First with diffusers' norms and PEFT's layers for
LoRA, then with zoo's; and with LoRA over products in float8, as in sampling
with `sampler.quantization: fp8`. A forward before each has already made what is kept
from one forward to the next. Then the same network in float32, all of which is trained, as it is
and computing in bfloat16.

A `TorchDispatchMode` sees every operation of torch as it runs without fusion:

* Bytes: every tensor that an operation reads and every one that it writes, once each. What it
  changes in place is read and written, but for a copy and a fill, which only write. Of an expanded
  tensor only what is in memory counts.
* Kernels: operations that move bytes. A view costs nothing, nor does memory that is only reserved.
  An operation on a list of tensors counts as one.
* Attention is one operation that keeps no score matrix; its workspace, and what other operations
  need only while they run, is not seen. Caches are not modelled.
* FLOPs are `zoo.plan.flops`'s: of matrix products and attention, a multiply-add is two.
* Kept: bytes that are alive after a forward with gradients and were not before, the output
  included. Views share their storage, which counts once.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import random_sd3
from zoo.plan.flops import counter
from zoo.plan.live_bytes import META, LiveBytes
from zoo.policy import lora_linear, rms_norm
from zoo.policy.float8 import products_in, quantize
from zoo.policy.lora import ATTENTION
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights

aten = torch.ops.aten
_RESERVES = {
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
}
_WRITES_ONLY = {aten.copy_, aten._foreach_copy_, aten.fill_, aten.zero_}
_PIXELS = 8
"""Of an image, along each side, for one of its latents."""


@dataclass(frozen=True)
class Operation:
    """What one of torch's moves and computes; `wide` has factors of float32, `narrow` of float8."""

    bytes: int
    flops: int
    wide: bool
    narrow: bool = False


class Traffic(TorchDispatchMode):
    """Inside, keeps the operations that move bytes."""

    def __init__(self) -> None:
        """Counts nothing yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._flops_of = counter().flop_registry

    @property
    def bytes(self) -> int:
        """Of all operations."""
        return sum(operation.bytes for operation in self.operations)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs an operation and counts it."""
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        read, written = _distinct((args, kwargs)), _distinct(out)
        if func._schema.is_mutable:
            changed = _distinct(_changed(func._schema, args, kwargs or {}))
            if packet in _WRITES_ONLY:
                read = {key: t for key, t in read.items() if key not in changed}
            written |= changed
        elif packet in _RESERVES or _is_view(read.values(), written.values()):
            return out
        touched = [*read.values(), *written.values()]
        flops = self._flops_of.get(packet)
        dtype = next((t.dtype for t in read.values()), None)
        self.operations.append(
            Operation(
                sum(map(_in_memory, touched)),
                0 if flops is None else int(flops(*args, **(kwargs or {}), out_val=out)),
                wide=dtype == torch.float32,
                narrow=dtype == torch.float8_e4m3fn,
            )
        )
        return out


def _distinct(tree: object) -> dict[int, Tensor]:
    return {id(leaf): leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


def _changed(schema: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that an operation changes in place."""
    given = [
        kwargs.get(argument.name, args[i] if i < len(args) else None)
        for i, argument in enumerate(schema.arguments)
    ]
    return [
        value for argument, value in zip(schema.arguments, given, strict=True) if argument.is_write
    ]


def _is_view(read: Iterable[Tensor], made: Iterable[Tensor]) -> bool:
    """Whether nothing was made that does not share its memory with what was there."""
    there = {tensor.untyped_storage()._cdata for tensor in read}
    return all(tensor.untyped_storage()._cdata in there for tensor in made)


def _in_memory(tensor: Tensor) -> int:
    """The bytes of a tensor; along an expanded axis there is one element."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    elements = 1
    for size, stride in sizes:
        elements *= size if stride or not size else 1
    return elements * tensor.element_size()


@dataclass(frozen=True)
class Counts:
    """Of one pass over a network."""

    bytes: int
    kernels: int
    flops: int
    kept: int | None = None
    """Bytes for a backward; None where there is none."""


def counts(call: Callable[[], object]) -> Counts:
    """What a call on meta tensors comes to."""
    with Traffic() as traffic:
        call()
    flops = sum(operation.flops for operation in traffic.operations)
    return Counts(traffic.bytes, len(traffic.operations), flops)


def kept(call: Callable[[], object], live: LiveBytes) -> int:
    """The bytes that are alive because of what a call returns; `live` has seen all there is."""
    before = live.now
    result = call()
    after = live.now
    del result
    return after - before


@dataclass(frozen=True)
class Batch:
    """What a network is given."""

    images: int
    resolution: int
    text_tokens: int


@contextmanager
def spelt_out() -> Iterator[None]:
    """Inside, networks keep diffusers' norms and get PEFT's layers for LoRA."""
    with (
        patch.object(rms_norm, "fuse_norms", lambda network: None),
        patch.object(lora_linear, "half_precision_linear", lambda *args, **options: None),
    ):
        yield


def lora_counts(batch: Batch, lora: Lora) -> dict[str, Counts]:
    """Of SD3.5 Medium's transformer in bfloat16, by pass."""
    with LiveBytes() as live, META:
        network = random_sd3.transformer(torch.bfloat16)
        weights = WeightSets(network, lora, default_targets=ATTENTION)
        weights.allocate((), seed=0)
        forward = forward_of(weights, batch, torch.bfloat16)
        found = {}
        with torch.no_grad():
            for name, which in (("base", Weights.REFERENCE), ("LoRA", Weights.LIVE)):
                with weights.using(which):
                    forward()
                    found[f"{name}, forward"] = counts(forward)
        return found | _with_gradients("LoRA", forward, live)


def float8_counts(batch: Batch, lora: Lora) -> dict[str, Counts]:
    """Of the same, with products in float8."""
    with LiveBytes(), META, torch.no_grad():
        network = random_sd3.transformer(torch.bfloat16)
        weights = WeightSets(network, lora, default_targets=ATTENTION)
        weights.allocate((), seed=0)
        forward = forward_of(weights, batch, torch.bfloat16)
        quantize(network)
        with products_in(network, "fp8"):
            forward()
            return {"LoRA over float8, forward": counts(forward)}


def whole_counts(batch: Batch) -> dict[str, Counts]:
    """Of the same in float32, all of which is trained: as it is, and cast to bfloat16."""
    found: dict[str, Counts] = {}
    for name, casts in (("all, in float32", None), ("all, in bfloat16", torch.bfloat16)):
        with LiveBytes() as live, META:
            weights = WeightSets(random_sd3.transformer(torch.float32), None, casts=casts)
            weights.allocate((), seed=0, reference=False)
            found |= _with_gradients(name, forward_of(weights, batch, torch.float32), live)
    return found


def _with_gradients(name: str, forward: Callable[[], Tensor], live: LiveBytes) -> dict[str, Counts]:
    trained = counts(forward)
    held = kept(forward, live)
    out = forward()
    backward = counts(lambda: out.backward(torch.empty_like(out)))  # type: ignore[no-untyped-call]
    return {
        f"{name}, forward with gradients": replace(trained, kept=held),
        f"{name}, backward": backward,
    }


def forward_of(weights: WeightSets, batch: Batch, dtype: torch.dtype) -> Callable[[], Tensor]:
    """A forward of the network on tensors of the shapes that it takes, without numbers."""
    config: Any = weights.network.config
    side = batch.resolution // _PIXELS

    def made(*shape: int) -> Tensor:
        return torch.empty(batch.images, *shape, dtype=dtype)

    given = {
        "hidden_states": made(config.in_channels, side, side),
        "encoder_hidden_states": made(batch.text_tokens, config.joint_attention_dim),
        "pooled_projections": made(config.pooled_projection_dim),
        "timestep": torch.empty(batch.images),
    }

    def forward() -> Tensor:
        out: Tensor = weights(**given)[0]
        return out

    return forward


def table(found: Mapping[str, Counts]) -> Iterator[str]:
    """Its lines; in parentheses, of the first row's."""
    base = next(iter(found.values()))
    yield f"{'':43} {'GB moved':>16} {'kernels':>14} {'TFLOP':>16} {'GB kept':>8}"
    for name, of in found.items():
        moved = f"{of.bytes / 1e9:.1f} ({of.bytes / base.bytes:.3f})"
        kernels = f"{of.kernels} ({of.kernels / base.kernels:.2f})"
        flops = f"{of.flops / 1e12:.2f} ({of.flops / base.flops:.3f})"
        held = "-" if of.kept is None else f"{of.kept / 1e9:.2f}"
        yield f"{name:43} {moved:>16} {kernels:>14} {flops:>16} {held:>8}"


def main() -> None:
    """Prints a line for each pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=512, help="pixels of a side")
    parser.add_argument("--text-tokens", type=int, default=205, help="77 of CLIP, and T5's")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    chosen = parser.parse_args()
    batch = Batch(chosen.images, chosen.resolution, chosen.text_tokens)
    lora = Lora(rank=chosen.rank, alpha=2 * chosen.rank)
    with spelt_out():
        found = {f"theirs: {name}": each for name, each in lora_counts(batch, lora).items()}
    found |= lora_counts(batch, lora) | float8_counts(batch, lora) | whole_counts(batch)
    print("\n".join(table(found)))
    if chosen.json is not None:
        numbers = {name: asdict(of) for name, of in found.items()}
        chosen.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
