"""A comparison's numbers: what reached which score at what cost, and where each ended."""

import math
from collections.abc import Iterator

from zoo.comparison import AXES, Contender, Contest, Target
from zoo.report.comparison_plots import labels, trained
from zoo.report.curves import finite
from zoo.report.over_seeds import Spread, crossing, mean, median, points
from zoo.report.page import Block, Note, Section, Table, count, duration, missing, number

_COSTS = {"seconds": "time", "forwards": "forwards", "images": "images", "steps": "steps"}

_RANGE = (
    "A number is the mean over seeds, in brackets the least and the most of them: a range, not a "
    "confidence interval. Ranges that overlap decide nothing; with few seeds, those that do not "
    "overlap may still be chance."
)


def verdict(contest: Contest) -> Section:
    """The last scores, and the cost of each target beside the first contender's."""
    blocks: list[Block] = [Note(_RANGE), _finals(contest)]
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
        (each.name, *(_shown(_last(each, f"monitor/{key}")) for key in keys))
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
    of = labels(contest)
    head = ("contender", "runs", *(f"{label} ({_short(contest, label)})" for label in of))
    rows = tuple(
        (each.name, str(len(each.runs)), *(_shown(_last(each, f"eval/{label}")) for label in of))
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
            found = _crossings(each, target, axis)
            row.append(_cost(found, axis))
            row.append("1" if each is first else _ratio(found, _crossings(first, target, axis)))
        rows.append(tuple(row))
    head = ["contender"]
    for axis in axes:
        head += [_COSTS[axis], f"to {first.name}'s"]
    what = " and ".join(_COSTS[axis] for axis in axes)
    caption = f"{target.label} of at least {target.at_least:g}: {what} to get there, the median "
    caption += f"over seeds; and that over {first.name}'s median (above 1: more)."
    return Table(caption, tuple(head), tuple(rows))


def _crossings(contender: Contender, target: Target, axis: str) -> Spread:
    key = f"eval/{target.label}"
    return median(
        [crossing(points(run, key, AXES[axis]), target.at_least) for run in contender.runs.values()]
    )


def _cost(found: Spread, axis: str) -> str:
    if found.num == 0:
        return "no run"
    if found.num_finite < found.num:
        share = f"{found.num_finite} of {found.num} seeds"
        if not math.isfinite(found.middle):
            return f"not within the budget ({share})"
        return f"{_amount(found.middle, axis)} [{_amount(found.low, axis)}, never] ({share})"
    if found.num == 1:
        return f"{_amount(found.middle, axis)} (1 seed)"
    ends = f"[{_amount(found.low, axis)}, {_amount(found.high, axis)}]"
    return f"{_amount(found.middle, axis)} {ends}"


def _ratio(found: Spread, to: Spread) -> str:
    """Of medians; with the ratios of the ranges' ends that lie farthest apart."""
    if not (math.isfinite(found.middle) and math.isfinite(to.middle)) or to.middle <= 0:
        return "unknown"
    if found.num == 1 or to.num == 1:
        return number(found.middle / to.middle)
    low = number(found.low / to.high)
    high = number(found.high / to.low) if to.low > 0 and math.isfinite(found.high) else "unknown"
    return f"{number(found.middle / to.middle)} [{low}, {high}]"


def _amount(value: float, axis: str) -> str:
    return duration(value) if axis == "seconds" else count(value)


def _last(contender: Contender, key: str) -> Spread:
    every = []
    for run in contender.runs.values():
        found = [line[key] for line in run.metrics if key in line]
        every.append(finite(found[-1] if found else None))
    return mean(every)


def _shown(found: Spread) -> str:
    if found.num_finite == 0:
        return "n/a"
    of = f" ({found.num_finite} of {found.num} seeds)" if found.num_finite < found.num else ""
    if found.num_finite == 1:
        return f"{number(found.middle)}{of}"
    return f"{number(found.middle)} [{number(found.low)}, {number(found.high)}]{of}"


def _ends(contest: Contest) -> Iterator[tuple[str, ...]]:
    for each in contest.contenders:
        for seed, run in sorted(each.runs.items()):
            last = run.metrics[-1] if run.metrics else {}
            costs = (_amount(finite(last.get(AXES[axis])), axis) for axis in _COSTS)
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
        "seed that never does counts as taking longer than any. Brackets are the range over "
        f"{num} seed{'s' if num != 1 else ''}, those of a ratio the least and most that any two "
        "seeds give; unknown where the target was not reached within the budget. "
        "Times depend on the machine, and on what else it did."
    )
