"""Published models: found, checked and loaded with the precision that training needs."""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from zoo.errors import TRY_TINY, UserError, join_lines, one_line
from zoo.policy.half_network import made_in, narrowed
from zoo.policy.weights import Lora
from zoo.storage.hub import Request
from zoo.storage.tensor_file import TensorFile

Dtype = Literal["float32", "bfloat16", "float16"]

Types = torch.dtype | Mapping[str, torch.dtype]
"""Of a pipeline's parts: one of all, or of each by its name, `default` for those not named."""


@dataclass(frozen=True)
class Precision:
    """The type that a policy computes in, and that of its network's weights.

    These are float32 where they are trained themselves: bfloat16 cannot hold an update's steps.
    """

    computing: torch.dtype
    weights: torch.dtype
    wide: Collection[str] = ()
    """The names of further parts that are float32."""

    @classmethod
    def of(cls, dtype: Dtype, lora: Lora | None, wide: Collection[str] = ()) -> "Precision":
        """As a recipe names it; adapters are float32 over either."""
        named: torch.dtype = getattr(torch, dtype)
        return cls(named, torch.float32 if lora is None else named, wide)

    def part(self, name: str, *, is_network: bool) -> torch.dtype:
        """The type of a part of a pipeline."""
        if name in self.wide:
            return torch.float32
        return self.weights if is_network else self.computing

    @property
    def casts(self) -> torch.dtype | None:
        """The type that weights are cast to as they are read, where it is not their own."""
        return None if self.computing == self.weights else self.computing


_INDEX = "model_index.json"
"""The file of a pipeline that names its parts."""
_OF_BLOCKS = "modular_model_index.json"
"""That of a model that is published for pipelines made of blocks alone."""


