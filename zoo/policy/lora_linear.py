"""LoRA on a linear layer whose base is in half precision, at little more than the base's cost.

W x + s B (A x) of Hu et al. 2021 (arXiv 2106.09685, section 4.1). A and B are float32, for bfloat16
cannot hold an update's small steps. PEFT multiplies them in float32: it casts x, multiplies twice,
scales, adds and casts back, and keeps the cast x of every layer for the backward. Here A and s B
are cast once an update (`lora_casts.py`), and two products are left, of which the second adds
itself to the base's output:

    h = A x;    y = W x;    y += (s B) h

Products accumulate in float32 and round once; gradients of A and B are added up in float32.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_HALF = (torch.bfloat16, torch.float16)


def half_precision_linear(
    base: nn.Module, adapter: str, *, config: LoraConfig, **options: Any
) -> "HalfLinear | None":
    """The layer for a base in half precision; None, which leaves it to PEFT, for any other.

    A subclass of torch's linear layer may hold its weight in another form, and is PEFT's too.
    """
    if type(base) is not nn.Linear or base.weight.dtype not in _HALF:
        return None
    return HalfLinear(base, adapter, config=config, **options)


class HalfLinear(Linear):  # type: ignore[misc]
    """PEFT's layer by its names and parameters; its forward is cheaper while `casts` are chosen."""

    casts: tuple[Tensor, Tensor] | None = None
    """A [rank, in] and s B [out, rank] of the chosen adapter in the base's dtype."""
    chosen: str = ""
    """The adapter that they are of."""

    def masters(self, adapter: str) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B in float32."""
        return self.lora_A[adapter].weight, self.lora_B[adapter].weight

    def cast(self, adapter: str) -> tuple[Tensor, Tensor]:
        """What `casts` is of an adapter by the values that it has now."""
        dtype = self.base_layer.weight.dtype
        a, b = self.masters(adapter)
        return a.to(dtype), (b * self.scaling[adapter]).to(dtype)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] to [..., out]; without casts, or for an x of another dtype, it is PEFT's."""
        base, casts = self.base_layer, self.casts
        if self.disable_adapters and not self.merged:
            # In rows, as below: torch may round x in another shape otherwise, and the reference is
            # live's equal as long as B is 0.
            bare: Tensor = base(x.reshape(-1, x.shape[-1]))
            return bare.view(*x.shape[:-1], bare.shape[-1])
        if casts is None or x.dtype != casts[0].dtype:
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled():
            masters, scale = self.masters(self.chosen), self.scaling[self.chosen]
            out: Tensor = _Adapted.apply(  # type: ignore[no-untyped-call]
                rows, base.weight, base.bias, *masters, *casts, scale
            )
        else:
            # Touches no adapter's parameters: what torch compiles of it is one for all sets. The
            # base may be in float8 now: it is called, as it is by PEFT.
            out = base(rows).addmm_(rows @ casts[0].t(), casts[1].t())
        return out.view(*x.shape[:-1], out.shape[-1])


def _adapted(
    rows: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """The output [rows, out], and A x [rows, rank]."""
    hidden = rows @ a.t()
    return F.linear(rows, weight, bias).addmm_(hidden, b.t()), hidden


class _Adapted(torch.autograd.Function):
    """`_adapted` with gradients for its input and the masters of A and B; the base is frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        master_a: Tensor,
        master_b: Tensor,
        a: Tensor,
        b: Tensor,
        scale: float,
    ) -> Tensor:
        out, hidden = _adapted(rows, weight, bias, a, b)
        ctx.save_for_backward(rows, hidden, weight, a, b)
        ctx.scale, ctx.dtype = scale, master_a.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        rows, hidden, weight, a, b = ctx.saved_tensors
        grad_hidden = grad_out @ b  # [rows, rank], with s
        grad_rows = grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_rows = (grad_out @ weight).addmm_(grad_hidden, a)
        if ctx.needs_input_grad[3]:
            grad_a = (grad_hidden.t() @ rows).to(ctx.dtype)
        if ctx.needs_input_grad[4]:
            grad_b = (grad_out.t() @ hidden).to(ctx.dtype) * ctx.scale
        return grad_rows, None, None, grad_a, grad_b, None, None, None
