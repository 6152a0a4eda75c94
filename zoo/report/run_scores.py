"""The first parts of a run's page: what it is, its scores, and whether it cheats."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.report.curves import Lines, figure, series, slug, values
from zoo.report.embed import read
from zoo.report.monitors import MONITORS
from zoo.report.page import (
    WARNING,
    Block,
    Figure,
    Figures,
    Note,
    Section,
    Table,
    add_figures,
    count,
    duration,
    missing,
    number,
    with_error,
)
from zoo.run.moving import MOVING, STILL
from zoo.run.record import COMPARED_SINCE, EvaluationRecord, RunRecord
from zoo.storage.files import or_nan
from zoo.training.base_range import DEVIATION, base_ranges

_HELD_OUT, _TRAINED, _BESIDES = 0, 1, 2
"""Styles, the same throughout."""

_PICTURES = {
    "parted": "Trained and held-out rewards had parted",
    "left": "Images had left the range of those before training",
}
"""Beginnings of the names of a warning's pictures, and what each shows."""


def summary(run: RunRecord) -> Section:
    """What was run, and what came of it."""
    blocks: list[Block] = [Table("", (), tuple(_facts(run)), numbers=False)]
    if run.end is None:
        blocks.append(
            missing(
                "This run has not come to its end: it is still going on, was interrupted, failed, "
                "or an earlier version made it. The numbers are those so far."
            )
        )
    blocks += [Note(text, WARNING) for text in run.warnings]
    scores = tuple(_changes(run))
    if scores:
        head = ("reward", "", "first", "last", "best", "at epoch")
        caption = "Evaluated on the held-out prompts: mean ± one standard error over prompts."
        blocks.append(Table(caption, head, scores))
    return Section("summary", "Summary", tuple(blocks))


def curves(run: RunRecord) -> Section:
    """Scores by epoch: evaluated, and of the images that were trained on."""
    figures = list(_score_figures(run))
    blocks: list[Block] = []
    if not run.evaluated:
        blocks.append(missing("There are no evaluations: the recipe has no eval, or none was due."))
    elif not any(key[:11] == "eval_error/" for line in run.evaluated for key in line):
        blocks.append(missing("No standard errors are recorded: an earlier version made this run."))
    blocks += [
        Note(f"From epoch {count(epoch)} on evaluations are of other prompts or held-out rewards "
             "than before: what changes there need not be the model.")
        for epoch in dict.fromkeys(line.get(COMPARED_SINCE) for line in run.evaluated) if epoch
    ]  # fmt: skip
    add_figures(blocks, figures, none="No epoch is recorded yet.")
    return Section("scores", "Scores", tuple(blocks))


def monitor(run: RunRecord) -> Section:
    """Trained beside held-out rewards, and what else tells of cheating."""
    blocks: list[Block] = [
        Note(text, WARNING) for text in run.warnings if re.search("parted|held|cheated", text)
    ]
    if not any(key[:8] == "monitor/" for line in run.metrics for key in line):
        blocks.append(missing("No monitor/* is recorded: no evaluation, or an earlier version."))
        return Section("monitor", "Cheating monitor", tuple(blocks))
    if run.rewards and all(run.rewards.values()):
        blocks.append(
            missing(
                "Every evaluated reward is trained on: nothing here can show that they are "
                "cheated. Add a reward under eval.rewards that is not under rewards."
            )
        )
    both = [
        series(run.metrics, "monitor/trained", "trained on", _TRAINED),
        series(run.metrics, "monitor/held_out", "held out", _HELD_OUT),
    ]
    caption = "Weighted sums of the evaluated rewards, on the held-out prompts. Parting lines "
    caption += "may be a sign of a reward that is cheated."
    drawn = [figure(both, "score", name="trained_held_out", caption=caption)]
    ranges = base_ranges(run.metrics)
    for key, says in MONITORS.items():
        line = series(run.metrics, f"monitor/{key}", error=f"{DEVIATION}{key}")
        ends = ranges.get(key, ())
        caption = f"{key}: {says}{'; band: one standard deviation over images' if line.low else ''}"
        caption += f"{'; dotted: the range before training' if ends else ''}."
        drawn.append(figure([line], key, name=f"monitor_{key}", caption=caption, marks=ends))
    blocks.append(Figures(tuple(plot for plot in drawn if plot)))
    for kind, says in _PICTURES.items():
        pictures = tuple(_pictures(run.folder, kind, says))
        if pictures:
            blocks.append(Figures(pictures))
    return Section("monitor", "Cheating monitor", tuple(blocks))


def _facts(run: RunRecord) -> Iterator[tuple[str, str]]:
    recipe = run.recipe
    last: Mapping[str, float | None] = run.metrics[-1] if run.metrics else {}
    policy = recipe.get("policy") or {}
    yield "recipe", str(recipe.get("name", ""))
    stages = recipe.get("stages") or []
    if stages:
        yield "stages", ", then ".join(_name(stage.get("objective")) for stage in stages)
    else:
        yield "objective", _name(recipe.get("objective"))
    sampler = recipe.get("sampler") or {}
    yield "solver", f"{_name(sampler.get('solver'))}, {sampler.get('steps', '?')} steps"
    yield "model", str(policy.get("name", "n/a"))
    yield "starts from", _start(policy)
    yield "trained on", ", ".join(map(_reward, recipe.get("rewards") or ())) or "n/a"
    held_out = [label for label, trained in run.rewards.items() if not trained]
    yield "held out", ", ".join(held_out) or ("none" if run.rewards else "not recorded")
    yield "evaluated on", "; ".join(_evaluated_on(run)) or "not recorded"
    yield "epochs", f"{count(last.get('epoch'))} of {recipe.get('epochs', '?')}"
    yield "groups without spread", _flat_groups(run)
    yield "cost", _cost(last)
    yield "ended", run.end.text if run.end else "not yet"


