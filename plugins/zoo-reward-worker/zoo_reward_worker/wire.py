"""Messages as bytes: a JSON header, then the arrays' own bytes. Nothing is ever unpickled.

    4 bytes "ZOOR"; 4 bytes, little-endian: the header's length; the header; the arrays.

The header is a JSON object; its key `arrays` lists name, dtype and shape of each array in order.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Union

import numpy as np

_MAGIC = b"ZOOR"
_START = struct.Struct("<4sI")
_DTYPES = ("uint8", "float32", "float64")


Buffer = Union[bytes, bytearray]


class WireError(ValueError):
    """The bytes are not a message."""


@dataclass(frozen=True)
class Message:
    """What is said, as JSON can hold it, and arrays of uint8, float32 or float64 by name."""

    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """A message as bytes.

    Raises:
        WireError: an array has another dtype, or the header holds what JSON cannot.
    """
    listed, parts = [], []
    for name, array in message.arrays.items():
        if str(array.dtype) not in _DTYPES:
            raise WireError(
                f"the array '{name}' is of {array.dtype}; allowed: {', '.join(_DTYPES)}"
            )
        listed.append([name, str(array.dtype), list(array.shape)])
        parts.append(np.ascontiguousarray(array).data)
    try:
        header = json.dumps({**message.header, "arrays": listed}).encode()
    except (TypeError, ValueError) as error:
        raise WireError(f"a message holds what JSON cannot: {error}") from None
    return b"".join([_START.pack(_MAGIC, len(header)), header, *parts])


def decode(data: Buffer) -> Message:
    """The message in these bytes; its arrays are views into them, read-only where they are.

    Raises:
        WireError: they are not a whole message, or hold anything else.
    """
    if len(data) < _START.size:
        raise WireError(f"{len(data)} bytes are too few for a message")
    magic, length = _START.unpack_from(data)
    if magic != _MAGIC:
        raise WireError(f"a message begins with {_MAGIC!r}, not {magic!r}")
    end = _START.size + length
    try:
        header = json.loads(data[_START.size : end])
        listed = [(name, dtype, tuple(shape)) for name, dtype, shape in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"a message's header cannot be read: {error}") from None
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape in listed:
        if not isinstance(name, str) or name in arrays:
            raise WireError(f"an array's name must be a text of its own, not {str(name)[:60]!r}")
        arrays[name] = _array(data, end, dtype, shape)
        end += arrays[name].nbytes
    if end != len(data):
        raise WireError(f"a message is {end} bytes long by its header and has {len(data)}")
    return Message(header, arrays)


def _array(data: Buffer, offset: int, dtype: Any, shape: tuple[Any, ...]) -> np.ndarray:
    sizes = all(type(size) is int and size >= 0 for size in shape)
    if dtype not in _DTYPES or not sizes:
        raise WireError(f"a message has an array of {str(dtype)[:60]} and shape {_shown(shape)}")
    # Python's integers cannot overflow, as NumPy's would for a shape made up to do so.
    count = prod(shape)
    if offset + count * np.dtype(dtype).itemsize > len(data):
        raise WireError(f"a message ends within an array of shape {_shown(shape)}")
    try:
        return np.frombuffer(data, dtype, count, offset).reshape(shape)
    # With a size of 0 others may be beyond what NumPy counts, and there may be too many.
    except ValueError as error:
        raise WireError(f"a message has an array of shape {_shown(shape)}: {error}") from None


def _shown(shape: tuple[Any, ...]) -> str:
    text = str(list(shape))
    return text if len(text) <= 60 else f"{text[:57]}..."
