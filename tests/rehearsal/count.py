"""Counts how often the host waits for the device: `python -m tests.rehearsal.count`.

It prints the tables of docs/performance.md, of the digits with guidance: the waits in a sampling of
3 and of 6 steps, those of one more micro-batch that is collected, and of each that trains.
"""

import sys
from pathlib import Path

import torch

from tests.rehearsal.device import NAME, install
from tests.rehearsal.traffic import traffic

RECIPES = Path(__file__).parents[2] / "recipes"
OBJECTIVES = (
    "awm", "crd", "dgpo", "dpo", "elbo_pg", "flow_dppo", "flow_grpo", "grpo_guard", "kto", "nft",
    "ram", "sft",
)  # fmt: skip
SMALL = (
    "engine.device=auto", "data.groups_per_epoch=2", "data.group_size=8", "sampler.steps=3",
    "eval=null", "optim.updates_per_epoch=1",
)  # fmt: skip


def in_sampling(solver: str, steps: int) -> int:
    """The waits in one sampling."""
    from zoo.policy.digits import Digits
    from zoo.prompt import Prompt
    from zoo.registry import load
    from zoo.sampler.flow_sampler import FlowSampler
    from zoo.seeds import Draws

    device, prompts = torch.device(NAME, 0), [Prompt("the digit seven")]
    policy = Digits(device)
    policy.weights.allocate(set(), seed=0)
    cond = policy.encode(prompts, guidance=2.0)
    sampler = FlowSampler(solver=load("solvers", solver)(), steps=steps, guidance=2.0)
    draws = Draws(0, "count", 0, torch.arange(1), device)
    traffic.clear()
    with torch.no_grad():
        sampler.sample(policy, prompts, cond, draws, keep_path=True)
    return traffic.waits("sampling")


def epoch(objective: str, sample: int) -> None:
    """Collects and learns once, and leaves what was counted in `traffic`."""
    from tests.train_here import epoch_here
    from zoo.recipe.recipe import load_recipe
    from zoo.training.build import build

    sizes = f"engine.micro_batch={{sample: {sample}, train: 8}}"
    recipe = load_recipe(RECIPES / f"{objective}_digits.yaml", [*SMALL, sizes])
    run = build(recipe).stages[0]
    traffic.clear()
    epoch_here(run)


def in_collecting(objective: str) -> float:
    """The waits of one more micro-batch that is collected."""
    found = []
    for sample in (16, 4):
        epoch(objective, sample)
        found.append((traffic.waits("collecting"), traffic.calls["sampling"]))
    (few, first), (many, last) = found
    return (many - few) / (last - first)


def in_training(objective: str) -> float:
    """The waits of each micro-batch that trains."""
    epoch(objective, 16)
    return traffic.waits("training") / traffic.calls["gradient"]


def main() -> None:
    """Counts, and prints."""
    install()
    from tests.rehearsal.on_it.both import enter_phases

    enter_phases()
    out = sys.stdout
    out.write("| solver | waits in 3 steps | in 6 steps |\n|---|---|---|\n")
    for solver in ("euler", "heun", "dpm2", "flow_sde", "dance_sde", "ddim", "cps"):
        out.write(f"| `{solver}` | {in_sampling(solver, 3)} | {in_sampling(solver, 6)} |\n")
    out.write(f"\none more micro-batch that is collected: {in_collecting('nft'):g}\n")
    out.write("\n| objective | waits in a micro-batch that trains |\n|---|---|\n")
    for objective in OBJECTIVES:
        out.write(f"| `{objective}` | {in_training(objective):g} |\n")
        out.flush()


if __name__ == "__main__":
    main()
