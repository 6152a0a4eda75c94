"""Runs of the random model in the shapes of a part, and what of them is timed."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.acceptance_parts.part import Setting
from zoo import devices
from zoo.engine.interrupt import Interrupt
from zoo.plan.geometry import plan
from zoo.plan.work import works
from zoo.recipe.recipe import Recipe, load_recipe
from zoo.run.tracker import Tracker
from zoo.training.build import StageRun
from zoo.training.collect import Collected
from zoo.training.epoch import advantages, collect_epoch, learn_epoch
from zoo.training.learn import Learned
from zoo.training.metrics import Stopwatch, Timed
from zoo.training.state import Progress
from zoo.training.work import speeds

RECIPES = Path(__file__).parents[2] / "recipes"
OBJECTIVES = (
    "nft", "flow_grpo", "dpo", "awm", "crd", "dgpo", "elbo_pg", "flow_dppo", "grpo_guard", "kto",
    "ram", "sft",
)  # fmt: skip
LORA = {"rank": 32, "alpha": 64}
OWN: dict[str, dict[str, object]] = {"dpo": {"objective.pairs_per_group": 1}}
"""What an objective needs for groups of four."""


def recipe(
    setting: Setting,
    objective: str = "nft",
    *,
    images: int = 16,
    batch: int = 8,
    steps: int = 4,
    **changes: object,
) -> Recipe:
    """The digits recipe of an objective with the random model at 512 pixels, in bfloat16.

    An epoch is one update of so many images, in two groups. In the names of `changes` `__` stands
    for a dot.
    """
    side, tokens = (64, 32) if setting.small else (512, 128)
    policy = {
        "name": "diffusers", "pretrained": str(setting.model), "resolution": side,
        "max_text_tokens": tokens, "dtype": "bfloat16", "lora": LORA,
    }  # fmt: skip
    usual = {
        "policy": policy,
        "rewards": [{"name": "jpeg_compressibility"}],
        "data.train": "builtin:general/train", "data.eval": None, "eval": None,
        "data.groups_per_epoch": 2, "data.group_size": images // 2, "sampler.steps": steps,
        "optim.updates_per_epoch": 1, "scoring.retries": 0, "engine.threads": "auto",
        "engine.device": setting.device, "engine.micro_batch": {"sample": batch, "train": batch},
    }  # fmt: skip
    given = {
        **usual,
        **OWN.get(objective, {}),
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return load_recipe(
        RECIPES / f"{objective}_digits.yaml",
        [f"{key}={json.dumps(value)}" for key, value in given.items()],
    )


@dataclass(frozen=True)
class Epoch:
    """One epoch of a run."""

    collected: Collected
    learned: Learned
    timed: Timed


def epoch(run: StageRun, number: int = 0) -> Epoch:
    """Collects and learns, as the loop does."""
    tracker, interrupt = Tracker(Path()), Interrupt(run.model.engine, print)
    watch = Stopwatch(run.model.engine)
    collected = collect_epoch(run, number, tracker, interrupt)
    advantage = advantages(run, collected)
    watch.lap()
    progress = Progress(number, step=number)
    learned = learn_epoch(run, collected, advantage, progress, tracker)
    run.objective.after_epoch(run.model.policy.weights, learned.step)
    return Epoch(collected, learned, watch.read(collected))


@dataclass(frozen=True)
class Speed:
    """Medians over some epochs, and the seconds of the first, which warms up."""

    first: float
    seconds: dict[str, float]
    images_per_second: float
    tflops: dict[str, float]
    peak_gb: float

    @property
    def row(self) -> dict[str, float]:
        """For a table; `mfu` is in per cent."""
        return {
            "first epoch s": self.first,
            **{f"{phase} s": taken for phase, taken in self.seconds.items()},
            "images/s": self.images_per_second,
            **{
                key.replace("mfu/", "MFU % ").replace("tflops/", "TFLOP/s "): (
                    100 * value if key.startswith("mfu/") else value
                )
                for key, value in self.tflops.items()
            },
            "peak GB": self.peak_gb,
        }


def measure(run: StageRun, repeats: int = 2) -> Speed:
    """Warms up with an epoch and times some more."""
    devices.forget_most_memory()
    started = time.perf_counter()
    epoch(run)
    devices.synchronize(run.model.engine.device)
    first = time.perf_counter() - started
    done = [epoch(run, 1 + i) for i in range(repeats)]
    seconds = {
        "collect": median(one.timed.collect for one in done),
        "learn": median(one.timed.learn for one in done),
    }
    evals = {"collect": done[-1].collected.num_evals, "learn": done[-1].learned.num_evals}
    peak = devices.most_memory()
    (work,) = works(run.recipe, [plan(run.recipe, 1)])
    images = len(done[-1].collected.group)
    return Speed(
        first, seconds, images / sum(seconds.values()), speeds(work, evals, seconds, 1),
        peak / 1e9,
    )  # fmt: skip


def seconds_of(call: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """The median of some calls, each waited for; one before warms up."""
    taken = []
    for _ in range(1 + repeats):
        devices.synchronize(device)
        started = time.perf_counter()
        call()
        devices.synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken[1:])


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The distance as a part of what is expected, on the CPU in float64."""
    one, other = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((one - other).norm() / other.norm())
