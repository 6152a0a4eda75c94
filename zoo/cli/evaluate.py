"""`zoo eval`: images of any prompts, scored, and what they come to."""

import math
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from zoo.cli import output as image_folder
from zoo.cli.output import ImageFolder
from zoo.cli.processes import joined, launched
from zoo.cli.source import Chosen, Source, choose, loaded
from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.engine.launch import rank, started_by_launcher
from zoo.errors import UserError
from zoo.plan.preflight import evaluation_prompts
from zoo.prompt import Prompt
from zoo.reward.judge import Judge, RewardError
from zoo.run import folder as run_dir
from zoo.run.console import counted
from zoo.run.pictures import Writer
from zoo.storage.files import or_null
from zoo.training.build import Model, evaluation_judge
from zoo.training.collect import Collector, Groups, shard_groups
from zoo.training.components import evaluation_sampler
from zoo.training.evaluate import EVALUATION, EvaluationResult
from zoo.training.evaluate import evaluate as evaluate_images
from zoo.training.generate import Batch
from zoo.training.standard_errors import Estimate, Summary


def show(found: Mapping[str, Summary], failures: Sequence[str], num_broken: int) -> None:
    """Prints the scores, and what went wrong."""
    console = Console(highlight=False)
    for line in failures:
        _warn(console, line)
    if num_broken:
        _warn(console, f"{num_broken} images came out with NaN or infinity, and have no scores")
    console.print(_table(found))
    says = ["± is one standard error over prompts"]
    if any(summary.tags for summary in found.values()):
        says.append("a mean is over images, the mean of tags over the tags' means")
    console.print("; ".join(says), style="dim", soft_wrap=True)


