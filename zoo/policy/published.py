"""Published models as shapes: their configurations, for an estimate where the model is not here.

A gated model's files cannot be had before its terms are accepted; its sizes are known all the same.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@cache
def published() -> dict[str, dict[str, dict[str, Any]]]:
    """By hub id and part, what of its configuration says how large it is."""
    text = (files("zoo") / "assets" / "published.json").read_text("utf-8")
    return dict(json.loads(text))


def write_shapes(source: str, pipeline: str, folder: Path) -> None:
    """Writes a model's layout with its published sizes and no weights: it can be measured, not run.

    `source` is one of `published`, and `pipeline` its class of diffusers. Its tokenizers are tiny:
    prompts are made as long as the policy's options say in any case.
    """
    from zoo.policy.tiny_pipelines import write_tiny_pipeline

    write_tiny_pipeline(pipeline, folder)
    for weights in folder.glob("*/*.safetensors"):
        weights.unlink()
    for part, sizes in published()[source].items():
        config = folder / part / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), **sizes}), "utf-8")
        # Weights whose number nobody can read in a header: it is taken from the configuration.
        (folder / part / "pytorch_model.bin").touch()
