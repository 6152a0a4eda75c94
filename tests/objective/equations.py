"""What tests of losses share: float64 inputs, and the comparison of values and gradients.

The losses are written again in each test from the equations, row by row: slow, and hard to get
wrong.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SHAPE = (2, 3, 2)


def latents(num: int, count: int, seed: int = 0) -> list[Tensor]:
    """`count` tensors of `num` rows of latents."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(count, num, *SHAPE, generator=generator, dtype=torch.float64))


def numbers(num: int, seed: int = 1, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(num, generator=generator, dtype=torch.float64)


def times(num: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.02 + 0.96 * torch.rand(num, generator=generator, dtype=torch.float64)


def require_same(
    found: Callable[[Tensor], Tensor], wanted: Callable[[Tensor], Tensor], at: Tensor
) -> None:
    """The two are the same in value and in the gradient at `at`, to 1e-9."""
    results = []
    for function in (found, wanted):
        x = at.clone().requires_grad_()
        value = function(x)
        # Rows with different factors: a gradient that is one row's own is not another's.
        factors = torch.arange(1.0, value.numel() + 1, dtype=value.dtype)
        (gradient,) = torch.autograd.grad((value.flatten() * factors).sum(), x, allow_unused=True)
        results.append((value.detach(), torch.zeros_like(x) if gradient is None else gradient))
    (value, gradient), (value_, gradient_) = results
    torch.testing.assert_close(value, value_, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, gradient_, rtol=1e-9, atol=1e-12)
