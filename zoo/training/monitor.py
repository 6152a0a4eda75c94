"""A run's evaluation, and what is watched in it: whether rewards go up for the wrong reason.

A reward can be raised by better images or by a trick. So an evaluation is also scored by rewards
that nobody trains on, says how diverse, alike and saturated images are and how far the model has
gone from its base; and where a trained reward has risen while a held-out one has fallen, a warning
says so, with the pictures to look at (the over-optimisation of Gao et al. 2022, arXiv 2210.10760).
"""

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.recipe.sections import RewardEntry
from zoo.run import evaluations
from zoo.run.console import short
from zoo.run.evaluations import EvaluationRecord
from zoo.run.tracker import Tracker
from zoo.training.build import Run
from zoo.training.drift import base_of
from zoo.training.evaluate import Evaluated, evaluate
from zoo.training.reward_hacking import Change, parted
from zoo.training.standard_errors import Estimate, clusters, estimate
from zoo.training.state import Watched


@dataclass(frozen=True)
class Monitored:
    """An evaluation of a run and all numbers to be recorded of it.

    `score` is that of the held-out rewards, with their weights in `eval.rewards`; where there are
    none, of those that are trained on.
    """

    evaluated: Evaluated
    record: dict[str, float]
    rewards: dict[str, bool]
    shown_prompts: tuple[str, ...]
    images_per_prompt: int
    score: Estimate

    def file(self, epoch: int) -> EvaluationRecord:
        """What is kept of it."""
        scores = {name: tuple(each.tolist()) for name, each in self.evaluated.scores.items()}
        columns = self.evaluated.columns
        return EvaluationRecord(
            epoch, self.images_per_prompt, self.rewards, scores, self.shown_prompts,
            len(self.evaluated.shown) // columns,
        )  # fmt: skip


def monitored(run: Run) -> Monitored | None:
    """A run's evaluation with its weights as they are; none where it has no `eval`."""
    options, evaluation = run.recipe.eval, run.evaluation
    if options is None or evaluation is None:
        return None
    started = time.perf_counter()
    made = evaluate(
        run.engine, run.policy, evaluation.sampler, evaluation.judge, evaluation.prompts,
        images_per_prompt=options.images_per_prompt,
        weights=evaluation.weights,
        seed=run.recipe.seed,
        micro_batch=run.recipe.engine.micro_batch.sample,
        base=base_of(run.policy.weights, run.copies),
    )  # fmt: skip
    seconds = time.perf_counter() - started
    entries = options.rewards or run.recipe.rewards
    weight_of = {entry.measures: entry.weight for entry in run.recipe.rewards}
    trained = {e.label: weight_of[e.measures] for e in entries if e.measures in weight_of}
    held_out = {e.label: e.weight for e in entries if e.label not in trained}
    cluster = clusters(evaluation.prompts).repeat_interleave(options.images_per_prompt)
    sums = {
        name: estimate(_sum(made, weights), cluster)
        for name, weights in (("held_out", held_out), ("trained", trained))
        if weights
    }
    record = {
        **made.metrics,
        **_errors(made, entries),
        **{f"monitor/{name}": each.mean for name, each in sums.items()},
        **{f"monitor/{name}": value for name, value in made.monitor.items()},
        "seconds/evaluate": seconds,
    }
    return Monitored(
        made, record, {entry.label: entry.label in trained for entry in entries},
        tuple(prompt.text for prompt in evaluation.prompts[: made.columns]),
        options.images_per_prompt, next(iter(sums.values())),
    )  # fmt: skip


def recorded(of: Monitored, tracker: Tracker, epoch: int, watched: Watched) -> Watched:
    """Keeps an evaluation's pictures and scores, and warns where rewards have parted.

    `watched` is of those before; returned with this one.
    """
    tracker.warn(*of.evaluated.failures)
    if len(of.evaluated.shown):
        tracker.picture(of.evaluated.picture(), epoch)
    now = of.file(epoch)
    tracker.evaluation(now)
    if watched.best_epoch is not None:
        _warn_of_parting(tracker, watched.best_epoch, now)
    return watched.after(epoch, of.score.mean, of.score.standard_error)


def _warn_of_parting(tracker: Tracker, best_epoch: int, now: EvaluationRecord) -> None:
    best = evaluations.read_epoch(tracker.run_dir, best_epoch)
    found = parted(best, now) if best is not None else None
    if best is None or found is None:
        return
    rose, fell = found
    picture = tracker.picture_of_two(
        f"parted_{now.epoch:06}.png",
        (best.epoch, f"epoch {best.epoch}: {_at(rose, fell, after=False)}"),
        (now.epoch, f"epoch {now.epoch}: {_at(rose, fell, after=True)}"),
    )
    tracker.warn(
        f"epoch {now.epoch}: the trained reward '{rose.label}' has risen from "
        f"{short(rose.before)} to {short(rose.after)} since epoch {best.epoch}, and the held-out "
        f"'{fell.label}' has fallen from {short(fell.before)} to {short(fell.after)} "
        f"({-fell.errors:.1f} standard errors): the reward may be cheated"
        + (f"; look at {picture}" if picture is not None else "")
    )


def _at(rose: Change, fell: Change, *, after: bool) -> str:
    shown = [(each.label, each.after if after else each.before) for each in (rose, fell)]
    return ", ".join(f"{label} {short(value)}" for label, value in shown)


def _sum(made: Evaluated, weights: dict[str, float]) -> Float[Tensor, " images"]:
    return torch.stack([weight * made.scores[label] for label, weight in weights.items()]).sum(0)


def _errors(made: Evaluated, entries: tuple[RewardEntry, ...]) -> dict[str, float]:
    return {
        f"eval_error/{entry.label}": made.summaries[entry.label].overall.standard_error
        for entry in entries
    }
