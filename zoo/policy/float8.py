"""Products in float8 of a frozen network in bfloat16: while images are made, and only then.

Of the linear layers of attention and feed-forward, weights W are rounded to eight bits once, and
activations x as they come, both by rows:

    y = s_x s_W (x8 W8^T) + b;    x8 = e4m3(x / s_x),  s_x = max |x| / 448,  and W alike

e4m3 is Micikevicius et al. 2022 (arXiv 2209.05433). A scale is of a row alone, so what becomes of
an image does not depend on those beside it. Norms, modulations, embeddings and the last projection
stay as they are, and so do LoRA's products, which are added to the output. Collecting in few bits
and learning in bfloat16 is Li et al. 2026 (arXiv 2604.06916), there in four.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from zoo.errors import one_line
from zoo.policy.blocks import repeated_blocks

Quantization = Literal["none", "fp8"]
"""What a network's products are made in while it makes images: its own type, or float8."""

_LARGEST = 448.0
"""Of e4m3."""
_LEAST = 1e-12
"""A row of zeros has a scale, too."""
_STAY = re.compile(r"(^|[._])(norm|ada|mod(ul|[._]|$)|time|emb)", re.IGNORECASE)
"""Where a word of a layer's name begins so, it is of a norm, a modulation or an embedding."""
_MULTIPLE = 16
"""Of which torch wants both sides of a weight."""


class Float8Linear(nn.Linear):
    """A frozen linear layer that multiplies in float8 while it is `in_use`, and else as it did."""

    weight8: Tensor
    """W8^T [in, out]."""
    scale8: Tensor
    """s_W [1, out]."""
    in_use: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        if not self.in_use:
            return super().forward(input)
        values, scale = _rounded(input.reshape(-1, input.shape[-1]))
        out = _product(values, scale, self.weight8, self.scale8, self.bias)
        return out.view(*input.shape[:-1], out.shape[-1])


def quantize(network: nn.Module) -> int:
    """Rounds the weights that `products_in` multiplies by, beside those that stay: their bytes.

    Raises:
        ValueError: the network has no layer for it.
    """
    taken = list(_layers(network))
    if not taken:
        raise ValueError(
            f"{type(network).__name__} has no blocks with frozen linear layers in bfloat16 whose "
            f"sides are multiples of {_MULTIPLE}"
        )
    for layer in taken:
        layer.__class__ = Float8Linear
        assert isinstance(layer, Float8Linear)
        # No buffers: they are in no checkpoint, and nothing that an engine shards.
        values, scale = _rounded(layer.weight.detach())
        layer.weight8, layer.scale8 = values.t(), scale.t().contiguous()
    made = [t for layer in _quantized(network) for t in (layer.weight8, layer.scale8)]
    return sum(t.numel() * t.element_size() for t in made)


def products_in(network: nn.Module, quantization: Quantization) -> AbstractContextManager[None]:
    """Inside, the network computes so: with fp8 after `quantize`, and without gradients alone.

    Raises:
        RuntimeError: nothing of it is quantized, or gradients are on.
    """
    return nullcontext() if quantization == "none" else _in_float8(network)


@contextmanager
def _in_float8(network: nn.Module) -> Iterator[None]:
    layers = _quantized(network)
    if not layers:
        raise RuntimeError("nothing of the network is quantized; call quantize first")
    if torch.is_grad_enabled():
        raise RuntimeError("products in float8 have no gradients; call it under torch.no_grad()")
    try:
        for layer in layers:
            layer.in_use = True
        yield
    finally:
        for layer in layers:
            layer.in_use = False


def require_float8(device: torch.device) -> None:
    """Sees whether a device multiplies in float8, by one product; a CPU does so slowly.

    Raises:
        ValueError: it does not.
    """
    side = torch.ones(_MULTIPLE, _MULTIPLE, dtype=torch.bfloat16, device=device)
    values, scale = _rounded(side)
    try:
        _product(values, scale, values.t(), scale.t().contiguous(), None)
    except (AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"torch {torch.__version__} cannot multiply in float8 on {device} "
            f"({one_line(error)[:200]}); NVIDIA's GPUs from Ada on can (compute capability 8.9), "
            "with torch 2.10 or later"
        ) from error


def _product(
    rows: Tensor, scale: Tensor, weight: Tensor, scale_of_weight: Tensor, bias: Tensor | None
) -> Float[Tensor, "rows out"]:
    """In bfloat16; sums are float32's."""
    by_row = F.ScalingType.RowWise
    out: Tensor = F.scaled_mm(
        rows, weight, scale, by_row, scale_of_weight, by_row,
        bias=bias, output_dtype=torch.bfloat16,
    )  # fmt: skip
    return out


def _rounded(
    rows: Float[Tensor, "rows columns"],
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows 1"]]:
    """Rows in e4m3, and what to multiply each by to have them back, in float32."""
    largest = torch.linalg.vector_norm(rows, torch.inf, dim=-1, keepdim=True)
    # In the rows' own type, which moves half the bytes of float32; the scale is exactly what they
    # were multiplied by. Rounding may lift a row's largest to 450, which is 448 in e4m3.
    factor = _LARGEST / largest.clamp(min=_LEAST)
    values = (rows * factor).to(torch.float8_e4m3fn).contiguous()
    return values, factor.float().reciprocal()


def _layers(network: nn.Module) -> Iterator[nn.Linear]:
    """The linear layers of attention and feed-forward; under LoRA, its bases."""
    for block in repeated_blocks(network):
        for name, module in block.named_modules():
            # A subclass may hold its weight in another form.
            if type(module) is not nn.Linear or _STAY.search(name):
                continue
            weight, sides = module.weight, (module.in_features, module.out_features)
            is_base = weight.dtype == torch.bfloat16 and not weight.requires_grad
            if is_base and not any(side % _MULTIPLE for side in sides):
                yield module


def _quantized(network: nn.Module) -> list[Float8Linear]:
    return [module for module in network.modules() if isinstance(module, Float8Linear)]
