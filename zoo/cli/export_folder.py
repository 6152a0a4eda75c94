"""The folder of an export: written whole, with a list of its files by which it is known again.

What a user put there, or changed in it, is never replaced.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError

from zoo.errors import UserError, reason
from zoo.storage import files, json_data

CARD = "README.md"
LIST = ".zoo_export.json"
"""SHA-256 of each file of an export, by its path in the folder. It is not uploaded."""

_LIST = TypeAdapter(dict[str, str]).validate_json


@contextmanager
def in_place_of(out: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `out`, as `require_free` lets it, if all goes well.

    Raises:
        UserError: it cannot be written.
    """
    final = out.resolve()
    new, old = (final.with_name(f".{final.name}.{what}-export") for what in ("new", "old"))
    try:
        for leftover in (new, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        new.mkdir(parents=True)
        yield new
        files.write(new / LIST, {str(name): _digest(new / name) for name in _files(new)})
        if final.exists():
            final.rename(old)
        new.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"--out {out} cannot be written: {reason(error)}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def require_free(out: Path) -> None:
    """Refuses a folder with what no export wrote, or with what was changed since.

    Raises:
        UserError: with the file.
        DamagedFileError: the list is not what was written.
    """
    if not out.is_dir():
        if out.exists():
            raise UserError(f"--out {out} is a file; name a folder")
        return
    known = json_data.read(out / LIST, _LIST) if (out / LIST).is_file() else {}
    for name in _files(out):
        if str(name) not in known:
            raise UserError(f"--out {out} holds {name}, which no export wrote; name another folder")
        if _digest(out / name) != known[str(name)]:
            raise UserError(
                f"--out {out} holds {name}, which was changed after the export; name another folder"
            )


def _files(folder: Path) -> list[Path]:
    """All but the list, relative to the folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in found if str(name) != LIST)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
