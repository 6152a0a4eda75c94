"""The parts of a published model by their files: whether they are there, and how large they are.

No weights are read: files are looked for, and their headers are read.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from zoo.errors import join_lines
from zoo.policy.pretrained import Pretrained
from zoo.storage.weight_files import num_elements, weight_files

_FIX = "fetch it again, or name another with policy.pretrained and policy.variant"
_OR = "; where the pipeline can do without it, say so with policy.without"


def require_files(files: Pretrained, *, without: Collection[str]) -> None:
    """Looks for the files of a model in a folder here; what a hub id names is fetched later.

    One part at least must have the variant: of a pipeline diffusers takes a part that has none of
    it as it is.

    Raises:
        ValueError: one is missing, or cut short; with its name.
    """
    if not is_here(files):
        if os.path.isabs(files.source) or files.source.startswith(".") or "/" not in files.source:
            raise ValueError(
                f"the model '{files.source}' is no folder here; name one in diffusers' layout, a "
                "hub id (OWNER/NAME) or a .safetensors file"
            )
        return
    if files.variant is not None and not list(Path(files.source).glob(f"*/*.{files.variant}*")):
        raise ValueError(
            f"the model '{files.source}' has no file of the variant '{files.variant}'; {_FIX}"
        )
    for part, named in files.index().items():
        if part in without or not is_part(named):
            continue
        if not (Path(files.source) / part).is_dir():
            raise ValueError(f"the model '{files.source}' has no folder '{part}'; {_FIX}{_OR}")
        if (Path(files.source) / part / "config.json").is_file():
            try:
                _weight_files(files, part)
            except ValueError as error:
                raise ValueError(f"the model '{files.source}': {error}; {_FIX}") from error


def is_part(named: Any) -> bool:
    """Whether a pipeline's index names a library and a class: a part that is there."""
    is_pair = isinstance(named, list) and len(named) == 2
    return is_pair and all(isinstance(each, str) for each in named)


def is_here(files: Pretrained) -> bool:
    """Whether the parts are in a folder of this machine."""
    return os.path.isdir(files.source)


def num_numbers(files: Pretrained, part: str) -> int:
    """How many a part of transformers has: by its files, or where they are not here by its config.

    Raises:
        ValueError: there is no such part, or it cannot be had.
    """
    if is_here(files):
        found = num_elements(_weight_files(files, part))
        if found is not None:
            return found
    import transformers

    name = files.index()[part][1]
    try:
        cls: Any = getattr(transformers, name)
        config = cls.config_class.from_pretrained(
            files.source, subfolder=part, revision=files.revision
        )
        with torch.device("meta"):
            return sum(p.numel() for p in cls(config).parameters())
    except Exception as error:
        raise ValueError(
            f"the model '{files.source}' has no usable '{part}': {join_lines(error)[:200]}"
        ) from error


def _weight_files(files: Pretrained, part: str) -> list[Path]:
    folder, variant = Path(files.source) / part, files.variant
    has_it = any(f".{variant}" in path.name for path in folder.glob("*"))
    return weight_files(folder, variant if has_it else None)
