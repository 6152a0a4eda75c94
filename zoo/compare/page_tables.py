"""A comparison's numbers: what reached which score at what cost, and where each ended."""

import math
from collections.abc import Iterator

from zoo.compare.page_plots import trained
from zoo.compare.results import AXES, Contest, Target, cost, cost_ratio, final
from zoo.compare.statistics import LEVEL, Interval
from zoo.report.page import Block, Note, Section, Table, count, duration, missing, number
from zoo.storage.files import or_nan

_COSTS = {"seconds": "time", "forwards": "forwards", "images": "images", "steps": "steps"}

_INTERVAL = (
    f"A number is the mean over seeds, in brackets its {LEVEL:.0%} bootstrap interval over seeds. "
    "With three seeds that is from the least to the most, and too narrow. Intervals that overlap "
    "decide nothing; with few seeds, those that do not overlap may still be chance."
)


def verdict(contest: Contest) -> Section:
    """The last scores, and the cost of each target beside the first contender's."""
    blocks: list[Block] = [Note(_INTERVAL), _finals(contest)]
    for target in contest.targets:
        blocks += [
            _reached(contest, target, ("seconds", "forwards")),
            _reached(contest, target, ("images", "steps")),
        ]
    if not contest.targets:
        blocks.append(missing("The suite sets no targets, so no costs are compared."))
    else:
        blocks.append(Note(_how(contest)))
    return Section("verdict", "Result", tuple(blocks))


def ended(contest: Contest) -> Section:
    """Where runs ended: cost, memory, and what tells of cheating."""
    head = ("contender", "seed", "ended by", "epochs", "time", *list(_COSTS)[1:], "memory (GB)")
    runs = tuple(_ends(contest))
    keys = ("held_out", "trained", "diversity", "drift", "similarity", "saturated")
    rows = tuple(
        (each.name, *(_shown(final(each, f"monitor/{key}")) for key in keys))
        for each in contest.contenders
    )
    caption = "At the last evaluation. held_out and trained are weighted sums of rewards."
    return Section(
        "ended",
        "Where runs ended",
        (
            Table(caption, ("contender", *keys), rows),
            Table("Of each run; time is that of collecting and learning.", head, runs),
        ),
    )


def _finals(contest: Contest) -> Table:
    of = contest.labels
    head = ("contender", "runs", *(f"{label} ({_short(contest, label)})" for label in of))
    rows = tuple(
        (each.name, str(len(each.runs)), *(_shown(final(each, f"eval/{label}")) for label in of))
        for each in contest.contenders
    )
    return Table("Scores at the last evaluation, on the held-out prompts.", head, rows)


def _short(contest: Contest, label: str) -> str:
    said = trained(contest, label)
    return (
        "held out" if said.startswith("held") else "trained on" if said == "trained on" else "mixed"
    )


def _reached(contest: Contest, target: Target, axes: tuple[str, ...]) -> Table:
    first = contest.contenders[0]
    rows = []
    for each in contest.contenders:
        row = [each.name]
        for axis in axes:
            row.append(_cost(cost(each, target, axis), axis))
            more = cost_ratio(each, first, target, axis)
            row.append("1" if each is first else _ratio(more))
        rows.append(tuple(row))
    head = ["contender"]
    for axis in axes:
        head += [_COSTS[axis], f"to {first.name}'s"]
    what = " and ".join(_COSTS[axis] for axis in axes)
    caption = f"{target.label} of at least {target.at_least:g}: {what} to get there, the median "
    caption += f"over seeds; and that over {first.name}'s median (above 1: more)."
    return Table(caption, tuple(head), tuple(rows))


def _cost(found: Interval, axis: str) -> str:
    if found.num == 0:
        return "no run"
    share = f" ({found.num_finite} of {found.num} seeds)" if found.num_finite < found.num else ""
    if not math.isfinite(found.value):
        return f"not within the budget{share}"
    if found.num == 1:
        return f"{_amount(found.value, axis)} (1 seed)"
    high = "never" if math.isinf(found.high) else _amount(found.high, axis)
    return f"{_amount(found.value, axis)} [{_amount(found.low, axis)}, {high}]{share}"


def _ratio(found: Interval) -> str:
    if not math.isfinite(found.value):
        return "unknown"
    if math.isnan(found.low):
        return number(found.value)
    high = "unknown" if math.isinf(found.high) else number(found.high)
    return f"{number(found.value)} [{number(found.low)}, {high}]"


def _amount(value: float, axis: str) -> str:
    return duration(value) if axis == "seconds" else count(value)


def _shown(found: Interval) -> str:
    if found.num_finite == 0:
        return "n/a"
    of = f" ({found.num_finite} of {found.num} seeds)" if found.num_finite < found.num else ""
    if math.isnan(found.low):
        return f"{number(found.value)}{of}"
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]{of}"


def _ends(contest: Contest) -> Iterator[tuple[str, ...]]:
    for each in contest.contenders:
        for seed, run in sorted(each.runs.items()):
            last = run.metrics[-1] if run.metrics else {}
            costs = (_amount(or_nan(last.get(AXES[axis])), axis) for axis in _COSTS)
            yield (
                each.name,
                str(seed),
                run.end.reason if run.end else "not ended",
                count(last.get("epoch")),
                *costs,
                number(last.get("peak_memory_gb")),
            )


def _how(contest: Contest) -> str:
    num = max((len(each.runs) for each in contest.contenders), default=0)
    return (
        "A target is reached where the straight line between two evaluations first crosses it; a "
        "seed that never does counts as taking longer than any. Brackets are "
        f"{LEVEL:.0%} bootstrap intervals over {num} seed{'s' if num != 1 else ''}, the seeds of a "
        "ratio's contenders resampled independently; unknown where the target was not reached "
        "within the budget. Times depend on the machine, and on what else it did."
    )
