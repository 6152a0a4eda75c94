"""A file that `--out` names: a new one, unless `--overwrite` lets it be replaced."""

from itertools import chain, count
from pathlib import Path

from zoo.errors import UserError


def require_new(out: Path, *, overwrite: bool) -> None:
    """Refuses to replace a file unasked.

    Raises:
        UserError: it is there; with the fix.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file")
    if out.exists() and not overwrite:
        raise UserError(f"--out {out} is there; name another file, or replace it with --overwrite")


def next_free(path: Path) -> Path:
    """`samples.png`; where that is there `samples_2.png`, and so on."""
    numbered = (path.with_stem(f"{path.stem}_{number}") for number in count(2))
    return next(one for one in chain([path], numbered) if not one.exists())
