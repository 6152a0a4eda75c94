"""Tiny SD3 and FLUX.1: random weights, and the options of the policy `diffusers` that load them."""

from pathlib import Path
from typing import Any

from zoo.policy.pipeline.policy import Diffusers

SD3, FLUX = "StableDiffusion3Pipeline", "FluxPipeline"


def write_sd3(folder: Path) -> dict[str, Any]:
    """3.5-Medium's layout, for prompts of 32 letters."""
    return _short(Diffusers.write_tiny(folder, SD3))


def write_flux(folder: Path, kind: str = "") -> dict[str, Any]:
    """dev's layout, or `schnell`'s, for prompts of 32 letters."""
    return _short(Diffusers.write_tiny(folder, f"{FLUX}@{kind}" if kind else FLUX))


def _short(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "resolution": 64, "max_text_tokens": 32}
