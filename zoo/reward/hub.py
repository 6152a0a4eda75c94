"""Files of published weights, here or on the hub, and one line about what is wrong with them."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor


def file(option: str, source: str, name: str, *, fix: str) -> Path:
    """`source` where it is a file, else the file `name` in that folder or repository of the hub.

    `option` is what the recipe calls it; `fix` ends the message if it cannot be had.

    Raises:
        ValueError: there is no such file, or the hub does not give it.
    """
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        if (path / name).is_file():
            return path / name
        raise ValueError(f"the {option} {source!r} is a folder without {name}; {fix}")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source, name))
    except (OSError, ValueError) as error:
        raise refusal(option, source, error, fix=fix) from error


def tensors(option: str, source: str, path: Path) -> dict[str, Any]:
    """A dictionary that torch.save wrote, on the CPU; anything else than tensors is not unpickled.

    Raises:
        ValueError: it is not one, or broken off.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"the {option} {source!r} are no file of tensors that can be read: {line(error)}; "
            "if it was not downloaded whole, delete it and try again"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"the {option} {source!r} hold a {type(found).__name__}, not tensors")
    return found


def only_tensors(option: str, source: str, found: object) -> dict[str, Tensor]:
    """A state dict, if it is one.

    Raises:
        ValueError: it is not.
    """
    if isinstance(found, dict) and all(isinstance(v, Tensor) for v in found.values()):
        return found
    raise ValueError(f"the {option} {source!r} hold no tensors by name")


def refusal(option: str, source: str, error: Exception, *, fix: str) -> ValueError:
    """Why something cannot be had, in a line."""
    return ValueError(f"the {option} {source!r} cannot be had: {_why(source, error)}; {fix}")


def line(error: BaseException) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _why(source: str, error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    # transformers wraps them; the gated error is a kind of the one about repositories.
    reasons: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
        (
            (GatedRepoError,),
            f"it is gated on the hub: accept its terms at https://huggingface.co/{source} "
            "and run `hf auth login`",
        ),
        (
            (LocalEntryNotFoundError, OfflineModeIsEnabled),
            "it is not on this machine and the hub cannot be reached",
        ),
        ((RemoteEntryNotFoundError,), "the repository of the hub has no such file"),
        (
            (HFValidationError, RepositoryNotFoundError),
            "it is neither here nor on the hub (a private one needs `hf auth login`)",
        ),
    )
    cause: BaseException | None = error
    while cause is not None:
        for kinds, why in reasons:
            if isinstance(cause, kinds):
                return why
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {line(error)}"