@dataclass(frozen=True)
class Pretrained:
    """`source` is a folder, or a hub id whose `revision` is a branch, a tag or a commit.

    Files of weights are those of a `variant`, fp16, say. The network may be in a `file` of its own,
    as published.
    """

    source: str
    revision: str | None = None
    variant: str | None = None
    file: str | None = None

    @classmethod
    def of(
        cls, named: str, revision: str | None, variant: str | None, parts: str | None
    ) -> "Pretrained":
        """A folder, a hub id, or a single `.safetensors` file whose pipeline's parts are `parts`.

        Raises:
            ValueError: there is no such file, it cannot be read, or there are parts without one.
        """
        if not named.endswith(".safetensors"):
            if parts is not None:
                raise ValueError(
                    f"parts are of a model in a single .safetensors file, and pretrained is "
                    f"'{named}'; leave parts out"
                )
            return cls(named, revision, variant)
        if not Path(named).is_file():
            raise ValueError(
                f"the model '{named}' is no file here; name one, or a folder in diffusers' layout "
                "or a hub id"
            )
        return cls(parts or _pipeline_of(named), revision, variant, named)

    def index(self) -> Mapping[str, Any]:
        """What `model_index.json` says: the pipeline's class, and the class of every part.

        A model for pipelines made of blocks has another file, which says where parts are as well.

        Raises:
            ValueError: there is no such model, or it cannot be had; with the fix.
        """
        try:
            named = dict(json.loads(self._index_file().read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise self._refusal(_INDEX, error) from error
        return {key: of[:2] if _is_spec(of) else of for key, of in named.items()}

    def fingerprints(self) -> dict[str, str]:
        """Of each part that is here, by its folder: 16 hex digits, the same wherever it lies.

        Of its configuration, and of its files of weights the sizes, the headers and samples.

        Raises:
            ValueError: there is no such model, or it cannot be had.
        """
        self.index()
        try:
            parts = sorted(path for path in self._index_file().parent.iterdir() if path.is_dir())
            found = {part.name: fingerprint(part) for part in parts}
        except OSError as error:
            raise self._refusal("model_index.json", error) from error
        return {name: digest for name, digest in found.items() if digest is not None}

    def config(self, cls: Any, part: str) -> dict[str, Any]:
        """The configuration of a part."""
        try:
            return dict(cls.load_config(self.source, subfolder=part, revision=self.revision))
        except (OSError, ValueError) as error:
            raise self._refusal(part, error) from error

    def load(self, cls: Any, part: str) -> Any:
        """A part without weights: a tokenizer, a scheduler, a configuration.

        Raises:
            ValueError: it is missing, broken, of another architecture, or cannot be had.
        """
        try:
            return cls.from_pretrained(self.source, subfolder=part, revision=self.revision)
        except Exception as error:
            raise self._refusal(part, error) from error

    def pipeline(self, cls: Any, types: Types, given: Mapping[str, Any]) -> Any:
        """A whole pipeline with its weights on the CPU, but for the parts that are given.

        Raises:
            ValueError: it is missing, broken, or cannot be had.
        """
        try:
            return cls.from_pretrained(
                self.source, revision=self.revision, variant=self.variant, dtype=types, **given
            )
        except Exception as error:
            raise self._refusal(_INDEX, error) from error

    def network_in_file(self, cls: Any, part: str, dtype: torch.dtype) -> Any:
        """The network from its own file, whose published names diffusers knows.

        Raises:
            ValueError: it cannot be read, or is of another network.
        """
        try:
            network = cls.from_single_file(
                self.file,
                config=self.source,
                config_revision=self.revision,
                subfolder=part,
                dtype=dtype,
            )
        except Exception as error:
            raise self._file_refusal(one_line(error)) from error
        missing = sorted(name for name, tensor in network.state_dict().items() if tensor.is_meta)
        if missing:
            raise self._file_refusal(f"it lacks '{missing[0]}'")
        return network

    def copy_parts(self, folder: Path, *, network: str, without: Collection[str]) -> None:
        """Puts the pipeline's index and parts into a folder, as links where the disk is the same.

        The `network` is in the index alone, and what it is `without` not even there.

        Raises:
            OSError: they cannot be read or written.
            UserError: the index says where each part is, and another network would not be read.
        """
        index, base = dict(self.index()), self._index_file().parent
        if self._index_file().name == _OF_BLOCKS:
            raise UserError(
                f"the model '{self.source}' is published for pipelines made of blocks, of which "
                "zoo exports LoRAs alone; train with lora"
            )
        for name, named in index.items():
            if not isinstance(named, list) or name == network:
                continue
            if name in without:
                index[name] = [None, None]
                continue
            for file in sorted((base / name).rglob("*")):
                if file.is_file():
                    _link(file.resolve(), folder / file.relative_to(base))
        (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def empty(self, cls: Any, part: str, dtype: torch.dtype) -> Any:
        """A part of that architecture on the meta device: shapes and no weights."""
        config = self.config(cls, part)
        # Not in float32 first, which would be twice as much for a moment, as it is not when loaded.
        with torch.device("meta"), made_in(dtype):
            made = cls.from_config(config)
        cast = narrowed(made)
        for name, value in chain(made.named_parameters(), made.named_buffers()):
            if name in cast or value.dtype == dtype:
                value.data = value.data.to(dtype if name in cast else torch.float32)
        return made

    def _index_file(self) -> Path:
        folder = Path(self.source)
        if os.path.isdir(folder):
            other = folder / _OF_BLOCKS
            return other if other.is_file() and not (folder / _INDEX).is_file() else folder / _INDEX
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(self.source, _INDEX, revision=self.revision))
        except LocalEntryNotFoundError:  # The Hub was not asked.
            raise
        except EntryNotFoundError:
            return Path(hf_hub_download(self.source, _OF_BLOCKS, revision=self.revision))

    def _refusal(self, part: str, error: Exception) -> ValueError:
        # A folder has no reason but its own files.
        local = os.path.isdir(self.source)
        if local and part == _INDEX and os.path.isfile(Path(self.source) / "config.json"):
            return ValueError(
                f"the model '{self.source}' is a network alone, without its pipeline's other "
                "parts; if a run was exported there, do it again: zoo export RUN_DIR --out DIR"
            )
        why = None if local else Request(self.source, revision=self.revision).refusal(error)
        if why is None:
            name, text = type(error).__name__, join_lines(error)[:200]
            why = f"has no usable '{part}': {name}: {text}"
        else:
            why = f"is no folder here and cannot be had from the Hub: {why}"
        if self.file is not None:
            why += f"; its parts go with '{self.file}': name others with policy.parts"
        return ValueError(f"the model '{self.source}' {why}{TRY_TINY}")

    def _file_refusal(self, why: str) -> ValueError:
        return ValueError(
            f"the model '{self.file}' has no usable network for '{self.source}': {why}; name the "
            "pipeline that it is of: policy.parts"
        )


def _is_spec(named: Any) -> bool:
    """Library, class and where it is."""
    return isinstance(named, list) and len(named) == 3 and isinstance(named[2], dict)


def _pipeline_of(file: str) -> str:
    """The hub id of the pipeline of a single file, which diffusers knows by names and shapes."""
    from diffusers.loaders.single_file_utils import fetch_diffusers_config

    try:
        header = TensorFile(Path(file))
        shapes = {name: torch.empty(header.shape(name), device="meta") for name in header}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the model '{file}' cannot be read: {one_line(error)}") from error
    return str(fetch_diffusers_config(shapes)["pretrained_model_name_or_path"])


def _link(file: Path, new: Path) -> None:
    """Another name for a file, or a copy of it on another disk."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, new)
    except OSError:
        shutil.copyfile(file, new)


_SAMPLES, _SAMPLED = 16, 2**16
"""How many pieces of a file of weights are looked at, and the bytes of each."""


def fingerprint(folder: Path) -> str | None:
    """Of a part of a model: see `Pretrained.fingerprints`; none where it has no weights."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return None
    digest = hashlib.sha256()
    for path in (folder / "config.json", *sorted(folder.glob("*.index.json"))):
        digest.update(path.read_bytes() if path.is_file() else b"")
    for path in weights:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        # Two models of one architecture have the same header: what they were trained to differs.
        with path.open("rb") as file:
            for i in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLED) * i // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLED))
    return digest.hexdigest()[:16]
