"""JSON files that are written whole or not at all."""

import json
import math
import os
from pathlib import Path
from typing import Any


def write(path: Path, data: object, *, indent: int | None = 2) -> None:
    """Replaces the file. Numbers that are not finite become null."""
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(_finite(data), indent=indent, allow_nan=False)
    temporary.write_text(f"{text}\n", encoding="utf-8")
    os.replace(temporary, path)


def read(path: Path) -> Any:
    """What is in the file; None where there is none.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
