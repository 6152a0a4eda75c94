"""The files of a run's evaluations: every image's scores, and which prompts its picture shows."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import join_lines
from zoo.storage import files as json_file

FOLDER = "evaluations"

_DIGITS = 6
"""Significant ones that are kept: thousands of images are scored hundreds of times."""


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation's images, in the order of their keys: i of prompt p is p * per_prompt + i.

    `rewards` are its labels, and whether each was trained on then; `scores` has those and what they
    recorded besides, NaN where an image could not be scored. The evaluation's picture has a column
    for each of the `shown_prompts` and `shown_rows` rows, all tiles of one size with gaps of
    `pictures.GAP` pixels; none where it was deleted.
    """

    epoch: int
    images_per_prompt: int
    rewards: Mapping[str, bool]
    scores: Mapping[str, tuple[float, ...]]
    shown_prompts: tuple[str, ...]
    shown_rows: int
    picture: Path | None = None


def write(run_dir: Path, record: EvaluationRecord) -> None:
    """Whole or not at all."""
    path = run_dir / FOLDER / f"{record.epoch:06}.json"
    path.parent.mkdir(exist_ok=True)
    data = {
        "epoch": record.epoch,
        "images_per_prompt": record.images_per_prompt,
        "rewards": dict(record.rewards),
        "scores": {name: [_short(v) for v in values] for name, values in record.scores.items()},
        "shown_prompts": list(record.shown_prompts),
        "shown_rows": record.shown_rows,
    }
    json_file.write(path, data, indent=None)


def read(run_dir: Path) -> Iterator[EvaluationRecord]:
    """All of a run's, by epoch.

    Raises:
        ValueError: a file is damaged; the message names it.
    """
    for path in sorted((run_dir / FOLDER).glob("*.json")):
        yield _read(run_dir, path)


def read_epoch(run_dir: Path, epoch: int) -> EvaluationRecord | None:
    """One epoch's, if there is one.

    Raises:
        ValueError: the file is damaged; the message names it.
    """
    path = run_dir / FOLDER / f"{epoch:06}.json"
    return _read(run_dir, path) if path.is_file() else None


def truncate(run_dir: Path, epochs: int) -> None:
    """Deletes those of later epochs."""
    for path in (run_dir / FOLDER).glob("*.json"):
        if int(path.stem) > epochs:
            path.unlink()


def picture_path(run_dir: Path, epoch: int) -> Path:
    """Of an evaluation's picture."""
    return run_dir / "images" / f"epoch_{epoch:06}.png"


def _read(run_dir: Path, path: Path) -> EvaluationRecord:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({join_lines(error)}); delete it to do without"
        ) from error
    picture = picture_path(run_dir, found["epoch"])
    return EvaluationRecord(
        found["epoch"],
        found["images_per_prompt"],
        found["rewards"],
        {name: tuple(map(json_file.or_nan, values)) for name, values in found["scores"].items()},
        tuple(found["shown_prompts"]),
        found["shown_rows"],
        picture if picture.is_file() else None,
    )


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
