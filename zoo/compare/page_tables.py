"""A comparison's numbers: what reached which score at what cost, and where each ended."""

import math
from collections.abc import Iterator

from zoo.compare.page_pairs import pairs
from zoo.compare.page_plots import who_trains
from zoo.compare.results import (
    AXES,
    Comparison,
    Contender,
    at_cost,
    cost,
    cost_ratio,
    equal_cost,
    final,
    final_keys,
    final_over_prompts,
)
from zoo.compare.statistics import LEVEL, Interval
from zoo.recipe.sections import ScoreTarget
from zoo.report.page import Block, Note, Section, Table, count, duration, missing, number
from zoo.storage.files import or_nan
from zoo.training.looks import MEASURES
from zoo.training.standard_errors import MEAN_OF_TAGS

_COSTS = {"seconds": "time", "forwards": "forwards", "images": "images", "steps": "steps"}

_UNITS = {axis: "" if axis == "seconds" else f" {what}" for axis, what in _COSTS.items()}

_INTERVAL = (
    f"A number is the mean over seeds, in brackets its {LEVEL:.0%} bootstrap interval over seeds. "
    "With three seeds that is from the least to the most, and too narrow. Intervals that overlap "
    "decide nothing; with few seeds, those that do not overlap may still be chance."
)


def verdict(comparison: Comparison) -> Section:
    """The last scores, and the cost of each target beside the first contender's."""
    blocks: list[Block] = [
        Note(_INTERVAL), _finals(comparison), *_over_prompts(comparison), *pairs(comparison),
        *_at_equal(comparison), *_by_tag(comparison),
    ]  # fmt: skip
    for target in comparison.targets:
        blocks += [
            _target_table(comparison, target, ("seconds", "forwards")),
            _target_table(comparison, target, ("images", "steps")),
        ]
    if not comparison.targets:
        blocks.append(missing("The suite sets no targets, so no costs are compared."))
    else:
        blocks.append(Note(_how(comparison)))
    return Section("verdict", "Result", tuple(blocks))


def endings(comparison: Comparison) -> Section:
    """Where runs ended: cost, memory, and what tells of cheating."""
    head = ("contender", "seed", "ended by", "epochs", "time", *list(_COSTS)[1:], "memory (GB)")
    runs = tuple(_ends(comparison))
    sums = ("held_out", "trained", "diversity", "drift", "similarity")
    caption = "At the last evaluation. held_out and trained are weighted sums of rewards."
    return Section(
        "ended",
        "Where runs ended",
        (
            _monitored(comparison, caption, sums),
            _monitored(comparison, "Means over images at the last evaluation.", MEASURES),
            Table("Of each run; time is that of collecting and learning.", head, runs),
        ),
    )


def _monitored(comparison: Comparison, caption: str, keys: tuple[str, ...]) -> Table:
    rows = tuple(
        (contender.name, *(_mean(final(contender, f"monitor/{key}")) for key in keys))
        for contender in comparison.contenders
    )
    return Table(caption, ("contender", *keys), rows)


def _finals(comparison: Comparison) -> Table:
    of = comparison.labels
    head = ("contender", "runs", *(f"{label} ({_short(comparison, label)})" for label in of))
    rows = tuple(
        (
            contender.name,
            str(len(contender.runs)),
            *(_mean(final(contender, f"eval/{label}")) for label in of),
        )
        for contender in comparison.contenders
    )
    return Table("Scores at the last evaluation, on the held-out prompts.", head, rows)


def _over_prompts(comparison: Comparison) -> Iterator[Table]:
    """The same scores, by other prompts as well; nothing of runs that do not say of which."""
    of = comparison.labels
    found = {
        each.name: [final_over_prompts(each, label) for label in of]
        for each in comparison.contenders
    }
    if not any(interval.num for row in found.values() for interval in row):
        return
    rows = tuple((name, *map(_mean, row)) for name, row in found.items())
    caption = "The same, with intervals over seeds and prompts at once: how far other prompts of "
    caption += "the same kinds could have moved them, too."
    yield Table(caption, ("contender", *of), rows)


def _at_equal(comparison: Comparison) -> Iterator[Table]:
    """The first label's scores where all have spent the same: of time, of forwards, of images."""
    for label in comparison.labels[:1]:
        key = f"eval/{label}"
        spent = {axis: equal_cost(comparison, key, axis) for axis in _COSTS}
        if not all(map(math.isfinite, spent.values())):
            return
        rows = tuple(
            (each.name, *(_mean(at_cost(each, key, axis, most)) for axis, most in spent.items()))
            for each in comparison.contenders
        )
        head = (f"{_amount(most, axis)}{_UNITS[axis]}" for axis, most in spent.items())
        caption = f"{label} where all have spent the same: the least of what any run spent. "
        caption += "Between evaluations it is on the line."
        yield Table(caption, ("contender", *head), rows)


