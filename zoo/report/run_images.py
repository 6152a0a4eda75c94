"""A run's images over time, and how their scores are spread."""

from collections.abc import Sequence

from zoo.report.curves import slug
from zoo.report.embed import inputs, read, tiles
from zoo.report.page import Block, Figure, Figures, Section, Tiles, add_figures, missing
from zoo.report.plots import histograms
from zoo.run.moving import Picture
from zoo.run.record import EvaluationRecord, RunRecord

_MOST_ROWS, MOST_COLUMNS = 8, 10

Seen = Sequence[tuple[EvaluationRecord, tuple[tuple[Picture, ...], ...]]]
"""Evaluations with their tiles."""


def evenly(num: int, most: int) -> list[int]:
    """At most so many of `num` places, the first and the last among them."""
    if num <= most:
        return list(range(num))
    return sorted({round(i * (num - 1) / (most - 1)) for i in range(most)})


def samples(run: RunRecord) -> Section:
    """One image of every prompt over time, and all that were shown at the start and the end."""
    blocks: list[Block] = []
    seen = with_pictures(run)
    if not run.evaluations:
        blocks.append(missing("There are no evaluations' records: none was made, or by an earlier "
                              "version; images/ has its pictures."))  # fmt: skip
    elif len(seen) < len(run.evaluations):
        epochs = ", ".join(str(one.epoch) for one in run.evaluations if tiles(one) is None)
        blocks.append(missing(f"Without a picture that can be read: the evaluations at {epochs}."))
    if seen:
        caption = "The first image of each prompt: a column has one prompt and the same noise."
        blocks.append(over_time(seen, "over_time", caption))
        blocks.append(_ends(seen))
    return Section("samples", "Samples over time", tuple(blocks))


def spread(run: RunRecord) -> Section:
    """Histograms of each score at the start, the middle and the end."""
    blocks: list[Block] = []
    chosen = [run.evaluations[i] for i in evenly(len(run.evaluations), 3)]
    names = list(dict.fromkeys(name for evaluation in chosen for name in evaluation.scores))
    figures = []
    for name in names:
        drawn = [(f"epoch {one.epoch}", one.scores.get(name, ())) for one in chosen]
        invalid = [sum(v != v for v in values) for _, values in drawn]
        if all(count == len(values) for count, (_, values) in zip(invalid, drawn, strict=True)):
            blocks.append(missing(f"{name}: no image has a score."))
            continue
        left_out = f"; {sum(invalid)} images have no score" if sum(invalid) else ""
        figures.append(
            Figure(
                f"histogram_{slug(name)}",
                f"{name} of single images, the same bins{left_out}.",
                f"histograms of {name} at {', '.join(at for at, _ in drawn)}",
                histograms(drawn, x_label=name),
            )
        )
    add_figures(blocks, figures, none="No image's scores are recorded.")
    return Section("histograms", "Score histograms", tuple(blocks))


def with_pictures(run: RunRecord) -> Seen:
    """The evaluations whose picture is there, each with its tiles."""
    return [(one, cut) for one in run.evaluations if (cut := tiles(one)) is not None]


def over_time(seen: Seen, name: str, caption: str, *, rows: int = _MOST_ROWS) -> Tiles:
    """The first image of each prompt at evaluations that are spread evenly."""
    prompts = seen[-1][0].shown_prompts[:MOST_COLUMNS]
    shown = input_row(seen[-1][0], prompts)
    for i in evenly(len(seen), rows):
        evaluation, cut = seen[i]
        first = {prompt: column[0] for prompt, column in
                 zip(evaluation.shown_prompts, cut, strict=True)}  # fmt: skip
        shown.append((f"epoch {evaluation.epoch}", tuple(first.get(prompt) for prompt in prompts)))
    return Tiles(name, caption, prompts, tuple(shown))


def input_row(
    evaluation: EvaluationRecord, prompts: Sequence[str]
) -> list[tuple[str, tuple[Picture | None, ...]]]:
    """A row of what an evaluation's images were made from, if they were made from images."""
    found = inputs(evaluation)
    return [("input", tuple(found.get(prompt) for prompt in prompts))] if found else []


def _ends(seen: Seen) -> Figures:
    figures = []
    for evaluation, _ in [seen[0], *seen[1:][-1:]]:
        assert evaluation.picture is not None
        picture = read(evaluation.picture)
        assert picture is not None  # its tiles have been cut
        caption = f"Epoch {evaluation.epoch}: all images shown, a column a prompt."
        figures.append(Figure(f"epoch_{evaluation.epoch}", caption, caption, picture))
    return Figures(tuple(figures), large=True)
