"""A tiny model for a recipe: of the pipeline that it names, with random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.policy.pipeline.parts import files_of


def kind_of(options: Mapping[str, Any]) -> str:
    """The pipeline's class, and which of its checkpoints where these are of other parts.

    Raises:
        ValueError: the class is not said, and the model cannot be had.
    """
    from zoo.policy.tiny_pipelines.variants import VARIANTS

    name = str(options["pretrained"])
    pipeline = str(options.get("pipeline") or files_of(options).index()["_class_name"])
    for variant in filter(None, VARIANTS.get(pipeline, {})):
        if all(word in name for word in variant.split("-")):
            return f"{pipeline}@{variant}"
    return pipeline


def write(folder: Path, kind: str) -> dict[str, Any]:
    """Writes that pipeline with small random parts, for pictures of 64 px or less.

    Returns the options of the policy that load it.
    """
    from zoo.policy.tiny_pipelines import write_tiny_pipeline

    pipeline, _, variant = kind.partition("@")
    plain = pipeline.replace("ModularPipeline", "Pipeline")
    call = dict(write_tiny_pipeline(plain, folder, variant).options)
    call.pop("num_inference_steps", None)
    width, height = call.pop("width", None), call.pop("height", None)
    return {
        "pretrained": str(folder),
        "pipeline": None if plain == pipeline else pipeline,
        "revision": None,
        "variant": None,
        "parts": None,
        "resolution": None if width is None or height is None else (width, height),
        "frames": call.pop("num_frames", None),
        "max_text_tokens": call.pop("max_sequence_length", None),
        "call": call,
        "dtype": "float32",
    }
