"""Safetensors files of any size, written and read one tensor at a time."""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor


@dataclass(frozen=True)
class Sharded:
    """What every process knows of a tensor, and how all of them together make it whole."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    whole: Callable[[], Tensor]
    """The tensor on any device; called by every process, in the same order."""


def local(tensor: Tensor) -> Sharded:
    """A tensor that this process has whole."""
    return Sharded(tuple(tensor.shape), tensor.dtype, tensor.detach)


@dataclass(frozen=True)
class Written:
    """A tensor in a file: its type as safetensors calls it, its shape, the checksum of its bytes.

    `is_finite` says whether all of it is.
    """

    dtype: str
    shape: tuple[int, ...]
    checksum: str
    is_finite: bool


def checksum(tensor: Tensor) -> str:
    """CRC-32 of a tensor's bytes on the CPU, as 8 hex digits: it is damage that it finds."""
    return f"{zlib.crc32(_bytes(tensor)):08x}"


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity; takes no memory of its size."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(map(math.isfinite, (float(end) for end in tensor.aminmax())))


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write(path: Path, tensors: Mapping[str, Sharded]) -> dict[str, Written]:
    """Writes them all, with no more than one made whole at any time; says what it wrote.

    Other processes meanwhile `take_part` with the same tensors.
    """
    order = _order(tensors)
    header, end = {}, 0
    for name in order:
        tensor = tensors[name]
        start, end = end, end + math.prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # Keeps the data aligned.
    written = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            whole = tensors[name].whole().detach().to("cpu").contiguous()
            if whole.dtype != tensors[name].dtype or tuple(whole.shape) != tensors[name].shape:
                raise ValueError(
                    f"'{name}' is {whole.dtype} {list(whole.shape)}, not {tensors[name].dtype} "
                    f"{list(tensors[name].shape)} as announced"
                )
            file.write(_bytes(whole))
            kind, shape = _TYPES[whole.dtype], tensors[name].shape
            written[name] = Written(kind, shape, checksum(whole), is_finite(whole))
    return written


def dtype_name(dtype: torch.dtype) -> str:
    """What safetensors calls a type."""
    return _TYPES[dtype]


def take_part(tensors: Mapping[str, Sharded]) -> None:
    """What every process but the writing one does: gives its pieces of each."""
    for name in _order(tensors):
        tensors[name].whole()


class TensorFile:
    """The tensors of a file by name, each read from disk when it is asked for, to the CPU."""

    def __init__(self, path: Path) -> None:
        """Reads the header.

        Raises:
            SafetensorError: the file is damaged or cut short.
            OSError: it cannot be read.
        """
        # Of a file that may not be read safetensors says that it is not there.
        path.open("rb").close()
        opened: Any = safe_open
        self._file = opened(path, framework="pt")
        self._names: frozenset[str] = frozenset(self._file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def keys(self) -> list[str]:
        """The names, in order."""
        return sorted(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return tuple(self._file.get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """A tensor's type as safetensors calls it, without reading it."""
        kind: str = self._file.get_slice(name).get_dtype()
        return kind

    def is_float(self, name: str) -> bool:
        """Whether a tensor is of floating-point numbers, without reading it."""
        return self.dtype(name) in ("F64", "F32", "F16", "BF16")

    @property
    def metadata(self) -> dict[str, str]:
        """What the header says besides, such as who wrote the file."""
        return dict(self._file.metadata() or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._names)


def _order(tensors: Mapping[str, Sharded]) -> list[str]:
    """Wide types first: a reader that maps the file needs each at a multiple of its width."""
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
