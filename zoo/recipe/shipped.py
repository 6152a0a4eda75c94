"""The recipes and suites that come with zoo: found by name, listed, copied to be edited.

In a checkout they are in its `recipes/` and `benchmarks/`, in an installed package beside its code.
"""

import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import UserError, suggest
from zoo.storage.files import why_unwritable, writing

_PACKAGE = Path(__file__).parent.parent
_FOLDERS = ("recipes", "benchmarks")

LEVELS = {
    "learned here": "curves of several seeds, in the repository's `benchmarks/results`, show that "
    "it learns",
    "as published": "hyper-parameters were checked against its source's; never run at full size",
    "trained tiny": "the tests, of some only `make test-slow`, train it for a few epochs at a tiny "
    "size: it runs",
}
"""What was verified of a recipe."""


@dataclass(frozen=True)
class Shipped:
    """A recipe that comes with zoo: what it is, what was verified of it, and what it needs."""

    name: str
    path: Path
    about: str
    level: str
    """Of LEVELS."""
    needs: str


def folder(of: str = "recipes") -> Path:
    """Where they are: `recipes`, or `benchmarks` for the suites."""
    installed = _PACKAGE / of
    return installed if installed.is_dir() else _PACKAGE.parent / of


def locate(path: Path) -> Path:
    """The file of that path; where there is none, the one that comes with zoo by that name.

    `nft_digits`, `nft_digits.yaml` and `recipes/nft_digits.yaml` are the same; another folder is
    meant as it is written.
    """
    if os.path.lexists(path) or not is_name(path):
        return path
    for of in (path.parent.name,) if path.parent.name else _FOLDERS:
        found = folder(of) / f"{path.stem}.yaml"
        if os.path.isfile(found):  # False for a name that is too long, where pathlib raises
            return found
    return path


def is_name(path: Path) -> bool:
    """Whether it has the form of a name: `nft_digits`, `nft_digits.yaml`, `recipes/nft_digits`."""
    inside = path.parent.name in ("", *_FOLDERS) and len(path.parts) <= 2
    return inside and not path.is_absolute() and path.suffix in ("", ".yaml")


def names() -> list[str]:
    """Of all recipes and suites, sorted."""
    return sorted(path.stem for of in _FOLDERS for path in folder(of).glob("*.yaml"))


def recipes() -> list[Shipped]:
    """All recipes, by name."""
    facts = json.loads((_PACKAGE / "assets" / "recipes.json").read_text(encoding="utf-8"))
    return [
        Shipped(path.stem, path, about(path), **facts[path.stem])
        for path in sorted(folder().glob("*.yaml"))
    ]


def about(path: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.removeprefix("#").strip() for line in comment)
    return re.split(r"(?<=\.)\s+(?=[A-Z])", text)[0].rstrip(".")


def copy(name: str, to: Path | None = None) -> Path:
    """Writes a recipe to be edited, NAME.yaml where no path is given; what it extends stays.

    Raises:
        UserError: no recipe or suite has that name, there is a file already, or it cannot be
            written.
    """
    found = locate(Path(name))
    if not os.path.isfile(found):
        raise UserError(f"no recipe of that name: {name}{suggest(name, names(), 'there are')}")
    to = Path(found.name) if to is None else to
    to = to / found.name if to.is_dir() else to
    if os.path.lexists(to):
        raise UserError(f"{to}: there is a file already; name another with --out")
    if why := why_unwritable(to.parent):
        raise UserError(f"{to} cannot be written: {why}; name another with --out")
    with writing(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(found.read_bytes())
    return to
