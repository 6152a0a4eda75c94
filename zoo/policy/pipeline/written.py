"""A contract as JSON, exactly, and back: what is read is asked and calls as what was written."""

import base64
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from zoo.policy.pipeline.contract import Contract, Manner, Pass
from zoo.policy.pipeline.part import Part

FORMAT = 1
"""Of what is written; another one cannot be read. To be raised where a contract has other words."""

_CLASSES: Mapping[str, Any] = {cls.__name__: cls for cls in (Contract, Manner, Pass)}
_AS_NUMBERS = 16
"""Of a tensor with more numbers its bytes are written, in short."""


def to_json(contract: Contract) -> dict[str, Any]:
    """All of it; equal contracts are equal JSON."""
    return {"format": FORMAT, "contract": _written(contract)}


def from_json(data: Any) -> Contract:
    """What was written.

    Raises:
        ValueError: it is no contract of this format.
    """
    try:
        made = _read(data["contract"]) if data["format"] == FORMAT else None
    except Exception as error:  # Whatever is in the place of one.
        raise ValueError(f"no contract of format {FORMAT}: {error!r:.80}") from error
    if not isinstance(made, Contract):
        raise ValueError(f"no contract of format {FORMAT}")
    return made


def _written(value: Any) -> Any:
    if type(value).__name__ in _CLASSES:
        named = {field.name: _written(getattr(value, field.name)) for field in fields(value)}
        return {type(value).__name__: named}
    if isinstance(value, Part):
        return {"Part": {name: _written(each) for name, each in value.fields().items()}}
    if isinstance(value, Tensor):
        return {"tensor": _written_tensor(value.detach().cpu())}
    if isinstance(value, Mapping):
        return {"mapping": [[_written(key), _written(each)] for key, each in value.items()]}
    if isinstance(value, frozenset):
        return {"set": [_written(each) for each in sorted(value, key=repr)]}
    if isinstance(value, tuple):
        return {"tuple": [_written(each) for each in value]}
    return value


def _read(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    ((kind, inner),) = data.items()
    if kind in _CLASSES:
        return _CLASSES[kind](**{name: _read(each) for name, each in inner.items()})
    return _READ[kind](inner)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "Part": lambda inner: Part(**{name: _read(each) for name, each in inner.items()}),
    "tensor": lambda inner: _read_tensor(**inner),
    "mapping": lambda inner: {_read(key): _read(each) for key, each in inner},
    "set": lambda inner: frozenset(map(_read, inner)),
    "tuple": lambda inner: tuple(map(_read, inner)),
}


def _written_tensor(value: Tensor) -> dict[str, Any]:
    said = {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    if value.numel() <= _AS_NUMBERS:
        return {**said, "numbers": value.flatten().tolist()}
    flat = value.flatten()
    if value.dtype == torch.int64:  # Places are mostly one after another: their steps are few.
        flat = flat.diff(prepend=flat.new_zeros(1))
    packed = zlib.compress(flat.contiguous().view(torch.uint8).numpy().tobytes())
    return {**said, "zlib": base64.b64encode(packed).decode("ascii")}


def _read_tensor(dtype: str, shape: list[int], numbers: Any = None, zlib: str = "") -> Tensor:
    kind: torch.dtype = getattr(torch, dtype)
    if numbers is not None:
        return torch.tensor(numbers, dtype=kind).reshape(shape)
    flat = torch.frombuffer(bytearray(_unpacked(zlib)), dtype=kind)
    return (flat.cumsum(0) if kind == torch.int64 else flat).reshape(shape)


def _unpacked(packed: str) -> bytes:
    return zlib.decompress(base64.b64decode(packed, validate=True))
