"""Files of weights that were published as pickles: found, fetched, and read as tensors alone."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from zoo.errors import TRY_TINY, first_line
from zoo.storage.hub import Request


def tensors_of(weights: str, name: str) -> dict[str, Any]:
    """What a file holds, or the file `name` of a folder or a repository of the hub; on the CPU.

    Raises:
        ValueError: there is none, or it holds more than tensors or cannot be read.
    """
    from huggingface_hub import hf_hub_download

    path = Path(weights)
    if os.path.isdir(path):
        path = path / name
        if not path.is_file():
            raise ValueError(f"the weights {weights!r} are a folder without {name}; name the file")
    try:
        file = path if path.is_file() else hf_hub_download(weights, name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the weights {weights!r} are no file here and cannot be had from the Hub: "
            f"{Request(weights).refusal(error) or first_line(error)}; name a file {name}, or a "
            f"repository that has it{TRY_TINY}"
        ) from error
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    # Where an archive breaks off decides which of them it is.
    except (UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        raise ValueError(
            f"the weights {weights!r} are no file of tensors that can be read: "
            f"{first_line(error)}; if they are not whole, fetch them again"
        ) from error
    if not isinstance(tensors, dict):
        raise ValueError(f"the weights {weights!r} hold a {type(tensors).__name__}, not tensors")
    return tensors
