"""JSON that is read as what it must be: what is wrong is said with the file and the key."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ValidationError

from zoo.errors import UserError
from zoo.storage.files import reading

T = TypeVar("T")

OrNan = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number, NaN where `files.write` wrote null."""


class DamagedFileError(UserError, ValueError):
    """A file that is not what was written: says which, what is wrong with it, and the fix."""

    def __init__(self, path: Path | str, why: str, fix: str) -> None:
        super().__init__(f"{path} is damaged ({why}); {fix}")


def read(path: Path, kind: Callable[..., T], *, fix: str = "delete it to do without") -> T:
    """A file as what it must be, by the `validate_json` of a pydantic TypeAdapter.

    Numbers and texts are not made of each other.

    Raises:
        DamagedFileError: it is not; ends with the fix.
        ReadError: nobody may read it here, say.
    """
    with reading(path):
        text = path.read_bytes()
    return parse(text, kind, path, fix=fix)


def parse(text: bytes, kind: Callable[..., T], shown: Path | str, *, fix: str) -> T:
    """As `read`, of a text that errors call `shown`."""
    try:
        return kind(text, strict=True)
    except ValidationError as error:
        raise DamagedFileError(shown, explain(error), fix) from None


def read_lines(path: Path, kind: Callable[..., T], *, fix: str) -> list[T]:
    """As `read`, of each line of a file; a last one that was cut short by a kill is left out.

    A file that is not there has none.

    Raises:
        DamagedFileError: another line is not what it must be; names it.
        ReadError: nobody may read it here, say.
    """
    with reading(path):
        written = path.read_bytes().split(b"\n") if path.is_file() else []
    lines = []
    for number, line in enumerate(written, 1):
        try:
            if line.strip():
                lines.append(parse(line, kind, f"{path}:{number}", fix=fix))
        except DamagedFileError:
            if any(after.strip() for after in written[number:]):
                raise
    return lines


def explain(error: ValidationError) -> str:
    """The first thing that is wrong: at which key, what it must be, and what it is."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    says = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
    if first["type"] not in ("missing", "json_invalid"):
        says = f"{says}, not {first['input']!r:.60}"
    return f"{where}: {says}" if where else says
