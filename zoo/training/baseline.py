"""What comes before any update: a step in vain, an epoch's images, probes, the first evaluation."""

from collections.abc import Sequence
from dataclasses import asdict

from jaxtyping import Int
from torch import Tensor

from zoo.engine.interrupt import Interrupt
from zoo.objective.base import Probe
from zoo.rollout import Rows
from zoo.run.folder import PROBES
from zoo.run.tracker import Tracker
from zoo.seeds import Draws
from zoo.training import metrics, stop
from zoo.training.build import StageRun
from zoo.training.collect import Collected, shard_groups
from zoo.training.cut import Cut, cut
from zoo.training.epoch import advantages, collect_epoch, groups_of, judged
from zoo.training.first_step import try_step
from zoo.training.monitor import evaluate_run, record_evaluation
from zoo.training.probes import probe, probe_images
from zoo.training.state import Progress

_EPOCH = -1
"""Of its draws: no epoch of training has the same images."""


def measure_untrained(
    run: StageRun, others: Sequence[StageRun], tracker: Tracker, interrupt: Interrupt
) -> Progress:
    """Collects, scores and probes an epoch that is not trained on, and evaluates; records it all.

    First of all a training step is tried, and dropped; of the `others`, stages with images of other
    sizes, one each.

    Returns the progress of a run that has done nothing, with that evaluation as its best.

    Raises:
        Interrupted: the run was asked to stop.
        RewardError: too few images could be scored, or a reward breaks its contract.
        RecipeError: the run is to stop at a score that its evaluation does not have.
    """
    tracker.say(f"measuring the untrained model: {_plan(run)}")

    # Whether a training step can be made at all, before its images are.
    for each in (run, *others):
        try_step(each.learner, shard_groups(each.collector, groups_of(each, _EPOCH)))

    # What the rewards say of the model as it is, and what its images are like.
    collected = collect_epoch(run, _EPOCH, tracker, interrupt, is_trained_on=False)

    # What must hold before the first update, whatever the recipe.
    probes = (*_probe(run, collected), *probe_images(run.collector, collected))
    tracker.warn(*run.model.engine.gather_lines(_failures(probes)))
    tracker.note(PROBES, [{**asdict(one), "holds": one.holds} for one in probes])
    progress = Progress()
    record = {
        **metrics.counters(progress, run.stage),
        **metrics.rewards(collected, run.collector.judge.weights),
        **metrics.probe_record(probes),
    }
    del collected  # else its path would be held while the evaluation makes images

    # Where evaluations begin. A target that they do not score is a mistake to be told of now.
    evaluation = evaluate_run(run, tracker, interrupt)
    if evaluation is not None:
        stop.require_target(run.recipe, evaluation.record)
        progress = record_evaluation(evaluation, tracker, progress)
        record |= evaluation.record
    tracker.record(record)
    return progress


def _plan(run: StageRun) -> str:
    """What will be made, for whoever waits for it."""
    data, evaluator = run.recipe.data, run.evaluator
    groups = f"{data.groups_per_epoch} groups of {data.group_size} images"
    if evaluator is None:
        return groups
    asked = evaluator.groups
    return f"{groups}, then {len(asked.prompts) * asked.size:,} to evaluate"


def _probe(run: StageRun, collected: Collected) -> tuple[Probe, ...]:
    def draws(purpose: str, key: Int[Tensor, " rows"]) -> Draws:
        return Draws(run.recipe.seed, purpose, _EPOCH, key, run.model.engine.device)

    def part(rows: Rows) -> Cut:
        num_groups = run.recipe.data.groups_per_epoch
        return cut(
            run.model.engine, rows, run.learner.num_updates,
            num_groups=num_groups, seed=run.recipe.seed, epoch=_EPOCH,
        )  # fmt: skip

    advantage = advantages(run, collected)[collected.rollout.key]
    return probe(run.learner, judged(run, collected), advantage, draws, part)


def _failures(probes: tuple[Probe, ...]) -> list[str]:
    return [
        f"probe failed: {probe.name} is {probe.measured:.6g}, "
        f"expected {probe.expected:.6g} within {probe.tolerance:.1g}"
        for probe in probes
        if not probe.holds
    ]
