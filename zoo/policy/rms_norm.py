"""diffusers' root-mean-square norm by torch's own operation, in networks of half precision.

x / sqrt(mean(x^2) + eps) * weight, of Zhang and Sennrich 2019 (arXiv 1910.07467, equation 4).
diffusers spells it out: each operation writes what the next one reads, most of it in float32, and
copies in float32 are kept for the backward. In Stable Diffusion 3.5 Medium, which norms queries and
keys, that is 39% of the bytes that a forward moves (benchmarks/counts.py). Torch's is one kernel on
a GPU, keeps a number a row, and rounds once, at the end; diffusers' rounds before the weight too.
"""

import torch
import torch.nn.functional as F
from diffusers.models.normalization import RMSNorm
from diffusers.utils import is_torch_npu_available
from torch import Tensor, nn

_HALF = (torch.bfloat16, torch.float16)


class FusedRMSNorm(RMSNorm):  # type: ignore[misc]
    """diffusers' layer by its names and parameters; in float32 it is diffusers' bit for bit."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., *dim] to the same."""
        x, weight = hidden_states, self.weight
        is_one_type = weight is None or weight.dtype == x.dtype
        if x.dtype not in _HALF or not is_one_type or self.bias is not None:
            spelt_out: Tensor = super().forward(x)
            return spelt_out
        # Heads come as views [batch, heads, tokens, dim] of [batch, tokens, heads, dim], which a
        # kernel that wants rows in order would copy first.
        if x.ndim == 4 and (in_order := x.transpose(1, 2)).is_contiguous():
            return F.rms_norm(in_order, self.dim, weight, self.eps).transpose(1, 2)
        return F.rms_norm(x, self.dim, weight, self.eps)


def fuse_norms(network: nn.Module) -> None:
    """From now on its norms of diffusers are by torch's operation. Copies of it do so, too."""
    if is_torch_npu_available():
        return  # diffusers has a kernel for it
    for module in network.modules():
        if type(module) is RMSNorm:
            module.__class__ = FusedRMSNorm
