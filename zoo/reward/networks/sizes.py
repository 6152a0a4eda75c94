"""How large the networks of rewards are, before anything is loaded.

Where the files are here their headers say it, else what is known of a published model, else its
configuration.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from zoo.reward.base import NetworkBytes
from zoo.reward.networks.clip import OPENAI_CLIP_L, PICKSCORE
from zoo.storage.weight_files import num_elements, weight_files

_ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}
_TEXT = ("text_model.", "text_projection.")
"""What the names of a CLIP's text encoder begin with."""

_CLIP_H = (986_109_441, 354_032_640)
_CLIP_L = (427_616_513, 123_650_304)
_PUBLISHED: Mapping[str, tuple[int, int]] = {
    PICKSCORE: _CLIP_H,
    OPENAI_CLIP_L: _CLIP_L,
}
"""Parameters of published CLIPs, and those of their text encoders among them."""

PUBLISHED_CLIP_H = _CLIP_H[0]
"""Parameters of open_clip's ViT-H-14."""


def clip_bytes(options: Mapping[str, Any], *, texts: bool = True) -> NetworkBytes | None:
    """Of the CLIP that the options name; one that is asked for images alone has no text encoder."""
    return _placed(_clip_parameters(options["model"], texts=texts), options)


def pickled_bytes(options: Mapping[str, Any], name: str, published: int) -> NetworkBytes | None:
    """Of a network whose weights are the pickle `name`: one that is here, or the published one."""
    return _placed(_pickled_numbers(options["weights"], name, published), options)


def _clip_parameters(source: str, *, texts: bool) -> int | None:
    """Those of a CLIP of transformers, with its text encoder or without; None where not known."""
    if os.path.isdir(source):
        try:
            files = weight_files(Path(source))
            return num_elements(files, lambda name: texts or not name.startswith(_TEXT))
        except ValueError:
            return None
    if source in _PUBLISHED:
        whole, text = _PUBLISHED[source]
        return whole if texts else whole - text
    return _configured_clip(source, texts=texts)


def _configured_clip(source: str, *, texts: bool) -> int | None:
    from transformers import CLIPConfig, CLIPModel

    try:
        config = CLIPConfig.from_pretrained(source)
        with torch.device("meta"):
            named = list(CLIPModel(config).named_parameters())
    # It may be no CLIP, or not be had: who loads it says so.
    except Exception:
        return None
    return int(sum(p.numel() for name, p in named if texts or not name.startswith(_TEXT)))


def _pickled_numbers(source: str, name: str, published: int) -> int | None:
    """The numbers in a file of weights that was published as a pickle; of the hub's, as is known.

    `source` is the file, or a folder that has it by that name. Its pages are not read.
    """
    path = Path(source)
    file = path / name if os.path.isdir(path) else path
    if not os.path.isfile(file):
        return None if os.path.isdir(path) else published
    try:
        held: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        tensors = held.get("state_dict", held)
        return sum(value.numel() for value in tensors.values() if torch.is_tensor(value))
    # Of an older layout it cannot be mapped; who loads it says what else is wrong.
    except Exception:
        return None


def _placed(numbers: int | None, options: Mapping[str, Any]) -> NetworkBytes | None:
    """So many numbers of the option `dtype`, where `run_on` and `offload` say."""
    if numbers is None:
        return None
    size, run_on = numbers * _ITEM[options["dtype"]], options.get("run_on")
    if run_on is not None:
        return NetworkBytes(size, off="always") if run_on == "cpu" else NetworkBytes(0)
    return NetworkBytes(size, off="resting" if options.get("offload") else "never")
