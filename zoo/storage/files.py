"""Files that are written whole or not at all; what can be made again; the fingerprint of code."""

import errno
import hashlib
import inspect
import json
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from zoo.errors import UserError, reason

_SET_A_CACHE = "export XDG_CACHE_HOME=DIR, a folder that can be written"
_TEMPORARY = re.compile(r"\.(?P<name>.+)-\d+-\d+")
"""What `replacing` calls a file until it is whole."""


class WriteError(UserError, OSError):
    """What cannot be written, since the disk is full, say, or read-only: names it and says why."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), str(path))

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Names the path where something inside cannot be written.

    Raises:
        WriteError: in place of an OSError.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(path, error) from error


def why_unwritable(folder: Path) -> str:
    """Why nothing can be written in a folder, there or yet to be made; empty where it can be.

    Looks at what is there, and makes nothing.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not there.is_dir():
        return os.strerror(errno.ENOTDIR)
    return "" if os.access(there, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


class ReadError(UserError, OSError):
    """What cannot be read, since it is somebody else's, say: names it and says why."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(error.errno, reason(error), str(path))

    def __str__(self) -> str:
        return f"{self.filename} cannot be read: {self.strerror}"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Names the path where something inside cannot be read.

    Raises:
        ReadError: in place of an OSError.
    """
    try:
        yield
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(path, error) from error


def is_file(path: Path) -> bool:
    """Whether it is there, where that can be known.

    Raises:
        ReadError: nobody may look there, of which pathlib's question says no from Python 3.14 on.
    """
    with reading(path):
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it takes that one's place if all goes well, or goes.

    Processes and threads that write the same file at once each write a whole one.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def find_leftovers(folder: Path) -> Iterator[tuple[str, Path]]:
    """What writers that were killed left of `replacing`; each after its file's own name."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match and path.is_file():
            yield match["name"], path


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk, whatever happens then."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replaces the file, in UTF-8; it is on the disk before its name is.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path):
        with replacing(path) as temporary:
            # Halves of surrogate pairs are the only characters that UTF-8 lacks.
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
            flush(temporary)
        flush(path.parent)


def write(path: Path, data: object, *, indent: int | None = 2) -> None:
    """Replaces the file by JSON. Numbers that are not finite become null.

    Raises:
        WriteError: it cannot be written.
    """
    write_text(path, f"{json.dumps(_finite(data), indent=indent, allow_nan=False)}\n")


def or_null(value: float) -> float | None:
    """The number, or None for NaN and infinity, which JSON has not."""
    return value if math.isfinite(value) else None


def or_nan(value: float | None) -> float:
    """What `or_null` was given, though NaN for infinity."""
    return math.nan if value is None else float(value)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return or_null(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


@cache
def fingerprint(module: str) -> str:
    """Of all the Python code in the package that an imported module is of: 16 hex digits."""
    package = sys.modules[module.partition(".")[0]]
    place = Path(inspect.getfile(package))
    files = sorted(place.parent.rglob("*.py")) if place.name == "__init__.py" else [place]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class CacheError(UserError):
    """A folder for what can be made again that is not to be had; with the variable to set."""


def cache_folder(name: str) -> Path:
    """Of a kind of what can be made or fetched again; it may not exist yet.

    `zoo/<name>` in `$XDG_CACHE_HOME`, else in `$HF_HOME`, which is for what is large, else in
    `~/.cache`.

    Raises:
        CacheError: neither is set, and there is no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HF_HOME")
    try:
        return (Path(named).expanduser() if named else Path.home() / ".cache") / "zoo" / name
    except RuntimeError:
        raise CacheError(f"there is no home folder for a cache; {_SET_A_CACHE}") from None


@contextmanager
def filling_cache(folder: Path) -> Iterator[None]:
    """Makes a folder of the cache, in which what is inside then writes.

    Raises:
        CacheError: instead of an OSError of that folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        why = error.strerror or error
        raise CacheError(f"the cache {folder} cannot be written: {why}; {_SET_A_CACHE}") from error
