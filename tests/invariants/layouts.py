"""Short runs of one recipe on many layouts: so many processes, at such a ZeRO stage."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tests.engine.many_runs import run_all
from tests.engine.zero_checks import PIECES
from tests.runs import RECIPES, overrides, tensors

LR = 3e-3


@dataclass(frozen=True)
class Layout:
    """A number of processes, and a stage or None for the plain engine."""

    processes: int
    stage: int | None = None
    offload: str = "none"

    def __str__(self) -> str:
        engine = "plain" if self.stage is None else f"zero{self.stage}"
        return f"{self.processes}-{engine}" + (f"-{self.offload}" if self.offload != "none" else "")


ALONE = Layout(1)


@dataclass(frozen=True)
class Short:
    """A run of an algorithm, LoRA or full, on a layout; its folder is its name."""

    layout: Layout
    algorithm: str = "nft"
    full: bool = False
    name: str = ""
    resume: str = ""
    epochs: int = 1
    updates: int = 5

    @property
    def folder(self) -> str:
        return self.name or f"{self.algorithm}_{'full' if self.full else 'lora'}_{self.layout}"

    def spec(self, out: Path) -> dict:
        # Seven groups: uneven on 2, 3 and 5 processes, and one for each of 7.
        changes: dict[str, object] = {
            "epochs": self.epochs,
            "optim.updates_per_epoch": self.updates,
            "optim.schedule": "constant",
            "data.groups_per_epoch": 7,
            "eval.every": 100,
            "checkpoint.every": 100,
        }
        # Adam divides a gradient by its own size, so one that is near 0 becomes a whole step in
        # whose place rounding alone decides. Among 287,000 parameters there are always some, and
        # DPO's beta of 100 makes the rounding larger: with an eps above it they stay small.
        if self.full:
            changes |= {"policy.lora": "null", "optim.eps": 1e-6}
        elif self.algorithm == "dpo":
            changes["optim.eps"] = 1e-5
        if self.layout.stage is not None:
            changes |= {
                "engine.zero_stage": self.layout.stage,
                "engine.offload": self.layout.offload,
                "engine.deepspeed": PIECES,
            }
        arguments = overrides(self.algorithm, out, **changes)
        return {
            "recipe": str(RECIPES[self.algorithm]),
            "overrides": arguments[1::2],
            "out": str(out / self.folder),
            "resume": str(out / self.resume) if self.resume else None,
        }


def make(runs: list[Short], out: Path) -> None:
    """All of them, those on as many processes in one go."""
    for processes in sorted({run.layout.processes for run in runs}):
        these = [run for run in runs if run.layout.processes == processes]
        sharded = any(run.layout.stage is not None for run in these)
        run_all([run.spec(out) for run in these], processes, out, deepspeed=sharded)


def off(out: Path, found: Short, expected: Short) -> float:
    """How far apart two runs' weights are at most, as a part of the learning rate."""
    mine, theirs = tensors(out / found.folder), tensors(out / expected.folder)
    assert mine.keys() == theirs.keys()
    moved = [name for name in mine if not name.startswith("optimizer/")]
    return max(float((mine[name] - theirs[name]).abs().max()) for name in moved) / LR


def equal(out: Path, found: Short, expected: Short) -> bool:
    """Whether two runs' checkpoints are the same bit for bit, the optimizer's too."""
    mine, theirs = tensors(out / found.folder), tensors(out / expected.folder)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)
