"""What is measured before any update: an epoch's images, the probes, the first evaluation."""

from dataclasses import dataclass

from zoo.objective.base import Probe
from zoo.seeds import Draws
from zoo.training import metrics as records
from zoo.training import stop
from zoo.training.build import Run
from zoo.training.epoch import advantages, collected
from zoo.training.monitor import Monitored, monitored
from zoo.training.probes import Pixels, probe
from zoo.training.state import Progress


@dataclass(frozen=True)
class Before:
    """The metrics' first line, the evaluation if there is one, and what is not as it must be."""

    record: dict[str, float]
    probes: tuple[Probe, ...]
    monitored: Monitored | None
    warnings: tuple[str, ...]


def before_any_update(run: Run) -> Before:
    """Collects, scores and probes an epoch that is not trained on, and evaluates.

    Raises:
        RecipeError: the run is to stop at a score that its evaluation does not have.
    """
    pixels = Pixels()
    made = collected(run, -1, lambda: None, pixels.see)
    mine = advantages(run, made)[made.rollout.key]
    probes = probe(
        run.objective, run.policy, made.rollout, mine,
        lambda purpose, key: Draws(run.recipe.seed, purpose, -1, key, run.engine.device),
        micro_batch=run.recipe.engine.micro_batch.train,
    )  # fmt: skip
    broken = Probe("broken images", made.num_broken, 0.0, 0.0)
    probes = (*probes, pixels.probe(), broken)
    record = records.counters(Progress(), run.stage) | records.rewards(made, run.judge.weights)
    failed = [
        f"probe failed: {p.name} is {p.measured:.6g}, "
        f"expected {p.expected:.6g} within {p.tolerance:.1g}"
        for p in probes
        if not p.holds
    ]
    warnings = (*made.verdict.failures, *run.engine.gather_lines(failed))
    evaluated = monitored(run)
    if evaluated is not None:
        stop.require_target(run.recipe, evaluated.record)
    return Before(record | records.probed(probes), probes, evaluated, warnings)
