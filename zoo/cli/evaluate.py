"""`zoo eval`: images of any prompts, scored, and what they come to."""

import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import typer
from rich.table import Table

from zoo import devices
from zoo.cli import output
from zoo.cli.output import ImageFolder
from zoo.cli.processes import join_processes, launch_workers
from zoo.cli.source import ImageJob, load_model, say_cut
from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.engine.rendezvous import is_worker
from zoo.errors import UserError
from zoo.plan.preflight import require_usable
from zoo.reward.judge import Judge, RewardError
from zoo.run.console import count_on_bar
from zoo.run.evaluations import Made
from zoo.run.folder import environment
from zoo.run.pictures import Writer
from zoo.storage.files import or_null
from zoo.terminal import Terminal, say
from zoo.training.build import Model, evaluation_judge
from zoo.training.collect import Collector, Groups, shard_groups
from zoo.training.components import evaluation_sampler
from zoo.training.evaluate import EVALUATION, EvaluationResult
from zoo.training.evaluate import evaluate as evaluate_images
from zoo.training.generate import Batch
from zoo.training.made import made_by
from zoo.training.standard_errors import Estimate, Summary


def show(summaries: Mapping[str, Summary], failures: Sequence[str], num_broken: int) -> None:
    """Prints the scores, and what went wrong."""
    console = Terminal()
    for line in failures:
        _warn(console, line)
    if num_broken:
        _warn(console, f"{num_broken} images came out with NaN or infinity, and have no scores")
    console.print(_table(_occurring(summaries)))
    says = ["± is one standard error over prompts"]
    if any(summary.tags for summary in summaries.values()):
        says.append("a mean is over images, the mean of tags over the tags' means")
    console.print("; ".join(says), style="dim", soft_wrap=True)


def _occurring(summaries: Mapping[str, Summary]) -> Mapping[str, Summary]:
    """Without what a reward tells of no image: of GenEval's kinds those that no prompt is of."""

    def occurs(name: str, summary: Summary) -> bool:
        is_extra = name.partition("/")[0] in summaries and "/" in name
        return not (is_extra and math.isnan(summary.overall.mean))

    return {name: summary for name, summary in summaries.items() if occurs(name, summary)}


