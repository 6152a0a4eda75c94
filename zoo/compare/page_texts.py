"""What a comparison was of: the question, the contenders, their troubles, the machines."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from zoo.compare.page_plots import trained
from zoo.compare.results import Contest
from zoo.report.page import WARNING, Block, Listing, Note, Section, Table, count, missing, yaml
from zoo.report.run_costs import environment_rows

_OWN = ("name", "seed", "output_dir")
"""What every run has of its own."""


def asked(contest: Contest) -> Section:
    """The question, the budget, who took part."""
    budget = ", ".join(f"{count(most)} {what}" for what, most in contest.budget.items())
    targets = "; ".join(f"{each.label} at least {each.at_least:g}" for each in contest.targets)
    facts = (
        ("budget of a run", budget or "that of its recipe"),
        ("seeds", ", ".join(map(str, contest.seeds))),
        ("targets", targets or "none were set"),
        ("ratios are to", contest.contenders[0].name if contest.contenders else "n/a"),
        *((label, trained(contest, label)) for label in contest.labels),
    )
    if contest.budget and "epochs" not in contest.budget:
        overshoot = (
            "A run ends with the epoch in which its budget is spent, so each spends up to an "
        )
        facts = (*facts, ("", f"{overshoot}epoch more: see where runs ended."))
    head = ("contender", "runs", "reached the end", "failed")
    blocks: list[Block] = [
        Table("", (), facts, numbers=False),
        Table("Runs by contender.", head, tuple(_runs(contest))),
    ]
    unequal = [each.name for each in contest.contenders if len(each.runs) < len(contest.seeds)]
    if unequal:
        names = ", ".join(unequal)
        blocks.append(Note(f"Not of every seed there is a run: {names}.", WARNING))
    return Section("asked", "What was asked", tuple(blocks))


def contenders(contest: Contest) -> Section:
    """What the suite writes of each, and one whole recipe: the table says how others differ."""
    blocks: list[Block] = [_differences(contest)]
    for each in contest.contenders:
        own = yaml(dict(each.written)) if each.written else "the base recipe as it is\n"
        blocks.append(Listing(f"{each.name}: what the suite writes", own))
    ran = next((each for each in contest.contenders if each.runs), None)
    if ran is not None:
        seed, run = min(ran.runs.items())
        blocks.append(Listing(f"{ran.name}: resolved recipe, seed {seed}", yaml(run.recipe)))
    return Section("recipes", "Recipes", tuple(blocks))


def trouble(contest: Contest) -> Section:
    """Warnings, failed runs, and runs that have not come to their end."""
    blocks: list[Block] = []
    for each in contest.contenders:
        for seed, run in sorted(each.runs.items()):
            blocks += [Note(f"{each.name}, seed {seed}: {text}", WARNING) for text in run.warnings]
            if run.end and run.end.reason not in ("epochs", *contest.budget):
                text = f"{each.name}, seed {seed} ended before the budget was spent: {run.end.text}"
                blocks.append(Note(text, WARNING))
            if run.end is None:
                blocks.append(missing(f"{each.name}, seed {seed} has not come to its end."))
    failed = tuple(
        (each.name, str(run.seed), run.why, run.log)
        for each in contest.contenders
        for run in each.failed
    )
    if failed:
        head = ("failed run", "seed", "why", "log")
        blocks.append(Table("Runs that have no result.", head, failed, numbers=False))
    if not blocks:
        blocks.append(Note("No run failed, and none has a warning."))
    return Section("trouble", "Warnings and failed runs", tuple(blocks))


def machine(contest: Contest) -> Section:
    """Where the runs were made; each difference between runs is a row of its own."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in contest.contenders:
        for seed, run in sorted(each.runs.items()):
            for row in environment_rows(run):
                found.setdefault(row, []).append(f"{each.name} {seed}")
    if not found:
        return Section("machine", "Machine and versions",
                       (missing("No run has recorded where it was made."),))  # fmt: skip
    num = sum(len(each.runs) for each in contest.contenders)
    rows = tuple(
        (key, value, "all runs" if len(runs) == num else ", ".join(runs))
        for (key, value), runs in sorted(found.items(), key=lambda item: item[0])
    )
    blocks: list[Block] = []
    keys = [key for key, _ in found]
    different = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if different:
        text = f"The runs were not all made alike: they differ in {', '.join(different)}. "
        blocks.append(
            Note(f"{text}Times and memory of different machines are no comparison.", WARNING)
        )
    blocks.append(Table("", ("", "value", "of"), rows, numbers=False))
    return Section("machine", "Machine and versions", tuple(blocks))


def _differences(contest: Contest) -> Block:
    """The leaves of resolved recipes that are not the same in all."""
    ran = [each for each in contest.contenders if each.runs]
    every = [dict(leaves(min(each.runs.items())[1].recipe)) for each in ran]
    paths = [path for path in dict.fromkeys(path for found in every for path in found)
             if path.partition(".")[0] not in _OWN]  # fmt: skip
    rows = tuple(
        (path, *(found.get(path, "absent") for found in every))
        for path in paths
        if len({found.get(path, "absent") for found in every}) > 1
    )
    if len(ran) < 2:
        return missing("Fewer than two contenders have runs: there are no recipes to compare.")
    if not rows:
        return Note("The resolved recipes differ in nothing but their seeds and folders.")
    head = ("what differs", *(each.name for each in ran))
    return Table("Resolved recipes; all else is the same.", head, rows, numbers=False)


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value of nested data under its dotted path, as JSON."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list) and any(isinstance(each, Mapping) for each in data):
        for i, value in enumerate(data):
            yield from leaves(value, f"{path}.{i}")
    else:
        yield path, json.dumps(data)


def _runs(contest: Contest) -> Iterator[tuple[str, ...]]:
    for each in contest.contenders:
        ended = sum(run.end is not None for run in each.runs.values())
        yield each.name, str(len(each.runs)), str(ended), str(len(each.failed))
