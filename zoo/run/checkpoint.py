"""Checkpoints: named tensors and a JSON state; a kill at any instant leaves the last one whole.

`checkpoints/<epoch as 6 digits>/` of a run folder holds `tensors.safetensors` and `state.json`
(see `checkpoint_state`). Nothing is ever pickled. A folder by that name is whole: it is made under
a name that starts with a dot, flushed to disk and renamed, and is renamed again before it is
deleted. One that is whole and still no model to go on with, since its weights or its images are not
finite, is unsound: `unsound.txt` in it says why, and `latest` passes over it.
"""

import os
import re
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import join_lines
from zoo.run import checkpoint_state
from zoo.run.checkpoint_state import CheckpointError, DamageError, StateFile
from zoo.storage.files import ReadError, flush, is_file, reading, write_text, writing
from zoo.storage.tensor_file import Sharded, TensorFile, Written, checksum, is_finite, write

__all__ = ["Checkpoint", "CheckpointError", "epochs", "latest", "load", "save"]

_FOLDER, _TENSORS, _STATE = "checkpoints", "tensors.safetensors", "state.json"
_UNSOUND = "unsound.txt"
_WHOLE = re.compile(r"(\d{6,})")
_TEMPORARY = re.compile(r"\.(?:new|old)-\d{6,}-\d+")
_REPLACED = re.compile(r"\.replaced-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds; a tensor is read, to the CPU, when it is asked for.

    One that is not as it was written is refused then, with a CheckpointError.
    """

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

    That of the epoch `best` stays too, if there is one; unsound ones do not count, and go.

    A checkpoint of the same epoch is replaced. Tensors may be on any device, share memory or not be
    contiguous; tuples in the state come back as lists. A run folder has one writer at a time, and
    other processes that hold pieces of the tensors `tensor_file.take_part`.

    Returns:
        Its folder.

    Raises:
        CheckpointError: the state is not JSON, or `keep` is less than 1.
        WriteError: the disk is full, say.
    """
    if keep < 1:
        raise CheckpointError(f"keep is {keep}; at least 1 checkpoint must be kept")
    content, folder = checkpoint_state.as_json(state), run_dir / _FOLDER
    final = folder / f"{epoch:06}"
    with writing(final):
        folder.mkdir(parents=True, exist_ok=True)
        clean_up(run_dir)
        new = folder / f".new-{epoch:06}-{os.getpid()}"
        try:
            _fill(new, epoch, tensors, content)
            if final.exists():
                # It is whole: `latest` takes it while `final` is missing.
                final.rename(folder / f".replaced-{epoch:06}")
            new.rename(final)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        flush(folder)
        flush(run_dir)
        clean_up(run_dir)
        _remove_oldest(final, keep, best)
    return final


def _fill(folder: Path, epoch: int, tensors: Mapping[str, Sharded], state: object) -> None:
    """Writes all files of a checkpoint, and waits until they are on the disk."""
    folder.mkdir()
    written = write(folder / _TENSORS, tensors)
    text = checkpoint_state.as_text(epoch, state, written)
    (folder / _STATE).write_text(text, encoding="utf-8")
    broken = _broken(written)
    if broken:
        (folder / _UNSOUND).write_text(broken, encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        flush(path)


def _broken(written: Mapping[str, Written]) -> str:
    """What is not finite, if anything is."""
    names = sorted(name for name, one in written.items() if not one.is_finite)
    more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
    return f"'{names[0]}'{more} {'are' if more else 'is'} not finite" if names else ""


def _remove_oldest(final: Path, keep: int, best: int | None) -> None:
    whole = _whole(final.parent)
    sound = [path for path in whole if why_unsound(path) is None and path != final]
    num_others = keep if why_unsound(final) else keep - 1
    kept = {final, *sound[len(sound) - min(num_others, len(sound)) :]}
    for path in whole:
        if path not in kept and epoch_of(path) != best:
            _remove(path)


def mark_unsound(run_dir: Path, epoch: int, why: str) -> None:
    """From now on `latest` passes over the checkpoint of an epoch, if there is one."""
    folder = folder_of(run_dir, epoch)
    if folder.is_dir():
        write_text(folder / _UNSOUND, why)


def why_unsound(folder: Path) -> str | None:
    """Why a checkpoint is passed over, if it is."""
    path = folder / _UNSOUND
    with reading(path):
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def latest(run_dir: Path) -> Path | None:
    """The folder of the sound checkpoint with the highest epoch, or None."""
    sound = [path for path in _whole(run_dir / _FOLDER) if why_unsound(path) is None]
    return sound[-1] if sound else None


def passed_over(run_dir: Path) -> list[str]:
    """A line for each unsound checkpoint that `latest` would otherwise be."""
    newest = latest(run_dir)
    first = -1 if newest is None else epoch_of(newest)
    return [
        f"{path} is passed over: {why_unsound(path)}"
        for path in _whole(run_dir / _FOLDER)
        if epoch_of(path) > first
    ]


def epochs(run_dir: Path) -> list[int]:
    """Of the whole checkpoints, in order."""
    return [epoch_of(path) for path in _whole(run_dir / _FOLDER)]


def folder_of(run_dir: Path, epoch: int) -> Path:
    """Where an epoch's checkpoint is, if there is one."""
    return run_dir / _FOLDER / f"{epoch:06}"


def run_of(folder: Path) -> Path:
    """The run's folder that a checkpoint's folder is in."""
    return folder.parents[1]


def epoch_of(folder: Path) -> int:
    """The epoch of a checkpoint, by its folder's name."""
    return int(folder.name.removeprefix(".replaced-"))


def load(folder: Path, validate: Callable[[Any], object] = dict) -> Checkpoint:
    """Reads a checkpoint; `validate`, of a pydantic TypeAdapter, refuses a state.

    Raises:
        CheckpointError: it is missing, cut short, damaged, of another format, or of another epoch
            or other tensors than its state says; names what is wrong, and the one before it.
        ReadError: nobody may read it here, say.
    """
    try:
        return _load(folder, validate)
    except DamageError as error:
        raise refusal(folder, str(error)) from error


def refusal(folder: Path, why: str) -> CheckpointError:
    """Of a checkpoint that cannot be used; says which one before it can."""
    return CheckpointError(f"{why}; use an earlier checkpoint: {_earlier(folder)}")


def _earlier(folder: Path) -> str:
    for path in reversed(_whole(folder.parent)):
        if epoch_of(path) < epoch_of(folder) and why_unsound(path) is None and _is_usable(path):
            return f"{path} is whole (delete {folder}, and --resume takes it)"
    return "there is none that is whole"


def _is_usable(folder: Path) -> bool:
    """Whether all of a checkpoint is as it was written, and finite; reads it."""
    try:
        found = _load(folder, dict)
        return all(is_finite(found.tensors[name]) for name in found.tensors)
    except (DamageError, CheckpointError, ReadError):
        return False


def _load(folder: Path, validate: Callable[[Any], object]) -> Checkpoint:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    for name in (_TENSORS, _STATE):
        _require_file(folder, name)
    state = checkpoint_state.read(folder / _STATE, validate)
    if state.epoch != epoch_of(folder):
        raise DamageError(
            f"{folder / _STATE} is of another checkpoint (epoch: {state.epoch}, in the folder of "
            f"epoch {epoch_of(folder)})"
        )
    try:
        tensors = _Tensors(folder, state)
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise DamageError(f"{folder / _TENSORS} is damaged ({join_lines(error)})") from error
    return Checkpoint(state.epoch, tensors, state.state)


def _require_file(folder: Path, name: str) -> None:
    """Tells a file that may not be read from one that is damaged, which safetensors does not."""
    path = folder / name
    if not is_file(path):
        raise DamageError(f"{folder}: {name} is missing")
    with reading(path):
        path.open("rb").close()


class _Tensors(TensorFile):
    """Those of a checkpoint, each compared with what its state says of it."""

    def __init__(self, folder: Path, state: StateFile) -> None:
        """Reads the header.

        Raises:
            DamageError: the file has other tensors than the state says.
        """
        super().__init__(folder / _TENSORS)
        self._folder, self._wanted = folder, state.tensors or {}
        # Earlier versions wrote nothing of them.
        for name in sorted(self._wanted.keys() | set(self)) if state.tensors is not None else ():
            there = self._shown(self.dtype(name), self.shape(name)) if name in self else "missing"
            said = self._wanted.get(name)
            wanted = self._shown(said.dtype, tuple(said.shape)) if said else "not one of its own"
            if there != wanted:
                raise DamageError(
                    f"{folder / _TENSORS} is not what was saved ('{name}' is {there}, and in "
                    f"{_STATE} {wanted})"
                )

    @staticmethod
    def _shown(dtype: str, shape: tuple[int, ...]) -> str:
        return f"{dtype} {list(shape)}"

    def __getitem__(self, name: str) -> Tensor:
        tensor = super().__getitem__(name)
        if name in self._wanted and checksum(tensor) != self._wanted[name].checksum:
            why = f"{self._folder / _TENSORS} is damaged ('{name}' has another checksum)"
            raise refusal(self._folder, why)
        return tensor


def _whole(folder: Path) -> list[Path]:
    """The whole checkpoints, by epoch; a replaced one counts where its successor is missing."""
    found: dict[int, Path] = {}
    with reading(folder):
        inside = list(folder.iterdir()) if folder.is_dir() else []
    # A successor before what it replaces.
    for path in sorted(inside, reverse=True):
        if (_WHOLE.fullmatch(path.name) or _REPLACED.fullmatch(path.name)) and path.is_dir():
            found.setdefault(epoch_of(path), path)
    return [found[epoch] for epoch in sorted(found)]


def _remove(path: Path) -> None:
    """Deletes a checkpoint, under another name so that half of one is never taken for whole."""
    retired = path.with_name(f".old-{path.name.removeprefix('.replaced-')}-{os.getpid()}")
    if retired.exists():
        shutil.rmtree(retired)
    path.rename(retired)
    shutil.rmtree(retired, ignore_errors=True)


def clean_up(run_dir: Path) -> None:
    """Ends what a killed writer began: its replacement is undone or completed, its leftovers go."""
    folder = run_dir / _FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := _REPLACED.fullmatch(path.name):
            successor = folder / match[1]
            if successor.exists():
                _remove(path)
            else:
                path.rename(successor)
        elif _TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
