"""What is recorded of an epoch: one flat mapping of numbers."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zoo.advantage import banned, has_spread
from zoo.devices import most_memory
from zoo.engine.base import Engine
from zoo.objective.base import Probe
from zoo.recipe.model import Stage
from zoo.recipe.sections import Ban
from zoo.training.asked import weighted_sum
from zoo.training.build import StageRun
from zoo.training.collect import Collected
from zoo.training.learn import Learned
from zoo.training.state import Progress
from zoo.training.work import speeds

Record = dict[str, float]
"""One line of metrics.jsonl."""


@dataclass(frozen=True)
class Timed:
    """Seconds of an epoch's phases; collecting includes what rewards take beyond sampling.

    Those of the process that took longest. `waited` is of both phases, what the average process
    stood still for: other `processes`, `rewards`, `data`.
    """

    collect: float
    learn: float
    waited: Mapping[str, float]

    @property
    def total(self) -> float:
        """Both phases."""
        return self.collect + self.learn


class Stopwatch:
    """The time of an epoch's two halves, the same on every process."""

    def __init__(self, engine: Engine) -> None:
        """Starts."""
        self._engine, self._waited = engine, engine.communication.seconds()
        self._start = self._lap = time.perf_counter()

    def lap(self) -> None:
        """Collecting ends and learning begins."""
        self._lap = time.perf_counter()

    def read(self, collected: Collected) -> Timed:
        """The seconds of the process that took longest; waits of the average one."""
        waited = {
            **{what: collected.waited.get(what, 0.0) for what in ("rewards", "data")},
            "processes": self._engine.communication.seconds() - self._waited,
        }
        phases = (self._lap - self._start, time.perf_counter() - self._lap)
        own = torch.tensor([[*phases, *waited.values()]], dtype=torch.float64)
        seconds = self._engine.gather(own)
        collect, learn = seconds[:, :2].amax(0).tolist()
        means = seconds[:, 2:].mean(0).tolist()
        return Timed(collect, learn, dict(zip(waited, means, strict=True)))


def advance(progress: Progress, collected: Collected, learned: Learned, timed: Timed) -> Progress:
    """The counters after one more epoch."""
    return replace(
        progress,
        epoch=progress.epoch + 1,
        step=learned.step,
        num_evals=progress.num_evals + collected.num_evals + learned.num_evals,
        num_images=progress.num_images + len(collected.group),
        seconds=progress.seconds + timed.total,
        num_invalid=progress.num_invalid + int(invalid(collected).sum()),
        num_dropped=progress.num_dropped + learned.num_dropped,
    )


def counters(progress: Progress, stage: Stage) -> Record:
    """Where the run is, its stage if it has any, and the most memory this process has held."""
    return {
        "epoch": progress.epoch,
        **({} if stage.index is None else {"stage": stage.index}),
        "step": progress.step,
        "num_evals": progress.num_evals,
        "num_images": progress.num_images,
        "seconds": progress.seconds,
        "peak_memory_gb": peak_memory_gb(),
        "total_invalid": progress.num_invalid,
        "total_dropped": progress.num_dropped,
    }


def rewards(collected: Collected, weights: dict[str, float], ban: Ban | None = None) -> Record:
    """Means over valid images: `reward` of the weighted sum, `reward/<label>` of each as it is.

    The weighted sum also where GDPO mixes, whose own mean is 0 by construction. Besides,
    `flat_groups` and `flat_groups_share` are the groups within which it is the same for all images,
    `banned_share` those of which nothing is learned where a recipe has a `ban`, and
    `collected/<name>` says what the images are like. A reward that scores some sources' images
    alone counts for these, and says nothing in an epoch without any.
    """
    scores, asked = collected.verdict.scores, collected.asked
    total = weighted_sum(scores, weights, asked)
    record = {"reward": float(total.nanmean()), "reward_std": float(_std(total))}
    flat = ~has_spread(total, collected.group)
    record |= {"flat_groups": int(flat.sum()), "flat_groups_share": float(flat.double().mean())}
    if ban is not None:
        out = banned(total, collected.group, **ban.model_dump())
        record["banned_share"] = float(out.double().mean())
    for label, score in {**scores, **collected.verdict.extras}.items():
        if label not in asked or asked[label].any():
            record[f"reward/{label}"] = float(score.nanmean())
    for label, invalid in _invalid_by_label(collected).items():
        if invalid.any():
            record[f"invalid/{label}"] = int(invalid.sum())
    for label, count in collected.verdict.retried.items():
        if count:
            record[f"retries/{label}"] = count
    if collected.num_broken:
        record["broken_images"] = collected.num_broken
    return record | {f"collected/{name}": value for name, value in collected.stats.values.items()}


def epoch(
    run: StageRun,
    progress: Progress,
    collected: Collected,
    learned: Learned,
    timed: Timed,
) -> Record:
    """All numbers of an epoch of this stage that is done; `progress` counts it."""
    rate, processes = len(collected.group) / timed.total, run.model.engine.size
    seconds = {"collect": timed.collect, "learn": timed.learn}
    evals = {"collect": collected.num_evals, "learn": learned.num_evals}
    return {
        **counters(progress, run.stage),
        **groups(run, progress.epoch - 1),
        **rewards(collected, run.collector.judge.weights, run.recipe.advantage.ban),
        **learned.metrics,
        "dropped_updates": learned.num_dropped,
        "empty_updates": learned.num_empty,
        "images_per_second": rate,
        "images_per_second_each": rate / processes,
        "communication_share": timed.waited["processes"] / timed.total,
        **{f"seconds/{phase}": of for phase, of in seconds.items()},
        **{f"waits/{what}": of for what, of in timed.waited.items()},
        **(speeds(run.work, evals, seconds, processes) if run.work is not None else {}),
    }


def groups(run: StageRun, epoch: int) -> Record:
    """`groups/<i>`: how many groups an epoch has of source i, where `data.train` is a list."""
    if isinstance(run.recipe.data.train, str):
        return {}
    num = run.recipe.data.groups_per_epoch
    dealt = run.mixture.dealt(num, seed=run.recipe.seed, epoch=epoch)
    return {f"groups/{i}": size for i, size in enumerate(dealt)}


def probe_record(probes: tuple[Probe, ...]) -> Record:
    """`probe/<name>`: what was measured."""
    return {f"probe/{probe.name.replace(' ', '_')}": probe.measured for probe in probes}


def invalid(collected: Collected) -> Tensor:
    """Which images have any invalid score."""
    return torch.stack(list(_invalid_by_label(collected).values())).any(0)


def _invalid_by_label(collected: Collected) -> dict[str, Bool[Tensor, " images"]]:
    """Which images a reward was to score, and has not."""
    scores = collected.verdict.scores
    return {label: scores[label].isnan() & rows for label, rows in collected.asked.items()}


def peak_memory_gb() -> float:
    """The most memory held so far, in 1e9 bytes: the accelerator's if in use, else resident."""
    if held := most_memory():
        return held / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _std(values: Float[Tensor, " images"]) -> Float[Tensor, ""]:
    return values[~values.isnan()].std(correction=0)
