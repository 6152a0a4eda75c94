"""Published models: found, checked and loaded with the precision that training needs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from zoo.errors import join_lines
from zoo.policy.weights import Lora
from zoo.storage.hub import Request

Dtype = Literal["float32", "bfloat16"]


def base_dtype(dtype: Dtype, lora: Lora | None) -> torch.dtype:
    """The type by its name.

    Raises:
        ValueError: the network itself would be trained in bfloat16.
    """
    if lora is None and dtype != "float32":
        raise ValueError(
            f"dtype {dtype} cannot hold the small steps of full fine-tuning; "
            "write dtype: float32, or train with lora"
        )
    named: torch.dtype = getattr(torch, dtype)
    return named


def place(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Moves a network of diffusers to the device, in that type, without dropout."""
    # Diffusers' own `to` warns of modules to keep in float32, of which there are none.
    nn.Module.to(network, device, dtype).eval()


T = TypeVar("T")


@dataclass(frozen=True)
class Pretrained:
    """`source` is a folder, or a hub id whose `revision` is a branch, a tag or a commit."""

    source: str
    revision: str | None = None

    def index(self) -> Mapping[str, Any]:
        """What `model_index.json` says: the pipeline's class, and the class of every part.

        Raises:
            ValueError: there is no such model, or it cannot be had; with the fix.
        """
        try:
            return dict(json.loads(self._index_file().read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise self._refusal("model_index.json", error) from error

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

    def load(self, cls: Any, part: str, dtype: torch.dtype | None = None) -> Any:
        """A part with its weights, on the CPU.

        Raises:
            ValueError: it is missing, broken, of another architecture, or cannot be had.
        """
        kwargs = {} if dtype is None else {"dtype": dtype}
        try:
            return cls.from_pretrained(
                self.source, subfolder=part, revision=self.revision, **kwargs
            )
        except Exception as error:
            raise self._refusal(part, error) from error

    def pipeline(self, cls: Any, dtype: torch.dtype, without: Mapping[str, None]) -> Any:
        """A whole pipeline with its weights on the CPU, less the parts that are not wanted."""
        try:
            return cls.from_pretrained(self.source, revision=self.revision, dtype=dtype, **without)
        except Exception as error:
            raise self._refusal("model_index.json", error) from error

    def require(self, name: str, *, policy: str) -> None:
        """Refuses a model of another family.

        Raises:
            ValueError: it is no pipeline of the class `name`, or cannot be had.
        """
        pipeline = self.index().get("_class_name")
        if pipeline != name:
            raise ValueError(
                f"the model '{self.source}' is a {pipeline}, and the policy '{policy}' runs a "
                f"{name}; name one of these, or another policy (zoo list policies)"
            )

    def flow_parts(
        self, transformer: Any, device: torch.device, dtype: torch.dtype
    ) -> tuple[Any, Any, Any]:
        """The transformer, of that class, the autoencoder and the scheduler of a flow pipeline.

        On the CPU, or shapes alone where the device is meta.
        """
        import diffusers

        # diffusers has no types.
        autoencoder: Any = diffusers.AutoencoderKL
        scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler
        named = {"transformer": transformer, "vae": autoencoder}
        models = [
            self.empty(cls, part) if device.type == "meta" else self.load(cls, part, dtype)
            for part, cls in named.items()
        ]
        return models[0], models[1], self.load(scheduler, "scheduler")

    def empty(self, cls: Any, part: str) -> Any:
        """A part of that architecture on the meta device: shapes and no weights."""
        config = self.config(cls, part)
        with torch.device("meta"):
            return cls.from_config(config)

    def _index_file(self) -> Path:
        folder = Path(self.source)
        if folder.is_dir():
            return folder / "model_index.json"
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.source, "model_index.json", revision=self.revision))

    def _refusal(self, part: str, error: Exception) -> ValueError:
        # A folder has no reason but its own files.
        local = Path(self.source).is_dir()
        why = None if local else Request(self.source, revision=self.revision).refusal(error)
        if why is None:
            name, text = type(error).__name__, join_lines(error)[:200]
            why = f"has no usable '{part}': {name}: {text}"
        else:
            why = f"is no folder here and cannot be had from the Hub: {why}"
        return ValueError(f"the model '{self.source}' {why}; to try the recipe without it: --tiny")


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
