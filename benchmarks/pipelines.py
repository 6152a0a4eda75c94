"""Every pipeline of diffusers that makes pictures or videos of texts, tried as a policy.

    python benchmarks/pipelines.py [NAME ...] [--out benchmarks/results/pipelines.json]

For each a tiny random model of its classes is written, loaded by the policy `diffusers` and tried:
its velocity against the pipeline's own loop with and without guidance, rows with times of their
own, gradients, Euler's samples, decoding, encoding; what `zoo export` writes of its LoRA, loaded by
the pipeline itself; an epoch by each of three objectives. Results are written as they come; those
of pipelines that are not named stay. The table of docs/models.md is written of them.
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
from tests.train_here import train_here
from zoo import seeds
from zoo.cli.export_formats import DiffusersLora, PeftLora
from zoo.cli.models import prompts_for
from zoo.errors import join_lines
from zoo.policy.lora import Lora
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trial import try_pipeline
from zoo.policy.pipeline.twins import encode_most_probable
from zoo.prompt import Prompt
from zoo.recipe.recipe import load_recipe
from zoo.testing.policies import perturb

OUT = Path(__file__).parent / "results" / "pipelines.json"
_OTHERS = re.compile("Inpaint|Fill|Img2Img|VideoToVideo|PAG|Control|Variation|StableVideo|VACE|HDR")
"""Pipelines that have a relative of texts alone, or are asked by other things than texts."""


def names() -> list[str]:
    """Those of which there is a tiny one: of texts, and of texts and images to edit or animate."""
    of_one_kind = [name for name in WORKING if not _OTHERS.search(name)]
    return [*of_one_kind, *(f"{name}@{variant}" for name, variant in VARIANTS)]


_LORA = Lora(rank=4, alpha=8)
_OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "nft": ("dpm2", {}),
    "flow_grpo": ("flow_sde", {}),
    "dpo": ("dpm2", {"draws_per_pair": 4}),
}
"""With the solver that each collects by, and its options."""


def row(name: str, folder: Path, *, trial_alone: bool = True) -> dict[str, Any]:
    """What came of one: its trial, or in one line why there is none; then export and training."""
    start = time.perf_counter()
    try:
        options = Diffusers.write_tiny(folder / name, name)
    except Exception as error:
        return {"tiny": _said(error)}
    try:
        policy = Diffusers(torch.device("cpu"), **options, lora=_LORA)
        prompts = prompts_for(policy)
        trial = try_pipeline(policy, prompts)
    except Exception as error:
        return {"refused": join_lines(error)[:300]}
    cells = trial.cells()
    if not trial_alone:
        cells["exported"] = exported(policy, prompts[0], folder / f"{name}-lora")
        for objective in _OBJECTIVES:
            out = folder / f"{name}-{objective}"
            cells[objective] = trained(policy, options, objective, out)
    took = round(time.perf_counter() - start, 1)
    return {**cells, "holds": trial.holds, "seconds": took}


def exported(policy: Diffusers, prompt: Prompt, folder: Path) -> float | str:
    """How far what the pipeline draws with LoRA that `zoo export` wrote is from what is drawn here.

    Its weights are moved. It is loaded as the export says: by the pipeline, and where that has no
    loader, by PEFT into its network.
    """
    pipe, seam = policy.seam.real, policy.seam
    perturb(policy)
    encoded = policy.encode([prompt]).layout.tables[0].encoded
    here = seam.run_own_loop([prompt.text], None, encoded, steps=2, output="pt").made
    keywords = seam.given() | {"generator": seeds.generator(0, "pipeline"), "output_type": "pt"}
    tensors = {name: p.detach() for name, p in policy.weights.parameters().items()}
    names = policy.findings()["trained"]
    kind = DiffusersLora if hasattr(pipe, "load_lora_weights") else PeftLora
    lora = kind(tensors, _LORA, str(pipe.name_or_path), names)
    folder.mkdir()
    lora.write(folder)
    said: dict[str, Any] = {}
    try:
        if kind is PeftLora:
            said["pipeline"] = type(pipe).from_pretrained(pipe.name_or_path)
            said["network"] = getattr(said["pipeline"], names[0])
        exec("\n".join(lora.loading(str(folder))), said)  # what a user is told to type
        if policy.num_inputs:  # some draw what they make of them
            encode_most_probable(said["pipeline"])
        if policy.contract.manner.guided_by == "guider":  # a part, and no keyword
            said["pipeline"].guider = pipe.guider.new(guidance_scale=1.0)
        there = said["pipeline"](**keywords)[0]
    except Exception as error:
        return _said(error)
    here, there = (torch.as_tensor(each).float() for each in (here, there))
    return float((there - here).abs().max() / here.abs().max().clamp(min=1))


def trained(policy: Diffusers, options: dict[str, Any], objective: str, folder: Path) -> str:
    """Whether an epoch of the objective moves it: `yes`, or in a line why not."""
    solver, more = _OBJECTIVES[objective]
    edits = "edits/moving" if "frames" in options else "edits/train"
    data = edits if policy.num_inputs else "general/eval"
    recipe = {
        "name": "family", "seed": 1, "epochs": 1,
        "policy": {
            "name": "diffusers", "lora": {"rank": 4, "alpha": 8}, "allow_unguided": True, **options,
        },
        "sampler": {"solver": {"name": solver}, "steps": 3},
        "rewards": [{"name": "jpeg_compressibility", "frames": "mean"}],
        "objective": {"name": objective, **more},
        "data": {"train": f"builtin:{data}", "groups_per_epoch": 2, "group_size": 4},
        "optim": {"lr": 1e-3},
        "engine": {"device": "cpu"},
    }  # fmt: skip
    path = folder.with_suffix(".json")  # which is YAML
    path.write_text(json.dumps(recipe))
    try:
        last = train_here(load_recipe(path), folder)[-1]
    except Exception as error:
        return _said(error)
    moved = last["step"] > 0 and last["dropped_updates"] == 0
    return "yes" if moved else f"no: {last['step']} updates, {last['dropped_updates']} dropped"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {join_lines(error)[:200]}"


_COLUMNS = (
    "velocity", "guided", "rows", "trained", "branches", "sampled", "decoded", "encoded",
    "milliseconds", "exported", "nft", "flow_grpo", "dpo",
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
        cells = " | ".join(_cell(each.get(column)) for column in _COLUMNS)
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
            nowhere = io.StringIO()
            with contextlib.redirect_stderr(nowhere), contextlib.redirect_stdout(nowhere):
                found[name] = row(name, Path(folder), trial_alone=False)
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
