"""People's votes on a run's images: a line a vote in `votes/votes.jsonl`, the images beside it.

The file is a preference table by itself, which `data.train` can name: every line has the prompt,
its images and a preference for each. `merge` has what several people said of the same images.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le, MinLen
from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from zoo.storage import files, json_data

FOLDER, FILE, IMAGES = "votes", "votes.jsonl", "images"
"""In a run's folder; the two others are in the first."""


class Vote(BaseModel):
    """What one person said of a prompt's images: a preference in [0, 1] for each, higher is better.

    All alike is a vote that says nothing, of one who skipped. `group` is the same for the same
    images of the same prompt; `images` are paths relative to the file; `time` is in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    images: Annotated[tuple[str, ...], MinLen(2)]
    preference: tuple[Annotated[float, Ge(0), Le(1)], ...]
    group: str
    voter: str
    time: str

    @model_validator(mode="after")
    def _one_for_each(self) -> "Vote":
        if len(self.preference) != len(self.images):
            raise ValueError(f"{len(self.preference)} preferences for {len(self.images)} images")
        return self

    @property
    def is_skip(self) -> bool:
        """Whether it prefers nothing."""
        return len(set(self.preference)) == 1


_KIND = TypeAdapter(Vote).validate_json


@dataclass(frozen=True)
class Merged:
    """What people said of the images of a prompt: mean preferences, over so many who did not skip.

    A person who voted again is counted once, by the last vote.
    """

    prompt: str
    images: tuple[str, ...]
    preference: tuple[float, ...]
    num_votes: int


def path_of(run_dir: Path) -> Path:
    """The file of a run's votes, which is not there before the first."""
    return run_dir / FOLDER / FILE


def read(run_dir: Path) -> list[Vote]:
    """All votes in the order in which they came; one that was cut short by a kill is left out.

    Raises:
        DamagedFileError: a line is no vote; names it.
    """
    return json_data.read_lines(path_of(run_dir), _KIND, fix="delete that line")


def append(run_dir: Path, vote: Vote, pictures: Mapping[str, bytes]) -> None:
    """Keeps a vote with its images, by their paths: all is on the disk when this returns.

    Raises:
        WriteError: the disk is full, say.
    """
    path = path_of(run_dir)
    with files.writing(path):
        (path.parent / IMAGES).mkdir(parents=True, exist_ok=True)
        for name, data in pictures.items():
            _keep(path.parent / name, data)
        with path.open("ab+") as file:
            _end_line(file.fileno())
            file.write(f"{vote.model_dump_json()}\n".encode())
            file.flush()
            os.fsync(file.fileno())


def _keep(path: Path, data: bytes) -> None:
    """Its name says what is in it: one that is there is the same."""
    if path.is_file():
        return
    with files.replacing(path) as temporary:
        temporary.write_bytes(data)
        files.flush(temporary)


def _end_line(file: int) -> None:
    """Takes away what a killed writer left of a line: nobody was told that it was kept."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.ftruncate(file, os.pread(file, size, 0).rfind(b"\n") + 1)


def merge(votes: Iterable[Vote]) -> dict[str, Merged]:
    """The votes by group, in the order of the groups' first; without those that all skipped."""
    by_group: defaultdict[str, dict[str, Vote]] = defaultdict(dict)
    for vote in votes:
        by_group[vote.group][vote.voter] = vote
    merged = {group: _merge_group(list(of.values())) for group, of in by_group.items()}
    return {group: found for group, found in merged.items() if found is not None}


def _merge_group(votes: Sequence[Vote]) -> Merged | None:
    said = [vote for vote in votes if not vote.is_skip]
    if not said:
        return None
    columns = zip(*(vote.preference for vote in said), strict=True)
    mean = tuple(sum(column) / len(said) for column in columns)
    return Merged(said[0].prompt, said[0].images, mean, len(said))
