"""JSON files, whole or not at all; a place for what can be made again; the fingerprint of code."""

import hashlib
import inspect
import json
import math
import os
import sys
from functools import cache
from pathlib import Path


def write(path: Path, data: object, *, indent: int | None = 2) -> None:
    """Replaces the file. Numbers that are not finite become null."""
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(_finite(data), indent=indent, allow_nan=False)
    temporary.write_text(f"{text}\n", encoding="utf-8")
    os.replace(temporary, path)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
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


def cache_folder(name: str) -> Path:
    """`$XDG_CACHE_HOME/zoo/<name>`, by default below `~/.cache`; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zoo" / name