def _table(found: Mapping[str, Summary]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("score", no_wrap=True)
    for heading in ("mean", "±", "images"):
        table.add_column(heading, justify="right", no_wrap=True)
    parts = [
        each for summary in found.values() for each in (summary.overall, *summary.tags.values())
    ]
    some_invalid = any(each.num_invalid for each in parts)
    if some_invalid:
        table.add_column("invalid", justify="right", no_wrap=True)

    def row(name: str, each: Estimate) -> None:
        numbers = [_number(each.mean, 4), _number(each.standard_error, 2)]
        cells = [name, *numbers, f"{each.num_images:,}"]
        table.add_row(*cells, *([f"{each.num_invalid:,}"] if some_invalid else []))

    again = {f"{name}/{tag}" for name, summary in found.items() for tag in summary.tags}
    for name, summary in found.items():
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


def _warn(console: Console, text: str) -> None:
    console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Asked:
    """What a recipe does not say: `limit` is of prompts, `seed` of the noise."""

    limit: int | None = None
    seed: int | None = None
    processes: str | None = None
    out: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class _Job:
    chosen: Chosen
    asked: Asked
    prompts: Sequence[Prompt]
    seed: int

    @property
    def images_per_prompt(self) -> int:
        return self.chosen.evaluation.images_per_prompt


def evaluate(source: Source, asked: Asked) -> None:
    """Prints the mean of every score with its error; writes results and images where asked to.

    Raises:
        RewardError: a reward could not score one image; what there is is printed and written.
    """
    chosen = choose(source)
    prompts = evaluation_prompts(chosen.recipe)[: asked.limit]
    first = not rank()
    if asked.out is not None and first:
        image_folder.require_free(asked.out, overwrite=asked.overwrite)
    processes = _num_processes(asked.processes, len(prompts))
    if processes > 1 and not started_by_launcher():
        raise typer.Exit(launched(processes, 0))
    seed = chosen.recipe.seed if asked.seed is None else asked.seed
    job = _Job(chosen, asked, prompts, seed)
    with joined(chosen.recipe, sharded=False) as (size, _):
        if asked.processes not in (None, "auto", str(size)):
            raise UserError(
                f"--processes {asked.processes}: the launcher started {size}; "
                f"write --processes {size} or leave it out"
            )
        stopped = _worked(job, size)
    if stopped:
        raise typer.Exit(128 + stopped)


def _worked(job: _Job, size: int) -> int:
    """One process of the evaluation; the signal that ended it early, or 0."""
    judge = evaluation_judge(job.chosen.recipe)
    model = loaded(job.chosen)
    first = model.engine.rank == 0
    if first:
        typer.echo(f"{job.chosen.weights.value} weights of {job.chosen.origin}")
    out = job.asked.out
    with Writer() as writer:
        folder = None
        if out is not None and not image_folder.is_picture(out):
            folder = ImageFolder(out, job.images_per_prompt, writer)
            if first:
                image_folder.clear(out)
            model.engine.barrier()  # none may write before
        try:
            evaluated = _made(job, model, judge, folder)
        except Interrupted as stop:
            if first and folder is not None:
                typer.echo(f"the images so far are in {folder.path / image_folder.IMAGES}")
            return stop.number
        if folder is not None:
            folder.finish()
    model.engine.barrier()  # all are written
    if first:
        show(evaluated.summaries, evaluated.failures, evaluated.num_broken)
        _write(job, evaluated, folder, size)
    # No process leaves before the first has written.
    model.engine.barrier()
    _require_scores(evaluated, [judged.label for judged in judge.rewards])
    return 0


def _made(job: _Job, model: Model, judge: Judge, folder: ImageFolder | None) -> EvaluationResult:
    """All images, made and scored, and put in the folder if there is one."""
    chosen, engine = job.chosen, model.engine
    share = shard_groups(
        Collector(
            engine, model.policy, evaluation_sampler(chosen.recipe, chosen.evaluation), judge,
            chosen.recipe.engine.micro_batch.sample,
        ),
        Groups(job.prompts, job.images_per_prompt, chosen.weights, job.seed, EVALUATION),
    )  # fmt: skip
    total = len(job.prompts) * job.images_per_prompt
    stopping = "stopping after these images; again to leave at once"
    with counted("images", total) as count, Interrupt(engine, typer.echo, stopping) as interrupt:

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


def _write(job: _Job, evaluated: EvaluationResult, folder: ImageFolder | None, size: int) -> None:
    out = job.asked.out
    if folder is not None:
        results = _results(job, evaluated, size)
        folder.write(job.prompts, evaluated.scores, evaluated.picture(), results)
    elif out is not None:
        image_folder.save_picture(evaluated.picture(), out)
    if out is not None:
        typer.echo(f"wrote {out}")


def _results(job: _Job, evaluated: EvaluationResult, size: int) -> dict[str, Any]:
    """Everything that the numbers depend on, and the numbers."""
    chosen, recipe = job.chosen, job.chosen.recipe.resolved()
    return {
        "metrics": {name: _summary(each) for name, each in evaluated.summaries.items()},
        "monitor": {name: or_null(v) for name, v in evaluated.monitor.items()},
        "num_prompts": len(job.prompts),
        "images_per_prompt": job.images_per_prompt,
        "num_images": len(job.prompts) * job.images_per_prompt,
        "num_broken": evaluated.num_broken,
        "failures": list(evaluated.failures),
        "checkpoint": None if chosen.folder is None else str(chosen.folder),
        "epoch": None if chosen.folder is None else int(chosen.folder.name),
        "weights": chosen.weights.value,
        "prompts": recipe["data"]["eval"] or recipe["data"]["train"],
        "limit": job.asked.limit,
        "seed": job.seed,
        "eval": {**recipe["eval"], "rewards": recipe["eval"]["rewards"] or recipe["rewards"]},
        "processes": size,
        "command": shlex.join(["zoo", *sys.argv[1:]]),
        "environment": run_dir.environment(chosen.recipe),
        "recipe": recipe,
    }


def _summary(summary: Summary) -> dict[str, Any]:
    found = _estimate(summary.overall)
    if summary.mean_of_tags is not None:
        found["mean_of_tags"] = _estimate(summary.mean_of_tags)
        found["tags"] = {tag: _estimate(each) for tag, each in summary.tags.items()}
    return found


def _estimate(estimate: Estimate) -> dict[str, Any]:
    found = asdict(estimate)
    return found | {key: or_null(found[key]) for key in ("mean", "standard_error")}


def _require_scores(evaluated: EvaluationResult, labels: Sequence[str]) -> None:
    for label in labels:
        found = evaluated.summaries[label].overall
        if found.num_invalid == found.num_images:
            why = next((line for line in evaluated.failures if f"'{label}'" in line), None)
            raise RewardError(
                f"no image could be scored by reward '{label}': "
                f"{why or 'it returned NaN or infinity'}"
            )


def _num_processes(written: str | None, num_prompts: int) -> int:
    if written is None:
        return 1
    if written == "auto":
        return min(max(1, torch.cuda.device_count()), num_prompts)
    if not written.isdecimal() or int(written) < 1:
        raise UserError(f"--processes {written}: write a whole number of 1 or more, or auto")
    if int(written) > num_prompts:
        raise UserError(
            f"--processes {written}: there are {num_prompts} prompts, and one process makes all "
            f"images of a prompt; write --processes {num_prompts} or fewer"
        )
    return int(written)
