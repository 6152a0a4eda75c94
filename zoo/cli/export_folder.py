"""The folder of an export: it takes the place of an earlier one whole, and of nothing else."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from zoo.recipe.recipe import RecipeError

CARD = "README.md"
MARK = "<!-- zoo export -->"
"""In the card of what an export wrote."""

_WRITTEN = re.compile(r"README\.md|(adapter_)?config\.json|.+\.safetensors(\.index\.json)?")


def require_free(out: Path) -> None:
    """Refuses to overwrite what no export wrote."""
    if not out.is_dir():
        if out.exists():
            raise RecipeError(f"--out {out} is a file; name a folder")
        return
    card = out / CARD
    ours = card.is_file() and MARK in card.read_text(encoding="utf-8", errors="replace")
    for path in sorted(out.iterdir()):
        if not (ours and _WRITTEN.fullmatch(path.name) and path.is_file()):
            raise RecipeError(
                f"--out {out} holds {path.name}, which no export wrote; name another folder"
            )


@contextmanager
def in_place_of(out: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `out` if all goes well."""
    final = out.resolve()
    new, old = (final.with_name(f".{final.name}.{what}-export") for what in ("new", "old"))
    try:
        for leftover in (new, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        new.mkdir(parents=True)
        yield new
        if final.exists():
            final.rename(old)
        new.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise RecipeError(f"--out {out} cannot be written: {said or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
