"""What a run cost: time by phase, memory; its probes; every other number that it recorded."""

from collections.abc import Iterator

from zoo.report.curves import figure, series, slug, values
from zoo.report.page import Block, Figures, Note, Section, Table, duration, missing, number
from zoo.run.record import RunRecord
from zoo.storage.files import or_nan

_PHASES = ("collect", "learn", "evaluate")

_ELSEWHERE = (
    "epoch", "step", "seconds", "num_evals", "num_images", "reward", "peak_memory_gb",
    "images_per_second", "images_per_second_each", "communication_share",
)  # fmt: skip
_ELSEWHERE_PREFIXES = (
    "eval/", "eval_error/", "monitor/", "monitor_std/", "seconds/", "probe/", "tflops/", "mfu/",
    "waits/",
)  # fmt: skip


def costs(run: RunRecord) -> Section:
    """Seconds and shares of each phase, the rate, communication and memory."""
    blocks: list[Block] = []
    totals = {phase: sum(map(or_nan, _finite_values(run, f"seconds/{phase}"))) for phase in _PHASES}
    whole = sum(totals.values())
    rows = []
    for phase, total in totals.items():
        times = _finite_values(run, f"seconds/{phase}")
        if not times:
            blocks.append(missing(f"No seconds/{phase} is recorded."))
            continue
        average = duration(total / len(times))
        rows.append((phase, duration(total), f"{100 * total / whole:.1f} %", average,
                     str(len(times))))  # fmt: skip
    if rows and whole > 0:
        head = ("phase", "in all", "share", "each time", "times")
        says = "Wall clock by phase, the process that took longest. Loading and saving are not in."
        blocks.append(Table(says, head, tuple(rows)))
    blocks += [table for table in (_speeds(run), _waits(run)) if table is not None]
    lines = [
        series(run.metrics, f"seconds/{phase}", phase, style) for style, phase in enumerate(_PHASES)
    ]
    rate = series(run.metrics, "images_per_second")
    memory = series(run.metrics, "peak_memory_gb")
    held = "The most memory that the first process has held by then."
    rated = "Training images a second: collected, scored and learned from."
    drawn = [
        figure(lines, "seconds", name="phases", caption="Seconds of each phase by epoch."),
        figure([rate], "images / s", name="rate", caption=rated),
        figure([memory], "memory (GB)", name="memory", caption=held),
    ]
    shares = values(run.metrics, "communication_share")[1]
    if any(share > 0 for share in shares):
        line = series(run.metrics, "communication_share")
        says = "Share of collecting and learning that the average process waited for others."
        drawn.append(figure([line], "share", name="communication", caption=says))
    elif shares:
        blocks.append(Note("Waiting for other processes: none (one process)."))
    figures = tuple(plot for plot in drawn if plot)
    blocks.append(Figures(figures) if figures else missing("No epoch has been timed."))
    return Section("costs", "Time and memory", tuple(blocks))


def _speeds(run: RunRecord) -> Table | None:
    """How fast forwards were by phase; none of a run that did not record it."""
    rows = []
    for phase in _PHASES:
        rates, parts = (_finite_values(run, f"{kind}/{phase}") for kind in ("tflops", "mfu"))
        if rates:
            part = f"{100 * sum(parts) / len(parts):.1f} %" if parts else "not known"
            rows.append((phase, number(sum(rates) / len(rates)), part))
    says = (
        "The trained network's forwards and backwards on images, of the average process; its part "
        "is of what large products reach on its device."
    )
    head = ("phase", "TFLOP/s", "of what is reached")
    return Table(says, head, tuple(rows)) if rows else None


_WAITED = {
    "rewards": "rewards, when all images were made",
    "data": "prompts and stored images",
    "processes": "other processes",
}


def _waits(run: RunRecord) -> Table | None:
    """What was stood still for; none of a run that did not record it."""
    seconds = [sum(_finite_values(run, f"seconds/{phase}")) for phase in ("collect", "learn")]
    rows = [
        (says, duration(sum(waits)), f"{100 * sum(waits) / sum(seconds):.1f} %")
        for what, says in _WAITED.items()
        if (waits := _finite_values(run, f"waits/{what}")) and sum(seconds) > 0
    ]
    says = "Of collecting and learning the average process waited for"
    return Table(says, ("what", "in all", "share"), tuple(rows)) if rows else None


def probes(run: RunRecord) -> Section:
    """What was checked before the first update."""
    if not run.probes:
        text = "No probes are recorded: an earlier version made this run, or it never began."
        return Section("probes", "Probes", (missing(text),))
    rows = tuple(
        (
            probe.name,
            number(probe.measured),
            f"{number(probe.expected)} ± {number(probe.tolerance)}",
            "yes" if probe.holds else "NO",
        )
        for probe in run.probes
    )
    head = ("before the first update", "measured", "expected", "holds")
    caption = "Measured on the run's own model, images and rewards."
    return Section("probes", "Probes", (Table(caption, head, rows),))


def others(run: RunRecord) -> Section:
    """The loss, the algorithm's own numbers, and whatever else was recorded."""
    figures, constant, empty = [], [], []
    keys = dict.fromkeys(key for line in run.metrics for key in line)
    for key in sorted(keys, key=_place):
        if key in _ELSEWHERE or key.startswith(_ELSEWHERE_PREFIXES):
            continue
        line = series(run.metrics, key)
        points = {value for value in line.y if value == value}
        if not points:
            empty.append(key)
        elif len(points) == 1:
            constant.append((key, number(points.pop(), 6)))
        else:
            bad = len(line.y) - line.num_drawn
            says = f"{key}{f' (not finite in {bad} of {len(line.y)} epochs)' if bad else ''}."
            drawn = figure([line], key, name=f"metric_{slug(key)}", caption=says)
            figures += [drawn] if drawn else []
    blocks: list[Block] = []
    if empty:
        blocks.append(missing(f"Never finite: {', '.join(empty)}."))
    if figures:
        blocks.append(Figures(tuple(figures)))
    if constant:
        blocks.append(Table("The same throughout.", ("metric", "value"), tuple(constant)))
    if not blocks:
        blocks.append(missing("Nothing else is recorded."))
    return Section("metrics", "Loss and other metrics", tuple(blocks))


def _place(key: str) -> int:
    """The loss first, what is said of rewards and images elsewhere last."""
    return 0 if key == "loss" else 2 if key.startswith(("reward", "collected/")) else 1


def _finite_values(run: RunRecord, key: str) -> list[float]:
    return [value for value in values(run.metrics, key)[1] if value == value]


def environment_rows(run: RunRecord) -> Iterator[tuple[str, str]]:
    """What was installed, and the machine."""
    for key, value in run.environment.items():
        if key == "code" and isinstance(value, dict):
            # Apart: runs have it of the packages alone that their recipes name.
            yield from ((f"code of {name}", str(code)) for name, code in value.items())
        elif isinstance(value, dict):
            yield key, ", ".join(f"{name} {version}" for name, version in value.items()) or "none"
        elif isinstance(value, list):
            yield key, ", ".join(map(str, value)) or "none"
        else:
            yield key, str(value)
