"""The page of an acceptance: what is good and what is not, then every number."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue

from benchmarks.acceptance_parts.part import Part, Result

_GOOD = {True: "yes", False: "**NO**", None: "not known"}


def page(parts: Sequence[Part], results: Mapping[str, Result]) -> str:
    """In Markdown, of all parts, with a verdict of each and the bound with its reason."""
    wheres = dict.fromkeys(one.where for one in results.values())
    small = ", small shapes" if any(one.small for one in results.values()) else ""
    lines = [f"# Acceptance on {'; '.join(wheres) or 'nothing yet'}{small}", "", _summary(results)]
    lines += ["", *_verdicts(parts, results)]
    for part in parts:
        if (result := results.get(part.name)) is not None and result.numbers:
            lines += ["", f"## {part.name}: {part.shows}", "", *_numbers(result.numbers)]
    return "\n".join(lines) + "\n"


def _summary(results: Mapping[str, Result]) -> str:
    verdicts = [verdict for one in results.values() for verdict in one.verdicts]
    good, bad = (sum(one.good is good for one in verdicts) for good in (True, False))
    failed = sum(one.state == "failed" for one in results.values())
    seconds = sum(one.seconds for one in results.values())
    return (
        f"{good} good, {bad} not, {len(verdicts) - good - bad} not known; {failed} parts failed; "
        f"{seconds:.0f} s."
    )


def _verdicts(parts: Sequence[Part], results: Mapping[str, Result]) -> Iterator[str]:
    yield "| part | what | found | bound, and why | good |"
    yield "|---|---|---|---|---|"
    for part in parts:
        result = results.get(part.name)
        if result is None:
            yield _row(part.name, part.shows, "not run", "", "not known")
            continue
        for one in result.verdicts:
            yield _row(part.name, one.about, one.found, one.bound, _GOOD[one.good])
        if result.state == "failed":
            yield _row(part.name, part.shows, result.message, "it ends by itself", _GOOD[False])


def _row(*cells: str) -> str:
    shown = (" ".join(cell.replace("|", "\\|").split()) for cell in cells)
    return f"| {' | '.join(shown)} |"


def _numbers(numbers: Mapping[str, JsonValue]) -> Iterator[str]:
    """Mappings of the same keys as the rows of one table; all else a line each."""
    tables: dict[tuple[str, ...], dict[str, Mapping[str, JsonValue]]] = {}
    for name, value in numbers.items():
        if isinstance(value, dict) and value:
            tables.setdefault(tuple(value), {})[name] = value
        else:
            yield f"* {name}: {_shown(value)}"
    for columns, rows in tables.items():
        yield ""
        yield _row("", *columns)
        yield _row(*["---"] * (1 + len(columns)))
        for name, row in rows.items():
            yield _row(name, *map(_shown, row.values()))


def _shown(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return "none" if value in (None, {}) else str(value)
