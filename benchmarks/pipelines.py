"""Every pipeline of diffusers that makes pictures or videos of texts, tried as a policy.

    python benchmarks/pipelines.py [NAME ...] [--out benchmarks/results/pipelines.json]

For each a tiny random model of its classes is written, loaded by the policy `diffusers` and tried:
its velocity against the pipeline's own loop with and without guidance, rows with times of their
own, gradients, Euler's samples, decoding, encoding. Results are written as they come; those of
pipelines that are not named stay. The table of docs/models.md is written of them.
"""

import argparse
import contextlib
import io
import json
import logging
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.policy.pipelines_of_diffusers import VARIANTS, WORKING
from zoo.cli.models import prompts_for
from zoo.errors import join_lines
from zoo.policy.lora import Lora
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trial import try_pipeline

OUT = Path(__file__).parent / "results" / "pipelines.json"
_OTHERS = re.compile("Inpaint|Fill|Img2Img|VideoToVideo|PAG|Control|Variation|StableVideo|VACE|HDR")
"""Pipelines that have a relative of texts alone, or are asked by other things than texts."""


def names() -> list[str]:
    """Those of which there is a tiny one: of texts, and of texts and images to edit or animate."""
    of_one_kind = [name for name in WORKING if not _OTHERS.search(name)]
    return [*of_one_kind, *(f"{name}@{variant}" for name, variant in VARIANTS)]


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


_COLUMNS = (
    "velocity", "guided", "rows", "trained", "branches", "sampled", "decoded", "encoded",
    "milliseconds",
)  # fmt: skip
_TABLE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- /table -->)", re.DOTALL)


def table(found: dict[str, dict[str, Any]]) -> str:
    """The rows as Markdown: those that were tried, then why others were refused."""
    tried = {name: each for name, each in found.items() if "velocity" in each}
    refused = {name: each.get("refused") for name, each in found.items() if name not in tried}
    held = sum(bool(each["holds"]) for each in tried.values())
    lines = [f"{held} of {len(found)} do all of it.", "", f"| | {' | '.join(_COLUMNS)} |"]
    lines.append("|---" * (len(_COLUMNS) + 1) + "|")
    for name, each in tried.items():
        cells = " | ".join(_cell(each[column]) for column in _COLUMNS)
        lines.append(f"| {name.replace('Pipeline', '')} | {cells} |")
    lines += ["", "Refused, with what they do instead:", "", "| | |", "|---|---|"]
    for name, why in refused.items():
        lines.append(f"| {name.replace('Pipeline', '')} | {str(why).replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2g}" if isinstance(value, float) else str(value).partition(":")[0]


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
    page = Path(__file__).parent.parent / "docs" / "models.md"
    if options.out == OUT:
        text = page.read_text(encoding="utf-8")
        page.write_text(_TABLE.sub(lambda _: table(found), text), encoding="utf-8")
    held = sum(bool(each.get("holds")) for each in found.values())
    print(f"{held} of {len(found)} work", file=sys.stderr)


if __name__ == "__main__":
    main()
