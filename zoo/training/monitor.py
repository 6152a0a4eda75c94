"""A run's evaluation, and what is watched in it: whether rewards go up for the wrong reason.

A reward can be raised by better images or by a trick. So an evaluation is also scored by rewards
that nobody trains on, says what images are like (`looks`, `image_stats`) and how far the model has
gone from its base. A warning, with the pictures to look at, says where a trained reward has risen
while a held-out one has fallen (the over-optimisation of Gao et al. 2022, arXiv 2210.10760), and
where images have left the range of those before training.
"""

import time
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageOps

from zoo.data.images import floats, open_inputs
from zoo.engine.interrupt import Interrupt
from zoo.prompt import Prompt
from zoo.recipe.sections import RewardEntry
from zoo.run import evaluations, pictures
from zoo.run.console import short
from zoo.run.evaluations import EvaluationRecord, Made, PromptKinds
from zoo.run.record import COMPARED_SINCE
from zoo.run.tracker import Tracker, read
from zoo.storage.json_data import DamagedFileError
from zoo.training.asked import weighted_sum
from zoo.training.base_range import DEVIATION, newly_departed
from zoo.training.build import StageRun
from zoo.training.collect import require_finite
from zoo.training.components import evaluated_rewards
from zoo.training.evaluate import EvaluationResult, evaluate
from zoo.training.made import made_by
from zoo.training.reward_hacking import Change, find_parting
from zoo.training.standard_errors import Estimate, clusters, estimate, tags_of
from zoo.training.state import BestSoFar, Progress


@dataclass(frozen=True)
class RunEvaluation:
    """An evaluation of a run and all numbers to be recorded of it.

    `rewards` says of each label whether it is trained on. `score` is that of the held-out rewards,
    with their weights in `eval.rewards`; where there are none, of those that are trained on. Scores
    of evaluations from epoch `compared_since` on are of the same prompts and rewards.
    """

    result: EvaluationResult
    record: dict[str, float]
    rewards: dict[str, bool]
    prompts: tuple[Prompt, ...]
    images_per_prompt: int
    score: Estimate
    compared_since: int
    fps: float
    made: Made

    @property
    def shown_prompts(self) -> tuple[Prompt, ...]:
        """Those whose images are in its picture."""
        return self.prompts[: self.result.columns]

    def file(self, epoch: int) -> EvaluationRecord:
        """What is kept of it."""
        scores = {name: tuple(values.tolist()) for name, values in self.result.scores.items()}
        return EvaluationRecord(
            epoch, self.images_per_prompt, self.rewards, scores,
            tuple(prompt.text for prompt in self.shown_prompts),
            len(self.result.shown) // self.result.columns,
            made=self.made,
            kinds=PromptKinds(
                tuple(clusters(self.prompts).tolist()), tuple(tags_of(self.prompts))
            ),
        )  # fmt: skip


def evaluate_run(
    stage: StageRun, tracker: Tracker, interrupt: Interrupt | None = None
) -> RunEvaluation | None:
    """A run's evaluation with its weights as they are; none where it has no `eval`.

    An `interrupt` is heeded between micro-batches; without it not before the end.

    Raises:
        Interrupted: the run was asked to stop.
        PolicyError: too few of the images are finite.
    """
    options, evaluator = stage.recipe.eval, stage.evaluator
    if options is None or evaluator is None:
        return None
    started = time.perf_counter()
    share = evaluator.shard()
    batches = tracker.bar("evaluating", share.num_batches).over(share.generate())
    if interrupt is not None:
        batches = interrupt.leave_between(batches)
    result = evaluate(share, batches, evaluator.base)
    seconds = time.perf_counter() - started
    num_images = len(evaluator.groups.of_image)
    require_finite(result.num_broken, num_images, max_invalid=stage.recipe.scoring.max_invalid)

    # Which rewards are trained on, and which are there to see whether these are cheated.
    entries = options.rewards or stage.recipe.rewards
    held_out, trained = evaluated_rewards(stage.recipe)
    prompts = evaluator.groups.prompts
    cluster = clusters(prompts).repeat_interleave(options.images_per_prompt)
    sums = {
        name: estimate(weighted_sum(result.scores, weights, result.asked), cluster)
        for name, weights in (("held_out", held_out), ("trained", trained))
        if weights
    }
    record = {
        **result.metrics,
        **_errors(result, entries),
        **{f"monitor/{name}": total.mean for name, total in sums.items()},
        **{f"monitor/{name}": value for name, value in result.monitor.items()},
        **{f"{DEVIATION}{name}": value for name, value in result.deviations.items()},
        "seconds/evaluate": seconds,
        **({COMPARED_SINCE: stage.compared_since} if stage.compared_since else {}),
    }
    return RunEvaluation(
        result, record, {entry.label: entry.label in trained for entry in entries},
        tuple(prompts),
        options.images_per_prompt, next(iter(sums.values())), stage.compared_since,
        options.fps,
        made_by(
            stage.model, evaluator.groups.weights, options,
            seed=evaluator.groups.seed, shape=result.shape,
        ),
    )  # fmt: skip


