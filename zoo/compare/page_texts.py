"""What a comparison was of: the question, the contenders, their troubles, the machines."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from zoo.compare.page_plots import who_trains
from zoo.compare.results import Comparison
from zoo.report.page import WARNING, Block, Listing, Note, Section, Table, count, missing, yaml
from zoo.report.run_costs import environment_rows

_OWN = ("name", "seed", "output_dir")
"""What every run has of its own."""


def question(comparison: Comparison) -> Section:
    """The question, the budget, who took part."""
    budget = ", ".join(f"{count(most)} {what}" for what, most in comparison.budget.items())
    targets = "; ".join(
        f"{target.label} at least {target.at_least:g}" for target in comparison.targets
    )
    facts = (
        ("budget of a run", budget or "that of its recipe"),
        ("seeds", ", ".join(map(str, comparison.seeds))),
        ("targets", targets or "none were set"),
        ("ratios are to", comparison.contenders[0].name if comparison.contenders else "n/a"),
        *((label, who_trains(comparison, label)) for label in comparison.labels),
    )
    if comparison.budget and "epochs" not in comparison.budget:
        overshoot = (
            "A run ends with the epoch in which its budget is spent, so each spends up to an "
        )
        facts = (*facts, ("", f"{overshoot}epoch more: see where runs ended."))
    head = ("contender", "runs", "reached the end", "failed")
    blocks: list[Block] = [
        Table("", (), facts, numbers=False),
        Table("Runs by contender.", head, tuple(_runs(comparison))),
    ]
    unequal = [
        contender.name
        for contender in comparison.contenders
        if len(contender.runs) < len(comparison.seeds)
    ]
    if unequal:
        names = ", ".join(unequal)
        blocks.append(Note(f"Not of every seed there is a run: {names}.", WARNING))
    return Section("asked", "What was asked", tuple(blocks))


def contenders(comparison: Comparison) -> Section:
    """What the suite writes of each, and one whole recipe: the table says how others differ."""
    blocks: list[Block] = [_differences(comparison)]
    for contender in comparison.contenders:
        own = yaml(dict(contender.written)) if contender.written else "the base recipe as it is\n"
        blocks.append(Listing(f"{contender.name}: what the suite writes", own))
    ran = next((contender for contender in comparison.contenders if contender.runs), None)
    if ran is not None:
        seed, run = min(ran.runs.items())
        blocks.append(Listing(f"{ran.name}: resolved recipe, seed {seed}", yaml(run.recipe)))
    return Section("recipes", "Recipes", tuple(blocks))


def trouble(comparison: Comparison) -> Section:
    """Warnings, failed runs, and runs that have not come to their end."""
    blocks: list[Block] = []
    for contender in comparison.contenders:
        for seed, run in sorted(contender.runs.items()):
            name = f"{contender.name}, seed {seed}"
            blocks += [Note(f"{name}: {text}", WARNING) for text in run.warnings]
            if run.end and run.end.reason not in ("epochs", *comparison.budget):
                text = f"{name} ended before the budget was spent: {run.end.text}"
                blocks.append(Note(text, WARNING))
            if run.end is None:
                blocks.append(missing(f"{name} has not come to its end."))
    failed = tuple(
        (contender.name, str(run.seed), run.why, run.log)
        for contender in comparison.contenders
        for run in contender.failed
    )
    if failed:
        head = ("failed run", "seed", "why", "log")
        blocks.append(Table("Runs that have no result.", head, failed, numbers=False))
    if not blocks:
        blocks.append(Note("No run failed, and none has a warning."))
    return Section("trouble", "Warnings and failed runs", tuple(blocks))


def machine(comparison: Comparison) -> Section:
    """Where the runs were made; each difference between runs is a row of its own."""
    runs_of: dict[tuple[str, str], list[str]] = {}
    for contender in comparison.contenders:
        for seed, run in sorted(contender.runs.items()):
            for row in environment_rows(run):
                runs_of.setdefault(row, []).append(f"{contender.name} {seed}")
    if not runs_of:
        return Section("machine", "Machine and versions",
                       (missing("No run has recorded where it was made."),))  # fmt: skip
    num = sum(len(contender.runs) for contender in comparison.contenders)
    rows = tuple(
        (key, value, "all runs" if len(runs) == num else ", ".join(runs))
        for (key, value), runs in sorted(runs_of.items(), key=lambda item: item[0])
    )
    blocks: list[Block] = []
    keys = [key for key, _ in runs_of]
    different = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if different:
        text = f"The runs were not all made alike: they differ in {', '.join(different)}. "
        blocks.append(
            Note(f"{text}Times and memory of different machines are no comparison.", WARNING)
        )
    blocks.append(Table("", ("", "value", "of"), rows, numbers=False))
    return Section("machine", "Machine and versions", tuple(blocks))


def _differences(comparison: Comparison) -> Block:
    """The leaves of resolved recipes that are not the same in all."""
    ran = [contender for contender in comparison.contenders if contender.runs]
    every = [dict(leaves(min(contender.runs.items())[1].recipe)) for contender in ran]
    paths = [path for path in dict.fromkeys(path for recipe in every for path in recipe)
             if path.partition(".")[0] not in _OWN]  # fmt: skip
    rows = tuple(
        (path, *(recipe.get(path, "absent") for recipe in every))
        for path in paths
        if len({recipe.get(path, "absent") for recipe in every}) > 1
    )
    if len(ran) < 2:
        return missing("Fewer than two contenders have runs: there are no recipes to compare.")
    if not rows:
        return Note("The resolved recipes differ in nothing but their seeds and folders.")
    head = ("what differs", *(contender.name for contender in ran))
    return Table("Resolved recipes; all else is the same.", head, rows, numbers=False)


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of nested data under its dotted path, as JSON."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list) and any(isinstance(item, Mapping) for item in data):
        for i, value in enumerate(data):
            yield from leaves(value, f"{path}.{i}")
    else:
        yield path, json.dumps(data)


def _runs(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for contender in comparison.contenders:
        ended = sum(run.end is not None for run in contender.runs.values())
        yield contender.name, str(len(contender.runs)), str(ended), str(len(contender.failed))
