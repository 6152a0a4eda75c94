"""Counts how often the host waits for the device: `python -m tests.rehearsal.count`.

It prints the tables of docs/performance.md, of runs of the digits: the waits in a sampling of 3 and
of 6 steps, those of one more micro-batch that is collected, and of each that trains.
"""

import sys
from pathlib import Path

from tests.rehearsal.device import install
from tests.rehearsal.traffic import traffic
from tests.runs import ROOT

OBJECTIVES = (
    "awm", "crd", "dgpo", "dpo", "elbo_pg", "flow_dppo", "flow_grpo", "grpo_guard", "kto", "nft",
    "ram", "sft",
)  # fmt: skip
SOLVERS = ("cps", "dance_sde", "ddim", "dpm2", "euler", "flow_sde", "heun")
SMALL = (
    "engine.device=auto", "data.groups_per_epoch=2", "data.group_size=8", "eval=null",
    "optim.updates_per_epoch=1",
)  # fmt: skip


def an_epoch(name: str, *, solver: str | None = None, steps: int = 3, sample: int = 16) -> None:
    """Collects and learns once, and leaves what was counted in `traffic`."""
    from tests.train_here import epoch_here
    from zoo.recipe.recipe import load_recipe
    from zoo.training.build import build

    sizes = f"engine.micro_batch={{sample: {sample}, train: 8}}"
    chosen = [] if solver is None else [f"sampler.solver={{name: {solver}}}"]
    recipe = load_recipe(
        Path(ROOT, "recipes", f"{name}_digits.yaml"),
        [*SMALL, f"sampler.steps={steps}", sizes, *chosen],
    )
    run = build(recipe).stages[0]
    traffic.clear()
    epoch_here(run)


def in_sampling(solver: str, steps: int) -> int:
    """The waits in one sampling."""
    an_epoch("sft", solver=solver, steps=steps)
    return traffic.waits("sampling") // traffic.calls["sampling"]


def in_collecting(solver: str) -> float:
    """The waits of one more micro-batch that is collected."""
    found = []
    for sample in (16, 4):
        an_epoch("sft", solver=solver, sample=sample)
        found.append((traffic.waits("collecting"), traffic.calls["sampling"]))
    return (found[1][0] - found[0][0]) / (found[1][1] - found[0][1])


def in_training(objective: str) -> float:
    """The waits of each micro-batch that trains."""
    an_epoch(objective)
    return traffic.waits("training") / traffic.calls["gradient"]


def main() -> None:
    """Counts, and prints."""
    install()
    from tests.rehearsal.on_it.both import enter_phases

    enter_phases()
    out = sys.stdout
    out.write("| solver | in 3 steps | in 6 steps | one more micro-batch |\n|---|---|---|---|\n")
    for solver in SOLVERS:
        row = in_sampling(solver, 3), in_sampling(solver, 6), in_collecting(solver)
        out.write(f"| `{solver}` | {' | '.join(f'{value:g}' for value in row)} |\n")
    out.write("\n| objective | in a micro-batch that trains |\n|---|---|\n")
    for objective in OBJECTIVES:
        out.write(f"| `{objective}` | {in_training(objective):g} |\n")


if __name__ == "__main__":
    main()
