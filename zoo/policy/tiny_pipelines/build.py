"""Tiny random pipelines of diffusers, by the name of their class: built, and written."""

import inspect
from pathlib import Path
from typing import Any

from torch import nn

from zoo import seeds
from zoo.policy.tiny_pipelines.call import TinyCall, tiny_call
from zoo.policy.tiny_pipelines.components import components
from zoo.policy.tiny_pipelines.variants import variant_of


def build_tiny(pipeline: str, variant: str = "") -> Any:
    """A pipeline of that class of diffusers with small random components; the same every time.

    A `variant` is made of other parts: "2.2-A14B" of WanPipeline, say.

    Raises:
        ValueError: diffusers has no such pipeline, or there is no such variant of it.
        NoTinyError: there is no tiny component of a class that it is made of.
    """
    import diffusers

    cls: Any = getattr(diffusers, pipeline, None)
    if not (inspect.isclass(cls) and issubclass(cls, diffusers.DiffusionPipeline)):
        raise ValueError(f"diffusers {diffusers.__version__} has no pipeline '{pipeline}'")
    parts = variant_of(pipeline, variant)
    with seeds.borrowed(0, f"tiny {pipeline}"):
        made = components(cls, parts)
    # As they are when they are read: without dropout.
    for part in made.values():
        if isinstance(part, nn.Module):
            part.eval()
    return cls(**made)


def write_tiny_pipeline(pipeline: str, folder: Path, variant: str = "") -> TinyCall:
    """Writes that pipeline in diffusers' layout, and says what its call needs.

    Raises:
        ValueError: diffusers has no such pipeline, or there is no such variant of it.
        NoTinyError: there is no tiny component of a class that it is made of.
    """
    built = build_tiny(pipeline, variant)
    folder.mkdir(parents=True, exist_ok=True)
    built.save_pretrained(folder)
    return tiny_call(built)
