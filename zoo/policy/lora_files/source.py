"""Where a LoRA is: the files of a folder here, or of a repository on the Hugging Face Hub.

Looked for, in this order: PEFT's two files in the folder itself, in `lora/` (where the published
codes save them in a `checkpoint-N`) and in `default/` (where PEFT puts an adapter of that name
beside others); then diffusers' one. Other adapters beside them, such as `old/`, are left.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import UserError, reason
from zoo.storage.hub import Request, raising

DIFFUSERS = "pytorch_lora_weights.safetensors"
PEFT, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"

_FOLDERS = ("", "lora/", "default/", "lora/default/")
_PICKLES = ("adapter_model.bin", "pytorch_lora_weights.bin")
_CANDIDATES = tuple(
    folder + name for folder in _FOLDERS for name in (PEFT_CONFIG, PEFT, DIFFUSERS, *_PICKLES)
)
_ON_THE_HUB = re.compile(
    r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(?P<inside>(/\w[\w.-]*)*)(@(?P<revision>[\w./-]+))?"
)


class LoraError(UserError, ValueError):
    """A LoRA that a run cannot start from; says which and why, in one line."""


@dataclass(frozen=True)
class Files:
    """The file of the weights, and PEFT's configuration of them, which diffusers' do without."""

    weights: Path
    config: Path | None


def is_local(source: str) -> bool:
    """Whether a source is a file or folder here."""
    return os.path.exists(source)


def require_hub_place(source: str) -> re.Match[str]:
    """The parts of a place on the Hub, of a source that is not here; asks nobody.

    Raises:
        LoraError: it is none.
    """
    found = _ON_THE_HUB.fullmatch(source)
    if found is None:
        raise LoraError(
            f"'{source}' is no file or folder here, and no OWNER/NAME on the Hub; name one"
        )
    return found


def find(source: str) -> Files:
    """The files of a LoRA; those on the Hub are fetched into its cache.

    `source` is a folder, a `.safetensors` file, or `OWNER/NAME`, `OWNER/NAME/FOLDER` or
    `OWNER/NAME/FILE.safetensors` on the Hub, each with an optional `@REVISION`.

    Raises:
        LoraError: there are none, or they cannot be had.
    """
    path = Path(source)
    if os.path.isfile(path):
        return _file(path.parent, path.name, source)
    if os.path.isdir(path):
        try:
            return _in_folder(path, source)
        except OSError as error:
            raise LoraError(f"'{source}' cannot be read: {reason(error)}") from error
    on_the_hub = require_hub_place(source)
    return _fetch(
        source, on_the_hub["repo"], on_the_hub["inside"].strip("/"), on_the_hub["revision"]
    )


def _in_folder(path: Path, source: str) -> Files:
    if (path / "recipe.json").is_file():
        raise LoraError(
            f"'{source}' is a run folder; write its weights first: "
            f"zoo export {source} --format peft --out DIR, and name DIR"
        )
    have = [name for name in _CANDIDATES if (path / name).is_file()]
    seen = sorted(each.name for each in path.iterdir())
    return _file(path, _chosen(have, seen, source), source)


def _file(folder: Path, name: str, source: str) -> Files:
    path = folder / name
    _require_safe(path.name, source)
    if path.name != PEFT:
        return Files(path, None)
    config = path.with_name(PEFT_CONFIG)
    if not config.is_file():
        raise LoraError(
            f"'{source}' has no {PEFT_CONFIG} beside its {PEFT}, and only that says its alpha; "
            "put it there"
        )
    return Files(path, config)


def _chosen(have: Collection[str], seen: Collection[str], source: str) -> str:
    """The weights among the candidates that a place has; `seen` are names to show."""
    for folder in _FOLDERS:
        for name in (PEFT, DIFFUSERS):
            if folder + name in have:
                return folder + name
        for name in _PICKLES:
            if folder + name in have:
                _require_safe(name, source)
    shown = ", ".join(list(seen)[:6]) or "nothing"
    raise LoraError(
        f"'{source}' has neither {PEFT} with {PEFT_CONFIG} (also in lora/ or default/) nor "
        f"{DIFFUSERS}; it has {shown}; name a .safetensors file of another name whole"
    )


def _require_safe(name: str, source: str) -> None:
    if not name.endswith(".safetensors"):
        raise LoraError(
            f"'{source}' is {name}, a pickle, which may run any code when it is loaded, and is "
            "not read: save it again with PEFT's save_pretrained, as .safetensors"
        )


def _fetch(source: str, repo: str, inside: str, revision: str | None) -> Files:
    from huggingface_hub import get_cached_repo_tree, snapshot_download

    def fetch(names: list[str], of: str | None) -> Path:
        return Path(snapshot_download(repo, revision=of, allow_patterns=names))

    def refuse(why: str) -> LoraError:
        return LoraError(f"'{source}' is no file or folder here and cannot be had: {why}")

    request = Request(repo, revision=revision)
    with raising(request, refuse):
        # With the card the list of all files comes, from the Hub or from the cache.
        commit = fetch(["README.md"], revision).name
        names = {entry.path for entry in get_cached_repo_tree(repo, revision=commit)}
    if inside in names:
        name = inside
    else:
        below = f"{inside}/" if inside else ""
        here = [each.removeprefix(below) for each in sorted(names) if each.startswith(below)]
        name = below + _chosen([each for each in _CANDIDATES if each in here], here, source)
    _require_safe(name, source)
    beside = str(Path(name).with_name(PEFT_CONFIG))
    with raising(request, refuse):
        folder = fetch([name, *([beside] if beside in names else [])], commit)
    return _file(folder, name, source)
