"""The `state.json` of a checkpoint: written strictly, and validated when it is read.

It is `{"format": 1, "epoch": ..., "state": {...}, "tensors": {...}, "checksum": ...}`: `tensors`
has the type, the shape and the checksum of everything in the file beside it, and `checksum` is of
all the rest; earlier versions wrote neither.

JSON has no infinities and no NaN: they are stored as `{"__float__": "inf"}`, `"-inf"` or `"nan"`,
and come back as floats. So a state must not have a dictionary with the one key `__float__`.
"""

import json
import math
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, ValidationError

from zoo.errors import UserError, join_lines
from zoo.storage.json_data import explain
from zoo.storage.tensor_file import Written

FORMAT = 1
"""Another one is refused."""

_FLOAT = "__float__"


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or a state that cannot be written."""


class DamageError(Exception):
    """What is wrong with a checkpoint, and in which of its files, in a line."""


class TensorEntry(BaseModel):
    """What is known of a tensor that belongs to the state."""

    model_config = ConfigDict(strict=True, frozen=True)

    dtype: str
    shape: list[Annotated[int, Ge(0)]]
    checksum: str


class StateFile(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(strict=True, frozen=True)

    epoch: Annotated[int, Ge(0)]
    state: dict[str, Any]
    tensors: dict[str, TensorEntry] | None = None
    checksum: str | None = None


def as_json(state: Mapping[str, Any]) -> object:
    """The state as strict JSON.

    Raises:
        CheckpointError: it holds something else; names it.
    """
    return _json(state, "state")


def as_text(epoch: int, state: object, written: Mapping[str, Written]) -> str:
    """The file of a state `as_json` gave, and of the tensors that were written beside it."""
    tensors = {
        name: {"dtype": one.dtype, "shape": list(one.shape), "checksum": one.checksum}
        for name, one in written.items()
    }
    content = {"format": FORMAT, "epoch": epoch, "state": state, "tensors": tensors}
    return json.dumps({**content, "checksum": _checksum(content)}, indent=1, allow_nan=False)


def read(path: Path, validate: Callable[[Any], object]) -> StateFile:
    """The file; `validate`, of a pydantic TypeAdapter, refuses a state.

    Raises:
        DamageError: it is not what was written; names the key.
        CheckpointError: it is of another format.
    """
    try:
        text = path.read_text(encoding="utf-8")
        written, found = json.loads(text), json.loads(text, object_hook=_float_back)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{path} is damaged ({join_lines(error)})") from error
    form = found.get("format") if isinstance(found, dict) else None
    if type(form) is not int:
        raise DamageError(f"{path} is damaged (it says no format)")
    if form != FORMAT:
        raise CheckpointError(
            f"{path} has format {form!r}; this version of zoo reads format {FORMAT}"
        )
    try:
        file = StateFile.model_validate(found)
        validate(file.state)
    except ValidationError as error:
        raise DamageError(f"{path} is damaged ({explain(error)})") from error
    content = {key: value for key, value in written.items() if key != "checksum"}
    if file.checksum not in (None, _checksum(content)):
        raise DamageError(f"{path} is damaged (its checksum is of something else)")
    return file


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x}"


def _json(value: object, where: str) -> object:
    """The value as strict JSON; `where` names it in an error."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            # repr: "inf", "-inf" or "nan".
            return value if math.isfinite(value) else {_FLOAT: repr(float(value))}
        case list() | tuple():
            return [_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str) or key == _FLOAT:
                    raise CheckpointError(
                        f"{where} has the key {key!r}; keys are strings other than {_FLOAT!r}"
                    )
            return {key: _json(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise CheckpointError(
        f"{where} is of type {type(value).__name__}; a state holds only None, bool, int, float, "
        "str, lists and mappings: put tensors among the tensors"
    )


def _float_back(found: dict[str, Any]) -> object:
    return float(found[_FLOAT]) if found.keys() == {_FLOAT} else found