def _table(summaries: Mapping[str, Summary]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("score", no_wrap=True)
    for heading in ("mean", "±", "images"):
        table.add_column(heading, justify="right", no_wrap=True)
    parts = [
        part for summary in summaries.values() for part in (summary.overall, *summary.tags.values())
    ]
    some_invalid = any(part.num_invalid for part in parts)
    if some_invalid:
        table.add_column("invalid", justify="right", no_wrap=True)

    def row(name: str, estimate: Estimate) -> None:
        numbers = [_number(estimate.mean, 4), _number(estimate.standard_error, 2)]
        cells = [name, *numbers, f"{estimate.num_images:,}"]
        table.add_row(*cells, *([f"{estimate.num_invalid:,}"] if some_invalid else []))

    again = {f"{name}/{tag}" for name, summary in summaries.items() for tag in summary.tags}
    for name, summary in summaries.items():
        if name in again:
            continue
        row(name, summary.overall)
        if summary.mean_of_tags is not None:
            row("  mean of tags", summary.mean_of_tags)
        for tag, part in summary.tags.items():
            row(f"    {tag}", part)
    return table


def _number(value: float, digits: int) -> str:
    """So many significant digits, zeros at the end too."""
    return "-" if math.isnan(value) else f"{value:#.{digits}g}".removesuffix(".")


def _warn(console: Terminal, text: str) -> None:
    console.print(f"warning: {text}", style="yellow", soft_wrap=True)


def evaluate(job: ImageJob) -> None:
    """Prints the mean of every score with its error; writes results and images where asked to.

    Raises:
        RewardError: a reward could not score one image; what there is is printed and written.
        PromptError: a reward can use none of the prompts; nothing is loaded.
    """
    require_usable(job.source.recipe, job.prompts)
    if job.out is not None:
        output.require_free(job.out, overwrite=job.overwrite)
    processes = _num_processes(job.processes, len(job.prompts))
    if processes > 1 and not is_worker():
        raise typer.Exit(launch_workers(processes, 0))
    with join_processes(job.source.recipe, sharded=False) as (size, _):
        if job.processes not in (None, "auto", str(size)):
            raise UserError(
                f"--processes {job.processes}: the launcher started {size}; "
                f"write --processes {size} or leave it out"
            )
        stopped = _work(job, size)
    if stopped:
        raise typer.Exit(128 + stopped)


def _work(job: ImageJob, size: int) -> int:
    """One process of the evaluation; the signal that ended it early, or 0."""
    judge = evaluation_judge(job.source.recipe)
    model = load_model(job.source)
    first = model.engine.rank == 0
    if first:
        say(f"{job.source.weights.value} weights of {job.source.origin}")
        say_cut(job, job.source.evaluation.rewards or job.source.recipe.rewards)
    out = job.out
    with Writer() as writer:
        folder = None
        if out is not None and not output.is_picture(out):
            fps = job.source.evaluation.fps
            folder = ImageFolder(out, job.images_per_prompt, writer, fps)
            if first:
                output.remove_earlier(out)
            model.engine.barrier()  # none may write before
        try:
            result = _make(job, model, judge, folder)
        except Interrupted as stop:
            if first and folder is not None:
                say(f"the images so far are in {folder.path / output.IMAGES}")
            return stop.number
        if folder is not None:
            folder.finish()
    made = made_by(
        model, job.source.weights, job.source.evaluation, seed=job.seed, shape=result.shape
    )
    model.engine.barrier()  # all are written
    if first:
        show(result.summaries, result.failures, result.num_broken)
        _write(job, result, made, folder, size)
    # No process leaves before the first has written.
    model.engine.barrier()
    _require_scores(result, [judged.label for judged in judge.rewards])
    return 0


def _make(
    job: ImageJob, model: Model, judge: Judge, folder: ImageFolder | None
) -> EvaluationResult:
    """All images, made and scored, and put in the folder if there is one."""
    source, engine = job.source, model.engine
    share = shard_groups(
        Collector(
            engine, model.policy, evaluation_sampler(source.recipe, source.evaluation), judge,
            source.recipe.engine.micro_batch.sizes.sample,
        ),
        Groups(job.prompts, job.images_per_prompt, source.weights, job.seed, EVALUATION),
    )  # fmt: skip
    stopping = "stopping after these images; again to leave at once"
    with (
        count_on_bar("images", job.num_images) as count,
        Interrupt(engine, say, stopping) as interrupt,
    ):

        def keep(batches: Iterable[Batch]) -> Iterator[Batch]:
            """The same batches, put in the folder and counted."""
            done = 0
            for batch in batches:
                if folder is not None:
                    folder.put(batch.images, batch.key)
                done += len(batch.key) * engine.size
                count(done)
                yield batch

        return evaluate_images(share, interrupt.leave_between(keep(share.generate())))


def _write(
    job: ImageJob, result: EvaluationResult, made: Made, folder: ImageFolder | None, size: int
) -> None:
    if job.out is None:
        return
    picture = result.picture(job.source.evaluation.fps)
    if folder is None:
        say(f"wrote {output.save_picture(picture, job.out, overwrite=job.overwrite)}")
        return
    folder.write(job.prompts, result.scores, picture, _results(job, result, made, size))
    say(f"wrote {job.out}", *output.video_hint(picture))


def _results(job: ImageJob, result: EvaluationResult, made: Made, size: int) -> dict[str, Any]:
    """Everything that the numbers depend on, and the numbers."""
    source, recipe = job.source, job.source.recipe.resolved()
    return {
        "metrics": {name: _summary(summary) for name, summary in result.summaries.items()},
        "monitor": {name: or_null(v) for name, v in result.monitor.items()},
        "num_prompts": len(job.prompts),
        "images_per_prompt": job.images_per_prompt,
        "num_images": job.num_images,
        "num_broken": result.num_broken,
        "failures": list(result.failures),
        "checkpoint": None if source.checkpoint is None else str(source.checkpoint),
        "epoch": None if source.checkpoint is None else int(source.checkpoint.name),
        "weights": source.weights.value,
        "made": asdict(made),
        "prompts": recipe["data"]["eval"] or recipe["data"]["train"],
        "limit": job.limit,
        "seed": job.seed,
        "eval": {**recipe["eval"], "rewards": recipe["eval"]["rewards"] or recipe["rewards"]},
        "processes": size,
        "command": shlex.join(["zoo", *sys.argv[1:]]),
        "environment": environment(source.recipe),
        "recipe": recipe,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    numbers = _estimate(summary.overall)
    if summary.mean_of_tags is not None:
        numbers["mean_of_tags"] = _estimate(summary.mean_of_tags)
        numbers["tags"] = {tag: _estimate(part) for tag, part in summary.tags.items()}
    return numbers


def _estimate(estimate: Estimate) -> dict[str, Any]:
    numbers = asdict(estimate)
    return numbers | {key: or_null(numbers[key]) for key in ("mean", "standard_error")}


def _require_scores(result: EvaluationResult, labels: Sequence[str]) -> None:
    for label in labels:
        overall = result.summaries[label].overall
        if overall.num_images and overall.num_invalid == overall.num_images:
            why = next((line for line in result.failures if f"'{label}'" in line), None)
            raise RewardError(
                f"no image could be scored by reward '{label}': "
                f"{why or 'it returned NaN or infinity'}"
            )


def _num_processes(written: str | None, num_prompts: int) -> int:
    if written is None:
        return 1
    if written == "auto":
        return min(max(1, devices.num_accelerators()), num_prompts)
    if not written.isdecimal() or int(written) < 1:
        raise UserError(f"--processes {written}: write a whole number of 1 or more, or auto")
    if int(written) > num_prompts:
        raise UserError(
            f"--processes {written}: there are {num_prompts} prompts, and one process makes all "
            f"images of a prompt; write --processes {num_prompts} or fewer"
        )
    return int(written)
