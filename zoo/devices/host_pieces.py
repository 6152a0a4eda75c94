"""Many tensors in few pieces of the host's page-locked memory.

Torch rounds each allocation of such memory up to a power of two. Of the parameters of published
networks, of 2 to 48 GB, that is 1.2 to 1.6 times their size one by one. Pieces that are powers of
two, each filled with the largest tensors that still fit, are at most 1.02 times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.devices.torch_device import host_memory

_ALIGNED = 64
"""Bytes: as torch aligns a tensor of the host, for a processor's widest loads."""

_LARGEST = 2**30
"""Bytes of a piece that is for several tensors: torch makes it a second time to lock it."""

_FLOAT32 = 4


@dataclass(frozen=True)
class _Piece:
    """A power of two of bytes, and at which of them each of its tensors starts, by their places."""

    size: int
    starts: dict[int, int]


def shared_host_memory(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Memory of the host for each, of its shape and type, not yet written; see `host_memory`."""
    made: dict[int, Tensor] = {}
    for piece in _pieces(tensors):
        storage = host_memory((piece.size // _FLOAT32,), device).untyped_storage()
        for place, start in piece.starts.items():
            tensor = tensors[place]
            strides = torch.empty_like(tensor, device="meta").stride()
            # Not a view of the piece: to write one tensor is not to have written all.
            mine = torch.empty(0, dtype=tensor.dtype, device="cpu")
            made[place] = mine.set_(storage, start // tensor.itemsize, tensor.shape, strides)
    return [made[place] for place in range(len(tensors))]


def shared_host_bytes(tensors: Sequence[Tensor]) -> int:
    """What `shared_host_memory` takes for them; they may be on the meta device."""
    return sum(piece.size for piece in _pieces(tensors))


def _pieces(tensors: Sequence[Tensor]) -> list[_Piece]:
    sizes = [-(-max(1, t.numel() * t.itemsize) // _ALIGNED) * _ALIGNED for t in tensors]
    left = sorted(range(len(sizes)), key=lambda place: sizes[place], reverse=True)
    pieces = []
    while left:
        # What is left fills a piece of the power of two below it; one tensor may need that above.
        below = 1 << (sum(sizes[place] for place in left).bit_length() - 1)
        above = 1 << (sizes[left[0]] - 1).bit_length()
        piece, used = _Piece(max(above, min(below, _LARGEST)), {}), 0
        for place in left:
            if used + sizes[place] <= piece.size:
                piece.starts[place] = used
                used += sizes[place]
        left = [place for place in left if place not in piece.starts]
        pieces.append(piece)
    return pieces
