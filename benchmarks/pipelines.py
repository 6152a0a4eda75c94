"""Every pipeline of diffusers that makes pictures or videos of texts, tried as a policy.

    python benchmarks/pipelines.py [NAME ...] [--out benchmarks/results/pipelines.json]

For each a tiny random model of its classes is written, loaded by the policy `diffusers` and tried:
its velocity against the pipeline's own loop with and without guidance, rows with times of their
own, gradients, Euler's samples, decoding, encoding. Results are written as they come; those of
pipelines that are not named stay. The table of docs/models.md is made of them.
"""

import argparse
import contextlib
import inspect
import io
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from zoo.cli.models import prompts_for
from zoo.errors import join_lines
from zoo.policy.lora import Lora
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trial import try_pipeline
from zoo.policy.tiny_pipelines.variants import VARIANTS

OUT = Path(__file__).parent / "results" / "pipelines.json"
_OTHER_INPUTS = {
    "mask_image", "control_image", "controlnet_conditioning_image", "strength", "video", "audio",
    "control_video", "adapter_conditioning_scale", "pag_scale", "example_image", "noise_level",
    "gligen_phrases", "lyrics", "audio_length_in_s", "source_prompt",
}  # fmt: skip
"""Keywords of pipelines for something else than pictures or videos of a text, or of one image."""


def names() -> list[str]:
    """The pipelines to try: of texts, and of texts and images to edit or to animate."""
    import diffusers

    found = []
    for name in dir(diffusers):
        cls = getattr(diffusers, name) if name.endswith("Pipeline") else None
        if not isinstance(cls, type):
            continue
        takes = inspect.signature(vars(cls).get("__call__", cls)).parameters
        if "prompt" in takes and not _OTHER_INPUTS & takes.keys():
            found += [name, *(f"{name}@{kind}" for kind in VARIANTS.get(name, ()) if kind)]
    return found


def row(name: str, folder: Path) -> dict[str, Any]:
    """What came of one: its trial, or in one line why there is none."""
    start = time.perf_counter()
    try:
        options = Diffusers.write_tiny(folder / name, name)
    except Exception as error:
        return {"tiny": f"{type(error).__name__}: {join_lines(error)[:200]}"}
    try:
        policy = Diffusers(torch.device("cpu"), **options, lora=Lora(rank=4, alpha=8))
        trial = try_pipeline(policy, prompts_for(policy))
    except Exception as error:
        return {"refused": join_lines(error)[:300]}
    took = round(time.perf_counter() - start, 1)
    return {**trial.cells(), "holds": trial.holds, "seconds": took}


def main() -> None:
    """Prints a line for each as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found = json.loads(options.out.read_text()) if options.out.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or names():
            with contextlib.redirect_stderr(io.StringIO()):
                found[name] = row(name, Path(folder))
            print(name, json.dumps(found[name]), flush=True)
            options.out.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    held = sum(bool(each.get("holds")) for each in found.values())
    print(f"{held} of {len(found)} work", file=sys.stderr)


if __name__ == "__main__":
    main()