def _evaluated_on(run: RunRecord) -> Iterator[str]:
    """How evaluations' images were made, and since when, where that changed."""
    before = ""
    for evaluation in run.evaluations:
        text = _made(evaluation)
        if text and text != before:
            yield f"from epoch {count(evaluation.epoch)} on {text}" if before else text
            before = text


def _made(evaluation: EvaluationRecord) -> str:
    made = evaluation.made
    if made is None:
        return ""
    frames = f", {made.frames} frames" if made.frames else ""
    return (
        f"{evaluation.images_per_prompt} a prompt of {made.width} x {made.height}{frames}, by "
        f"{made.steps} steps of {_name(made.solver)}, guidance {made.guidance:g}, "
        f"seed {made.seed}, with {made.weights} weights"
    )


def _flat_groups(run: RunRecord) -> str:
    """Of the epochs that were trained on: how many groups' rewards said nothing."""
    _, numbers = values(run.metrics[1:], "flat_groups")
    _, shares = values(run.metrics[1:], "flat_groups_share")
    if not numbers or not shares:
        return "not recorded"
    mean = sum(shares) / len(shares)
    return f"{mean:.1%} of all, {count(numbers[-1])} ({shares[-1]:.1%}) in the last epoch"


def _cost(last: Mapping[str, float | None]) -> str:
    parts = [f"{duration(last.get('seconds'))} of collecting and learning"]
    for key, unit in (("num_evals", "forwards"), ("num_images", "images"), ("step", "steps")):
        if key in last:
            parts.append(f"{count(last[key])} {unit}")
    return ", ".join(parts)


def _name(component: Any) -> str:
    """A component with the options that a line has room for."""
    if not isinstance(component, Mapping):
        return "n/a" if component is None else str(component)
    plain = [
        f"{key} {value}"
        for key, value in component.items()
        if key != "name" and isinstance(value, int | float | str) and not isinstance(value, bool)
    ]
    name = str(component.get("name", ""))
    return f"{name} ({', '.join(plain)})" if plain else name


def _start(policy: Mapping[str, Any]) -> str:
    lora = policy.get("lora") or {}
    weights = policy.get("checkpoint") or policy.get("path") or "its own weights"
    if not lora:
        return f"{weights}; all weights are trained"
    start = f", from {lora['start']}" if lora.get("start") else ", a new one"
    return f"{weights}; LoRA of rank {lora.get('rank', '?')}{start}"


def _reward(reward: Mapping[str, Any]) -> str:
    weight = reward.get("weight", 1.0)
    name = str(reward.get("label") or reward.get("name"))
    return name if weight == 1 else f"{name} (weight {weight:g})"


def _labels(run: RunRecord) -> list[str]:
    """Evaluated rewards first, then what they recorded besides."""
    recorded = [key[5:] for line in run.evaluated for key in line if key[:5] == "eval/"]
    return list(dict.fromkeys([*run.rewards, *recorded]))


def _kind(run: RunRecord, label: str) -> str:
    if label not in run.rewards:
        return "recorded besides" if run.rewards else ""
    return "trained on" if run.rewards[label] else "held out"


def _changes(run: RunRecord) -> Iterator[tuple[str, ...]]:
    for label in _labels(run):
        recorded: Lines = [line for line in run.evaluated if f"eval/{label}" in line]
        if not recorded:
            continue
        first, last = recorded[0], recorded[-1]
        key, error = f"eval/{label}", f"eval_error/{label}"
        row = (
            label,
            _kind(run, label),
            with_error(first[key], first.get(error)),
            with_error(last[key], last.get(error)),
        )
        valid = [line for line in recorded if line[key] is not None]
        if label in run.rewards and valid:
            best = max(valid, key=lambda line: or_nan(line[key]))
            yield (*row, number(best[key]), count(best["epoch"]))
        else:
            yield (*row, "", "")


def _score_figures(run: RunRecord) -> Iterator[Figure]:
    for label in _labels(run):
        style = _BESIDES
        if label in run.rewards:
            style = _TRAINED if run.rewards[label] else _HELD_OUT
        line = series(run.metrics, f"eval/{label}", style=style, error=f"eval_error/{label}")
        kind = _kind(run, label)
        band = "; the band is one standard error over prompts" if line.low else ""
        caption = f"{label}{f' ({kind})' if kind else ''} on the held-out prompts{band}."
        plot = figure([line], label, name=f"eval_{slug(label)}", caption=caption)
        if plot:
            yield plot
    caption = "The trained rewards' weighted sum over the images collected for training."
    line = series(run.metrics, "reward", style=_TRAINED)
    plot = figure([line], "reward", name="reward", caption=caption)
    if plot:
        yield plot


def _pictures(folder: Path, kind: str, says: str) -> Iterator[Figure]:
    for path in sorted((folder / "images").glob(f"{kind}_*")):
        picture = read(path) if path.suffix in (STILL, MOVING) else None
        if picture is None:
            continue
        epoch = path.stem.partition("_")[2].lstrip("0") or "0"
        caption = f"{says} at epoch {epoch}."
        yield Figure(path.stem, caption, caption, picture, wide=True)
