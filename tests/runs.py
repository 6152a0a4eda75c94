"""Short real runs of the digits recipes, for tests, as a user would start them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import forked

ROOT = Path(__file__).parent.parent
RECIPES = {name: ROOT / "recipes" / f"{name}_digits.yaml" for name in ("nft", "flow_grpo", "dpo")}


def every_time(name: str) -> list[object]:
    """The algorithms, as parameters of a test: the others than this one in the slow suite."""
    return [pytest.param(each, marks=[pytest.mark.slow] * (each != name)) for each in RECIPES]


# Small, and everything that moves moves: old, the reference, EMA, a schedule.
SHORT = {
    "epochs": 4,
    "data.groups_per_epoch": 5,
    "data.group_size": 4,
    "sampler.steps": 3,
    "optim.updates_per_epoch": 2,
    "optim.ema": "{cap: 0.9}",
    "optim.schedule": "cosine",
    "eval.images_per_prompt": 1,
    "eval.steps": 2,
    "eval.every": 2,
    "checkpoint.every": 1,
    "engine.micro_batch": "{sample: 6, train: 7}",
}
OWN = {
    "nft": {"objective.old.rate": 0.1},
    "flow_grpo": {"objective.kl_weight": 0.01},
    "dpo": {
        "objective.ref_update": 3,
        "objective.pairs_per_group": 1,
        "objective.draws_per_pair": 3,
    },
}


def overrides(algorithm: str, out: Path, **changes: object) -> list[str]:
    """`-s` arguments of a short run that writes under `out`; `__` in `changes` is a dot."""
    return settings({**SHORT, **OWN[algorithm], "output_dir": out}, **changes)


def settings(options: Mapping[str, object], **changes: object) -> list[str]:
    """`-s` arguments of these options and changes, in whose names `__` is a dot."""
    whole = {**options, **{key.replace("__", "."): value for key, value in changes.items()}}
    return [part for key, value in whole.items() for part in ("-s", f"{key}={value}")]


def written(options: Mapping[str, object]) -> str:
    """The options of a component as YAML has them between braces."""
    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in options.items())


def zoo(
    *arguments: object, anew: bool = False, deepspeed: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end in a process of its own.

    It is forked from one that has imported the libraries (DeepSpeed too where that is said), unless
    `anew`, or where a variable is another that they may read when they are imported.
    """
    variables = clean_environment(**environment)
    if not anew:
        words = ["zoo", *map(str, arguments)]
        return forked.run(words, variables, timeout=300, deepspeed=deepspeed)
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=variables, cwd=ROOT, timeout=300,
        check=False,
    )  # fmt: skip


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "zoo", *map(str, arguments)]


NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Hides all cards, of CUDA and of ROCm."""


def clean_environment(**environment: str) -> dict[str, str]:
    """Without what a launcher sets; one thread, so that runs side by side do not fight.

    And without a GPU: numbers are compared, and there are more processes than cards.
    """
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    return {**kept, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", **NO_GPU, **environment}


def launcher_of(processes: int) -> dict[str, str]:
    """What a launcher of so many processes tells the first."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    return {"WORLD_SIZE": str(processes), "RANK": "0", **place}


def only_run(out: Path) -> Path:
    """The one run folder under an output folder."""
    (folder,) = out.glob("*/*")
    return folder


def tensors(run_dir: Path) -> dict:
    """What the newest checkpoint holds."""
    newest = sorted(p for p in (run_dir / "checkpoints").iterdir() if p.name.isdigit())[-1]
    return load_file(newest / "tensors.safetensors")


def metrics(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


# Differ between two equal runs.
CLOCKS = (
    "seconds",
    "seconds/collect",
    "seconds/learn",
    "seconds/evaluate",
    "images_per_second",
    "images_per_second_each",
    "communication_share",
    "peak_memory_gb",
)
TIMED = ("tflops/", "mfu/", "waits/")


def without_clocks(lines: list[dict]) -> list[dict]:
    return [
        {k: v for k, v in line.items() if k not in CLOCKS and not k.startswith(TIMED)}
        for line in lines
    ]


def require_same(run_dir: Path, expected: Path) -> None:
    """Two runs' newest checkpoints are the same bit for bit, and what they recorded is."""
    require_same_tensors(run_dir, expected)
    assert without_clocks(metrics(run_dir)) == without_clocks(metrics(expected))


def require_same_tensors(run_dir: Path, expected: Path) -> None:
    mine, theirs = tensors(run_dir), tensors(expected)
    assert mine.keys() == theirs.keys()
    assert [name for name, value in theirs.items() if not torch.equal(mine[name], value)] == []
