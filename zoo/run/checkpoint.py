"""Checkpoints: named tensors and a JSON state; a kill at any instant leaves the last one whole.

`checkpoints/<epoch as 6 digits>/` of a run folder holds `tensors.safetensors` and `state.json`,
which is `{"format": 1, "epoch": ..., "state": {...}}`. Nothing is ever pickled. A folder by that
name is whole: it is made under a name that starts with a dot, flushed to disk and renamed, and is
renamed again before it is deleted.

JSON has no infinities and no NaN: they are stored as `{"__float__": "inf"}`, `"-inf"` or `"nan"`,
and come back as floats. So a state must not have a dictionary with the one key `__float__`.
"""

import json
import math
import os
import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from zoo.errors import UserError, join_lines
from zoo.storage.tensor_file import Sharded, TensorFile, write

FORMAT = 1
"""Of `state.json`; another one is refused."""

_FOLDER, _TENSORS, _STATE = "checkpoints", "tensors.safetensors", "state.json"
_FLOAT = "__float__"
_WHOLE = re.compile(r"(\d{6,})")
_TEMPORARY = re.compile(r"\.(?:new|old)-\d{6,}-(\d+)")
_REPLACED = re.compile(r"\.replaced-(\d{6,})")


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or a state that cannot be written."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds; a tensor is read, to the CPU, when it is asked for."""

    epoch: int
    tensors: TensorFile
    state: dict[str, Any]


def save(
    run_dir: Path,
    epoch: int,
    tensors: Mapping[str, Sharded],
    state: Mapping[str, Any],
    *,
    keep: int,
    best: int | None = None,
) -> Path:
    """Writes the checkpoint of an epoch and removes the oldest beyond the `keep` newest.

    That of the epoch `best` stays too, if there is one.

    A checkpoint of the same epoch is replaced. Tensors may be on any device, share memory or not be
    contiguous; tuples in the state come back as lists. A run folder has one writer at a time, and
    other processes that hold pieces of the tensors `tensor_file.take_part`.

    Returns:
        Its folder.

    Raises:
        CheckpointError: the state is not JSON, or `keep` is less than 1.
    """
    if keep < 1:
        raise CheckpointError(f"keep is {keep}; at least 1 checkpoint must be kept")
    text = _as_text(epoch, state)
    folder = run_dir / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _clean_up(folder)
    new = folder / f".new-{epoch:06}-{os.getpid()}"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir()
    write(new / _TENSORS, tensors)
    (new / _STATE).write_text(text, encoding="utf-8")
    for path in (new / _TENSORS, new / _STATE, new):
        _flush(path)
    final = folder / f"{epoch:06}"
    if final.exists():
        final.rename(
            folder / f".replaced-{epoch:06}"
        )  # whole: `latest` takes it while `final` is missing
    new.rename(final)
    _flush(folder)
    _flush(run_dir)
    _clean_up(folder)
    for old in [path for path in _whole(folder) if path != final][: 1 - keep or None]:
        if epoch_of(old) != best:
            _remove(old)
    return final


def latest(run_dir: Path) -> Path | None:
    """The folder of the whole checkpoint with the highest epoch, or None."""
    folder = run_dir / _FOLDER
    if not folder.is_dir():
        return None
    found = _whole(folder)
    return found[-1] if found else None


def epochs(run_dir: Path) -> list[int]:
    """Of the whole checkpoints, in order."""
    folder = run_dir / _FOLDER
    return [epoch_of(path) for path in _whole(folder)] if folder.is_dir() else []


def folder_of(run_dir: Path, epoch: int) -> Path:
    """Where an epoch's checkpoint is, if there is one."""
    return run_dir / _FOLDER / f"{epoch:06}"


def epoch_of(folder: Path) -> int:
    """The epoch of a checkpoint that `latest` found."""
    return int(folder.name.removeprefix(".replaced-"))


def load(folder: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        CheckpointError: it is missing, cut short, damaged or of another format.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    for name in (_TENSORS, _STATE):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing; use an earlier checkpoint")
    try:
        saved = json.loads((folder / _STATE).read_text(encoding="utf-8"), object_hook=_float_back)
    except ValueError as error:
        raise CheckpointError(
            f"{folder / _STATE} is damaged ({join_lines(error)}); use an earlier checkpoint"
        ) from error
    found = saved.get("format") if isinstance(saved, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{folder / _STATE} has format {found!r}; this version of zoo reads format {FORMAT}"
        )
    if type(saved.get("epoch")) is not int or not isinstance(saved.get("state"), dict):
        raise CheckpointError(
            f"{folder / _STATE} is damaged (no epoch or no state); use an earlier checkpoint"
        )
    try:
        tensors = TensorFile(folder / _TENSORS)
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise CheckpointError(
            f"{folder / _TENSORS} is damaged ({join_lines(error)}); use an earlier checkpoint"
        ) from error
    return Checkpoint(saved["epoch"], tensors, saved["state"])


def _as_text(epoch: int, state: Mapping[str, Any]) -> str:
    content = {"format": FORMAT, "epoch": epoch, "state": _json(state, "state")}
    return json.dumps(content, indent=1, allow_nan=False)


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


def _whole(folder: Path) -> list[Path]:
    """The whole checkpoints, by epoch; a replaced one counts where its successor is missing."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # a successor before what it replaces
        match = _WHOLE.fullmatch(path.name) or _REPLACED.fullmatch(path.name)
        if match and path.is_dir():
            found.setdefault(int(match[1]), path)
    return [found[epoch] for epoch in sorted(found)]


def _remove(path: Path) -> None:
    """Deletes a checkpoint, under another name so that half of one is never taken for whole."""
    retired = path.with_name(f".old-{path.name.removeprefix('.replaced-')}-{os.getpid()}")
    if retired.exists():
        shutil.rmtree(retired)
    path.rename(retired)
    shutil.rmtree(retired, ignore_errors=True)


def _clean_up(folder: Path) -> None:
    """Ends what was begun: a replacement is undone or completed, leftovers of dead writers go."""
    for path in list(folder.iterdir()):
        if match := _REPLACED.fullmatch(path.name):
            successor = folder / match[1]
            if successor.exists():
                _remove(path)
            else:
                path.rename(successor)
        elif match := _TEMPORARY.fullmatch(path.name):
            process = int(match[1])
            if process == os.getpid() or not _is_alive(process):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