def record_evaluation(evaluation: RunEvaluation, tracker: Tracker, progress: Progress) -> Progress:
    """Keeps an evaluation's pictures and scores, and warns where these tell of a cheated reward.

    Returns the progress, which knows the best evaluation that this can be compared with.
    """
    best = progress.watched
    if best.best_epoch is not None and best.best_epoch < evaluation.compared_since:
        best = BestSoFar()
    tracker.warn(*evaluation.result.failures)
    if evaluation.result.num_broken:
        tracker.warn(
            f"epoch {progress.epoch}: {evaluation.result.num_broken} images of the evaluation came "
            "out with NaN or infinity, and have no scores"
        )
    if len(evaluation.result.shown):
        tracker.picture(evaluation.result.picture(evaluation.fps), progress.epoch)
        for prompt, video in evaluation.result.whole.items():
            tracker.sample(pictures.single(video, evaluation.fps), progress.epoch, prompt)
        if any(prompt.inputs for prompt in evaluation.shown_prompts):
            tracker.inputs(_picture_inputs(evaluation), progress.epoch)
    now = evaluation.file(progress.epoch)
    tracker.evaluation(now)
    if best.best_epoch is not None:
        _warn_of_hacking(tracker, (best.best_epoch, evaluation.compared_since), now)
    if _has_the_first_size(tracker, now):
        _warn_of_departure(tracker, progress.epoch, evaluation.record)
    score = evaluation.score
    best = best.after(progress.epoch, score.mean, score.standard_error)
    return replace(progress, watched=best)


def _picture_inputs(evaluation: RunEvaluation) -> Image.Image:
    """The first input of each prompt that is shown, within a tile of what was made of it."""
    height, width = evaluation.result.shown.shape[-2:]
    num = len(evaluation.shown_prompts)
    tiles = torch.full((num, 3, height, width), pictures.GREY, dtype=torch.uint8)
    for i, opened in enumerate(open_inputs(evaluation.shown_prompts, longest=max(height, width))):
        if opened:
            fitted = ImageOps.pad(opened[0], (width, height), color="white")
            tiles[i] = pictures.levels(floats(fitted)[None])[0]
    return pictures.grid(tiles, num)


def _warn_of_hacking(tracker: Tracker, since: tuple[int, ...], now: EvaluationRecord) -> None:
    """Compares with the evaluations of these epochs; one that tells of it is enough."""
    earlier: list[EvaluationRecord] = []
    for epoch in dict.fromkeys(since):
        try:
            earlier += filter(None, [evaluations.read_epoch(tracker.run_dir, epoch)])
        except DamagedFileError as error:
            tracker.warn(f"epoch {now.epoch} is not compared with epoch {epoch}: {error}")
    parting = find_parting(earlier, now)
    if parting is None:
        return
    before, rose, fell = parting.since.epoch, parting.rose, parting.fell
    picture = tracker.picture_of_two(
        "parted",
        (before, f"epoch {before}: {_at(rose, fell, after=False)}"),
        (now.epoch, f"epoch {now.epoch}: {_at(rose, fell, after=True)}"),
    )
    tracker.warn(
        f"epoch {now.epoch}: the trained reward '{rose.label}' has risen from "
        f"{short(rose.before)} to {short(rose.after)} since epoch {before}, and the held-out "
        f"'{fell.label}' has fallen from {short(fell.before)} to {short(fell.after)} "
        f"({-fell.errors:.1f} standard errors): the reward may be cheated"
        + (f"; look at {picture}" if picture is not None else "")
    )


def _has_the_first_size(tracker: Tracker, now: EvaluationRecord) -> bool:
    """Whether images are as large as those before training: others have other looks."""
    try:
        first = evaluations.read_epoch(tracker.run_dir, 0)
    except DamagedFileError:
        return True
    before, after = (None if first is None else first.made), now.made
    if before is None or after is None:
        return True
    one, two = ((made.height, made.width, made.frames) for made in (before, after))
    return one == two


def _warn_of_departure(tracker: Tracker, epoch: int, now: dict[str, float]) -> None:
    new = newly_departed(read(tracker.run_dir), now)
    if not new:
        return
    picture = tracker.picture_of_two("left", (0, "before training"), (epoch, f"epoch {epoch}"))
    told = ", ".join(
        f"{one.measure} is {short(one.now)}, the range {short(one.low)} to {short(one.high)}"
        for one in new
    )
    tracker.warn(
        f"epoch {epoch}: images have left the range of those before training: {told}: the reward "
        "may be cheated" + (f"; look at {picture}" if picture is not None else "")
    )


def _at(rose: Change, fell: Change, *, after: bool) -> str:
    shown = [(change.label, change.after if after else change.before) for change in (rose, fell)]
    return ", ".join(f"{label} {short(value)}" for label, value in shown)


def _errors(result: EvaluationResult, entries: tuple[RewardEntry, ...]) -> dict[str, float]:
    return {
        f"eval_error/{entry.label}": result.summaries[entry.label].overall.standard_error
        for entry in entries
    }
