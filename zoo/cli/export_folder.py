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

from zoo.cli.output import writing
from zoo.errors import UserError, reason
from zoo.storage import files, json_data
from zoo.storage.files import reading

CARD = "README.md"
LIST = ".zoo_export.json"
"""SHA-256 of each file of an export, by its path in the folder. It is not uploaded."""

_EARLIER_MARK = "<!-- zoo export -->"
"""In the card of an export by a version that wrote no list."""

_LIST = TypeAdapter(dict[str, str]).validate_json
_ANOTHER = "name another folder"


@contextmanager
def in_place_of(out: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `out`, as `require_free` lets it, if all goes well.

    Raises:
        UserError: it cannot be written, or something has come to `out` meanwhile.
    """
    final = out.resolve()
    new, old = (final.with_name(f".{final.name}.{what}-export") for what in ("new", "old"))
    try:
        with writing(out):
            for leftover in (new, old):
                if leftover.exists():
                    shutil.rmtree(leftover)
            new.mkdir(parents=True)
            yield new
            files.write(new / LIST, {name: _digest(new / name) for name in _inside(new)})
            require_free(out)
            if final.exists():
                final.rename(old)
            new.rename(final)
            shutil.rmtree(old, ignore_errors=True)
    except SafetensorError as error:
        raise UserError(f"--out {out} cannot be written: {reason(error)}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def require_free(out: Path) -> None:
    """Refuses a folder with what no export wrote, or with what was changed since.

    Raises:
        UserError: with the file.
        DamagedFileError: the list is not what was written.
        ReadError: what is there may not be read.
    """
    if not out.is_dir():
        if out.exists():
            raise UserError(f"--out {out} is a file; name a folder")
        return
    is_listed = (out / LIST).is_file()
    known = json_data.read(out / LIST, _LIST, fix=_ANOTHER) if is_listed else {}
    for name in _inside(out):
        if name not in known:
            raise UserError(f"--out {out} holds {name}, which {_stranger(out)}; {_ANOTHER}")
        if _digest(out / name) != known[name]:
            raise UserError(
                f"--out {out} holds {name}, which was changed after the export; {_ANOTHER}"
            )


def _stranger(out: Path) -> str:
    card = out / CARD
    if not (out / LIST).exists() and card.is_file():
        with reading(card):
            text = card.read_text(encoding="utf-8", errors="replace")
        if _EARLIER_MARK in text:
            return "an earlier version exported, without saying what it wrote"
    return "no export wrote"


def _inside(folder: Path) -> list[str]:
    """All that could be lost but the list: files, links, and folders without any."""
    found = []
    with reading(folder):
        for path in sorted(folder.rglob("*")):
            is_folder = path.is_dir() and not path.is_symlink()
            if not is_folder or not any(path.iterdir()):
                found.append(str(path.relative_to(folder)))
    return [name for name in found if name != LIST]


def _digest(path: Path) -> str:
    """Of a file's content; of a folder there is none, which is no export's."""
    if path.is_dir():
        return ""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