def _by_tag(comparison: Comparison) -> Iterator[Table]:
    """A table a reward whose prompts are of kinds: where each contender ended on each."""
    recorded = {key for each in comparison.contenders for key in final_keys(each)}
    for label in comparison.labels:
        head = f"eval/{label}/"
        if f"{head}{MEAN_OF_TAGS}" not in recorded:
            continue
        tags = sorted(key.removeprefix(head) for key in recorded if key.startswith(head))
        tags = [tag for tag in tags if "/" not in tag and tag != MEAN_OF_TAGS]
        # What a reward says besides is no kind of prompts, though it is written like one.
        tags = [tag for tag in tags if f"{head}{tag}/{MEAN_OF_TAGS}" not in recorded]
        of = (*tags, MEAN_OF_TAGS)
        parts = {
            each.name: [final_over_prompts(each, f"{label}/{tag}") for tag in of]
            for each in comparison.contenders
        }
        known = all(interval.num for row in parts.values() for interval in row)
        rows = tuple(
            (each.name, *(map(_mean, parts[each.name]) if known else _by_seed(each, head, of)))
            for each in comparison.contenders
        )
        caption = f"{label} ({_short(comparison, label)}) by kind of prompt, and their mean"
        caption += f"; intervals over seeds{' and prompts' if known else ''}."
        yield Table(caption, ("contender", *of), rows)


def _by_seed(contender: Contender, head: str, tags: tuple[str, ...]) -> Iterator[str]:
    return (_mean(final(contender, f"{head}{tag}")) for tag in tags)


def _short(comparison: Comparison, label: str) -> str:
    who = who_trains(comparison, label)
    return (
        "held out" if who.startswith("held") else "trained on" if who == "trained on" else "mixed"
    )


def _target_table(comparison: Comparison, target: ScoreTarget, axes: tuple[str, ...]) -> Table:
    first = comparison.contenders[0]
    rows = []
    for contender in comparison.contenders:
        row = [contender.name]
        for axis in axes:
            row.append(_cost(cost(contender, target, axis), axis))
            more = cost_ratio(contender, first, target, axis)
            row.append("1" if contender is first else _ratio(more))
        rows.append(tuple(row))
    head = ["contender"]
    for axis in axes:
        head += [_COSTS[axis], f"to {first.name}'s"]
    what = " and ".join(_COSTS[axis] for axis in axes)
    caption = f"{target.label} of at least {target.at_least:g}: {what} to get there, the median "
    caption += f"over seeds; and that over {first.name}'s median (above 1: more)."
    return Table(caption, tuple(head), tuple(rows))


def _cost(interval: Interval, axis: str) -> str:
    if interval.num == 0:
        return "no run"
    if not math.isfinite(interval.value):
        return f"not within the budget{_share(interval)}"
    if interval.num == 1:
        return f"{_amount(interval.value, axis)} (1 seed)"
    high = "never" if math.isinf(interval.high) else _amount(interval.high, axis)
    return (
        f"{_amount(interval.value, axis)} [{_amount(interval.low, axis)}, {high}]{_share(interval)}"
    )


def _ratio(interval: Interval) -> str:
    if not math.isfinite(interval.value):
        return "unknown"
    if math.isnan(interval.low):
        return number(interval.value)
    high = "unknown" if math.isinf(interval.high) else number(interval.high)
    return f"{number(interval.value)} [{number(interval.low)}, {high}]"


def _share(interval: Interval) -> str:
    """How many seeds it is of, where it is not of all."""
    if interval.num_finite == interval.num:
        return ""
    return f" ({interval.num_finite} of {interval.num} seeds)"


def _amount(value: float, axis: str) -> str:
    return duration(value) if axis == "seconds" else count(value)


def _mean(interval: Interval) -> str:
    if interval.num_finite == 0:
        return "n/a"
    ends = ""
    if not math.isnan(interval.low):
        ends = f" [{number(interval.low)}, {number(interval.high)}]"
    return f"{number(interval.value)}{ends}{_share(interval)}"


def _ends(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for contender in comparison.contenders:
        for seed, run in sorted(contender.runs.items()):
            last = run.metrics[-1] if run.metrics else {}
            costs = (_amount(or_nan(last.get(AXES[axis])), axis) for axis in _COSTS)
            yield (
                contender.name,
                str(seed),
                run.end.reason if run.end else "not ended",
                count(last.get("epoch")),
                *costs,
                number(last.get("peak_memory_gb")),
            )


def _how(comparison: Comparison) -> str:
    num = max((len(contender.runs) for contender in comparison.contenders), default=0)
    return (
        "A target is reached where the straight line between two evaluations first crosses it; a "
        "seed that never does counts as taking longer than any. Brackets are "
        f"{LEVEL:.0%} bootstrap intervals over {num} seed{'s' if num != 1 else ''}, the seeds of a "
        "ratio's contenders resampled independently; unknown where the target was not reached "
        "within the budget. Times depend on the machine, and on what else it did."
    )
