"""The files of a run's evaluations: every image's scores, and which prompts its picture shows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BaseModel, TypeAdapter, model_validator

from zoo.run.moving import MOVING, STILL
from zoo.storage import files, json_data
from zoo.storage.json_data import OrNan

FOLDER, PICTURES = "evaluations", "images"

FILE = re.compile(r"(\d{6,})\.json")
"""The name of an evaluation's file: its epoch."""

_DIGITS = 6
"""Significant ones that are kept: thousands of images are scored hundreds of times."""


@dataclass(frozen=True)
class Made:
    """How images were made. `frames` is a video's; `solver` is as a recipe names it.

    `fingerprint` is of the trained weights of the set `weights`; none of a model that nothing was
    trained of: the reference beside LoRA.
    """

    solver: Mapping[str, Any]
    steps: int
    guidance: float
    seed: int
    height: int
    width: int
    frames: int | None
    weights: str
    fingerprint: str | None


@dataclass(frozen=True)
class PromptKinds:
    """Of each prompt in turn: the first prompt with its text, and its tag where it has one."""

    text: tuple[int, ...]
    tag: tuple[str | None, ...]

    def __post_init__(self) -> None:
        """Both are of the same prompts."""
        if len(self.text) != len(self.tag):
            raise ValueError(
                f"{len(self.text)} texts are of other prompts than {len(self.tag)} tags"
            )


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation's images, in the order of their keys: i of prompt p is p * per_prompt + i.

    `rewards` are its labels, and whether each was trained on then; `scores` has those and what they
    recorded besides, NaN where an image could not be scored. The evaluation's picture has a column
    for each of the `shown_prompts` and `shown_rows` rows, all tiles of one size with gaps of
    `pictures.GAP` pixels; none where it was deleted. `inputs` is a picture of as many columns, of
    what its images were made from, where prompts come with images. `made` and `kinds` are not known
    of what an earlier version wrote.
    """

    epoch: int
    images_per_prompt: int
    rewards: Mapping[str, bool]
    scores: Mapping[str, tuple[float, ...]]
    shown_prompts: tuple[str, ...]
    shown_rows: int
    picture: Path | None = None
    inputs: Path | None = None
    made: Made | None = None
    kinds: PromptKinds | None = None


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
        "made": None if record.made is None else asdict(record.made),
        "kinds": None if record.kinds is None else asdict(record.kinds),
    }
    files.write(path, data, indent=None)


class _File(BaseModel):
    """What a file holds."""

    epoch: Annotated[int, Ge(0)]
    images_per_prompt: Annotated[int, Ge(1)]
    rewards: dict[str, bool]
    scores: dict[str, tuple[OrNan, ...]]
    shown_prompts: tuple[str, ...]
    shown_rows: Annotated[int, Ge(0)]
    made: Made | None = None
    kinds: PromptKinds | None = None

    @model_validator(mode="after")
    def _as_many_scores(self) -> "_File":
        numbers = {len(values) for values in self.scores.values()}
        if len(numbers) > 1:
            raise ValueError("its scores are of different numbers of images")
        if self.kinds is not None and numbers - {len(self.kinds.text) * self.images_per_prompt}:
            raise ValueError("its scores are of other prompts than its kinds")
        return self


_KIND = TypeAdapter(_File).validate_json


def paths(run_dir: Path) -> list[Path]:
    """Of all that a run has, by epoch."""
    found = (run_dir / FOLDER).glob("*.json")
    return sorted((path for path in found if FILE.fullmatch(path.name)), key=_epoch_of)


def read(run_dir: Path) -> Iterator[EvaluationRecord]:
    """All of a run's, by epoch.

    Raises:
        DamagedFileError: a file is damaged; names it.
    """
    for path in paths(run_dir):
        yield read_file(path)


def read_epoch(run_dir: Path, epoch: int) -> EvaluationRecord | None:
    """One epoch's, if there is one.

    Raises:
        DamagedFileError: the file is damaged; names it.
    """
    path = run_dir / FOLDER / f"{epoch:06}.json"
    return read_file(path) if path.is_file() else None


def truncate(run_dir: Path, epochs: int) -> None:
    """Deletes those of later epochs."""
    for path in paths(run_dir):
        if _epoch_of(path) > epochs:
            path.unlink()


def picture_path(run_dir: Path, epoch: int, suffix: str) -> Path:
    """Of an evaluation's picture; the suffix says whether it moves."""
    return run_dir / PICTURES / f"epoch_{epoch:06}{suffix}"


def find_picture(run_dir: Path, epoch: int) -> Path | None:
    """The file of an evaluation's picture, if it is there."""
    paths = (picture_path(run_dir, epoch, suffix) for suffix in (STILL, MOVING))
    return next(filter(Path.is_file, paths), None)


def sample_path(run_dir: Path, epoch: int, prompt: int, suffix: str) -> Path:
    """Of one video of an evaluation at its own size: of the prompt of that number."""
    return run_dir / PICTURES / f"sample_{epoch:06}_{prompt:02}{suffix}"


def inputs_path(run_dir: Path, epoch: int) -> Path:
    """Of the picture of what an evaluation's images were made from."""
    return run_dir / PICTURES / f"inputs_{epoch:06}{STILL}"


def read_file(path: Path) -> EvaluationRecord:
    """What one of `paths` holds.

    Raises:
        DamagedFileError: it is damaged.
    """
    found = json_data.read(path, _KIND)
    if found.epoch != _epoch_of(path):
        why = f"epoch: {found.epoch}, in the file of another"
        raise json_data.DamagedFileError(path, why, "delete it to do without")
    run_dir = path.parent.parent
    inputs = inputs_path(run_dir, found.epoch)
    return EvaluationRecord(
        found.epoch,
        found.images_per_prompt,
        found.rewards,
        found.scores,
        found.shown_prompts,
        found.shown_rows,
        find_picture(run_dir, found.epoch),
        inputs if inputs.is_file() else None,
        found.made,
        found.kinds,
    )


def _epoch_of(path: Path) -> int:
    return int(path.stem)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
