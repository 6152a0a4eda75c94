"""The model of the task `scenes`, which ships with the package: Stable Diffusion 3 in miniature.

`python -m benchmarks.make_scenes` makes such weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge

from zoo.data.scenes.shapes import SIZE
from zoo.data.text_limit import TextLimit
from zoo.policy.base import Makes
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.loaded import PipelinePolicy
from zoo.policy.pipeline.networks import NetworkOptions
from zoo.policy.pipeline.source import Source
from zoo.policy.pretrained import Dtype, Pretrained
from zoo.policy.weights import CopiesOn, Lora
from zoo.storage.place import Place

_SHIPPED = Path(str(files("zoo") / "assets" / "scenes"))
_PIPELINE = "StableDiffusion3Pipeline"
_T5 = ("text_encoder_3", "tokenizer_3")
_TOKENS_OF_T5 = 1
"""In place of which the model has zeros; the pipeline takes no fewer."""


class Scenes(PipelinePolicy):
    """Draws coloured shapes of 32 x 32 pixels from captions such as 'a red star above a ring'.

    A latent model of 2.9 million parameters in diffusers' layout, with an autoencoder and CLIPs of
    its own. It knows the words of builtin:scenes/train. Some captions that it learned from were
    wrong, so that it does only in part what a caption asks for.
    """

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        pretrained: Place | None = None,
        dtype: Dtype = "float32",
        lora: Lora | None = Lora(rank=16, alpha=32),  # noqa: B008  (frozen)
        cached_prompts: Annotated[int, Ge(0)] = 2048,
        decode_batch: Annotated[int, Ge(1)] = 128,
        copies_on: CopiesOn = "device",
    ) -> None:
        """`pretrained` is a folder that `python -m benchmarks.make_scenes --out DIR` wrote.

        Null is the shipped model. `dtype` is of the base, the text encoders and the autoencoder;
        `lora` null trains the whole transformer, in float32 that is cast to it. `cached_prompts`
        embeddings are kept in the host's memory. `decode_batch` images are decoded together. With
        `copies_on` cpu the old, reference and EMA weights of training all are in the host's memory,
        and on the device while they are used.
        """
        with _warnings_off():
            super().__init__(
                device,
                Source(Pretrained.of(_folder(pretrained), None, None, None), _PIPELINE, _T5),
                CallOptions(SIZE, max_text_tokens=_TOKENS_OF_T5),
                NetworkOptions(dtype, lora, copies_on),
                cached_prompts=cached_prompts,
                decode_batch=decode_batch,
            )

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks for the files of a model in a folder here.

        Raises:
            ValueError: it lacks a part.
        """
        super().check_start(_as_diffusers(options))

    @classmethod
    def text_limits(cls, options: Mapping[str, Any]) -> Sequence[TextLimit]:
        """Of each of the pipeline's tokenizers.

        Raises:
            ValueError: the model or a tokenizer cannot be had.
        """
        return super().text_limits(_as_diffusers(options))

    @classmethod
    def makes(cls, options: Mapping[str, Any]) -> Makes:
        """Pictures."""
        return "images"

    @classmethod
    def shipped(cls, options: Mapping[str, Any]) -> Path | None:
        """The shipped model, where none is named."""
        return _SHIPPED if options["pretrained"] is None else None

    @classmethod
    def tiny_kind(cls, options: Mapping[str, Any]) -> str:
        """There is one."""
        return ""

    @classmethod
    def write_tiny(cls, folder: Path, kind: str = "") -> dict[str, Any]:
        """A pipeline of SD3's layout with random weights, 2.5 MB."""
        from zoo.policy.tiny_pipelines import write_tiny_pipeline

        write_tiny_pipeline(_PIPELINE, folder)
        return {"pretrained": str(folder)}


def _as_diffusers(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recipe as those of the policy `diffusers`."""
    return {
        **options,
        "pretrained": _folder(options["pretrained"]),
        "pipeline": _PIPELINE,
        "without": _T5,
        "resolution": SIZE,
        "max_text_tokens": _TOKENS_OF_T5,
        "call": {},
    }


@contextmanager
def _warnings_off() -> Iterator[None]:
    """A pipeline is tried with prompts of any length, and says of each long one that it is cut."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries: tuple[Any, ...] = (of_diffusers, of_transformers)
    before = [library.get_verbosity() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
        yield
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.set_verbosity(level)


def _folder(pretrained: str | None) -> str:
    """The shipped model where none is named."""
    return str(_SHIPPED) if pretrained is None else pretrained
