"""The files of weights of a model in a folder, as diffusers and transformers name them."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter
from safetensors import SafetensorError

from zoo.errors import first_line
from zoo.storage import json_data
from zoo.storage.tensor_file import TensorFile

_STEMS = (
    "diffusion_pytorch_model.safetensors", "model.safetensors",
    "diffusion_pytorch_model.bin", "pytorch_model.bin",
)  # fmt: skip


class _Index(BaseModel):
    """Where the tensors of a model in several files are."""

    weight_map: dict[str, str]


def weight_files(folder: Path, variant: str | None = None) -> list[Path]:
    """A folder's file of weights of a variant, or the files that its index names.

    Raises:
        ValueError: there is none, or one of those that the index names is missing or cut short.
    """
    for name in _STEMS:
        whole, index = _named(folder, name, variant), _index(folder, name, variant)
        if not whole.is_file() and index is None:
            continue
        found = [whole] if index is None or whole.is_file() else _indexed(index)
        for file in found:
            if file.suffix == ".safetensors":
                _header(file)
        return found
    of_variant = "" if variant is None else f" of the variant '{variant}'"
    kinds = (".safetensors", ".bin")
    others = sorted(path.name for path in folder.glob("*") if path.suffix in kinds)
    there = f"; it has {', '.join(others[:3])}" if others else ""
    raise ValueError(f"{folder} has no file of weights{of_variant}{there}")


def num_elements(
    files: Sequence[Path], counts: Callable[[str], bool] = lambda name: True
) -> int | None:
    """How many numbers they hold, of the tensors whose names count; None of pickles.

    Raises:
        ValueError: a file is cut short.
    """
    if any(file.suffix != ".safetensors" for file in files):
        return None
    return sum(
        math.prod(header.shape(name))
        for header in map(_header, files)
        for name in header
        if counts(name)
    )


def _named(folder: Path, name: str, variant: str | None) -> Path:
    if variant is None:
        return folder / name
    stem, _, ending = name.rpartition(".")
    return folder / f"{stem}.{variant}.{ending}"


def _index(folder: Path, name: str, variant: str | None) -> Path | None:
    """The index of weights in several files; diffusers has named those of a variant in two ways."""
    names = [_named(folder, f"{name}.index.json", variant)]
    if variant is not None:
        names.append(folder / f"{_named(folder, name, variant).name}.index.json")
    return next((path for path in names if path.is_file()), None)


def _indexed(index: Path) -> list[Path]:
    read = json_data.read(index, TypeAdapter(_Index).validate_json, fix="fetch the model again")
    files = [index.parent / name for name in sorted(set(read.weight_map.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ValueError(
            f"{index.parent} lacks {missing[0]}, of {len(files)} files of weights that "
            f"{index.name} names ({len(missing)} missing)"
        )
    return files


def _header(file: Path) -> TensorFile:
    try:
        return TensorFile(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is damaged or cut short: {first_line(error)}") from error
