"""A comparison's images: contenders side by side, and each over its training."""

from collections.abc import Iterator

from zoo.compare.results import Comparison, Contender
from zoo.report.curves import slug
from zoo.report.page import Block, Section, Tiles, missing
from zoo.report.run_images import MOST_COLUMNS, input_row, over_time, with_pictures
from zoo.run.moving import Picture
from zoo.run.record import EvaluationRecord, RunRecord

_ROWS = 5
"""Of each contender over training: a page of many contenders must not grow too large."""


def images(comparison: Comparison) -> Section:
    """The last images of one seed beside each other, then those over training."""
    blocks: list[Block] = []
    seed = _common_seed(comparison)
    shown = []
    for contender in comparison.contenders:
        picked = _pick(contender, seed)
        if picked is None:
            blocks.append(missing(f"{contender.name} has no pictures of an evaluation."))
        else:
            shown.append((contender, *picked))
    if shown:
        blocks.append(
            _side_by_side([(contender.name, at, run) for contender, at, run in shown], seed)
        )
    for contender, at, run in shown:
        caption = f"{contender.name}, seed {at}, over training: the first image of each prompt."
        name = f"over_time_{slug(contender.name)}"
        blocks.append(over_time(with_pictures(run), name, caption, rows=_ROWS))
    return Section("images", "Images", tuple(blocks))


def _common_seed(comparison: Comparison) -> int | None:
    """The first that every contender with pictures has a pictured run of."""
    have = [
        {seed for seed, run in contender.runs.items() if with_pictures(run)}
        for contender in comparison.contenders
    ]
    have = [seeds for seeds in have if seeds]
    return next(
        (seed for seed in comparison.seeds if have and all(seed in seeds for seeds in have)), None
    )


def _pick(contender: Contender, seed: int | None) -> tuple[int, RunRecord] | None:
    seeds = [at for at in ([seed] if seed is not None else sorted(contender.runs))
             if at in contender.runs and with_pictures(contender.runs[at])]  # fmt: skip
    return (seeds[0], contender.runs[seeds[0]]) if seeds else None


def _side_by_side(shown: list[tuple[str, int, RunRecord]], seed: int | None) -> Tiles:
    start, _ = with_pictures(shown[0][2])[0]
    prompts = start.shown_prompts[:MOST_COLUMNS]
    rows = input_row(start, prompts)
    if start.epoch == 0:
        rows.append(("before training", _first(shown[0][2], 0, prompts)))
    for name, at, run in shown:
        heading = name if seed is not None else f"{name} (seed {at})"
        rows.append((heading, _first(run, -1, prompts)))
    same = f"of seed {seed}, " if seed is not None else "of different seeds, "
    caption = f"The first image of each prompt at the last evaluation {same}"
    caption += "the same prompts" + (" and the same noise." if seed is not None else ".")
    return Tiles("side_by_side", caption, prompts, tuple(rows))


def _first(run: RunRecord, place: int, prompts: tuple[str, ...]) -> tuple[Picture | None, ...]:
    evaluation, cut = with_pictures(run)[place]
    first = dict(_columns(evaluation, cut))
    return tuple(first.get(prompt) for prompt in prompts)


def _columns(
    evaluation: EvaluationRecord, cut: tuple[tuple[Picture, ...], ...]
) -> Iterator[tuple[str, Picture]]:
    for prompt, column in zip(evaluation.shown_prompts, cut, strict=True):
        yield prompt, column[0]
